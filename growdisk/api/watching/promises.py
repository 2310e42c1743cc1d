"""The host space promised in a round: disks do not fill at once, and each looks alone.

A growth that would not fit beside those under way waits for their end: some grow nothing in the
end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition

from growdisk.api.by_rule import refuse_without_room
from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass
from growdisk.host.free_space import room_for


@dataclass
class Promise:
    """`kept` is set if the disk has grown."""

    kept: bool = False


class Promises:
    """Of one round. Rooms are told apart by `HostRoom.shared`."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._pending: dict[str, int] = defaultdict(int)
        self._kept: dict[str, int] = defaultdict(int)

    @contextmanager
    def of(self, path: str, growth: int, keep_free: float) -> Iterator[Promise]:
        """host-would-fill, pool-overcommitted.

        Nothing is promised to a disk that is not a file of this host.
        """
        promise = Promise()
        try:
            shared = self._granted(Path(path), growth, keep_free) if path and growth else None
        except OSError:
            shared = None
        if shared is None:
            yield promise
            return
        try:
            yield promise
        finally:
            with self._changed:
                self._pending[shared] -= growth
                self._kept[shared] += growth if promise.kept else 0
                self._changed.notify_all()

    def _granted(self, path: Path, growth: int, keep_free: float) -> str:
        """Which room it is."""
        with self._changed:
            while True:
                room = room_for(path)
                # A pool knows of volumes that have grown.
                kept = self._kept[room.shared] if room.promised is None else 0
                try:
                    refuse_without_room(
                        path, room, growth, keep_free, kept + self._pending[room.shared]
                    )
                except Refused:
                    # Nobody is under way who could still turn out to need nothing: waiting would
                    # not help.
                    if not self._pending[room.shared]:
                        raise
                    self._changed.wait()
                    continue
                self._pending[room.shared] += growth
                return room.shared
