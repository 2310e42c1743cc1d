"""A pin remembers how a file looked when growdisk last left it alone, so that a change by anybody else is noticed.

It is removed before growdisk itself begins to write the file, and set again afterwards: no pin, no claim.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from growdisk.durable import replace_file, sync_directory

_MILLISECOND = 10**6  # in nanoseconds


class Pin:
    """The pin at `path` on the file `target`: inode, size in bytes and modification time in nanoseconds."""

    def __init__(self, path: Path, target: Path) -> None:
        self._path, self._target = path, target

    def exists(self) -> bool:
        return self._path.exists()

    def set(self) -> None:
        replace_file(self._path, json.dumps(self._present()).encode())

    def remove(self) -> None:
        self._path.with_name(self._path.name + ".new").unlink(missing_ok=True)  # half a pin, from a crash in set()
        if self.exists():
            self._path.unlink()
            sync_directory(self._path.parent)

    def holds(self) -> bool:
        """False if there is a pin and the file is not as it was pinned.

        A copy that keeps the time (rsync -a) is as good as the file, if that time is finer than chance.
        """
        if not self.exists():
            return True
        (pinned_inode, *pinned), (inode, *present) = json.loads(self._path.read_bytes()), self._present()
        return pinned == present and (inode == pinned_inode or present[-1] % _MILLISECOND != 0)

    @contextmanager
    def lifted(self) -> Iterator[None]:
        """No claim while growdisk itself does something to the file; a new one afterwards."""
        self.remove()
        yield
        self.set()

    def _present(self) -> list[int]:
        status = self._target.stat()
        return [status.st_ino, status.st_size, status.st_mtime_ns]
