"""Whether the host has room for a growth: checked in `plan` too, before the first write."""

from __future__ import annotations

import errno
import os
import resource
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition

from growdisk.block.device import BlockDevice, data_in
from growdisk.block.host_blocks import free_room
from growdisk.block.host_devices import file_behind
from growdisk.durable import NO_ROOM, fallocate
from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass, replace
from growdisk.host.free_space import HostRoom, room_for
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal, SnapshotMode
from growdisk.planner.host_need import NOTHING, GrowingImage, needed, needed_in_file
from growdisk.planner.proposal import Proposal
from growdisk.qcow2.image import Qcow2Image
from growdisk.steps.resize_image import ResizeImage
from growdisk.steps.step_traits import first
from growdisk.units import Bytes, format_size
from growdisk.workflow.run_directory import JOURNAL_ROOM, RESERVE
from growdisk.workflow.run_places import is_device_or_served

SET_ASIDE = RESERVE + JOURNAL_ROOM
# ftruncate(2): either one says that the file system cannot have a file of that length.
_MAX_FILES = (errno.EFBIG, errno.EINVAL)


def host_too_full(
    path: Path, place: Path, needed: int, free: int, problem: str = "", *, aside: bool = True
) -> Refused:
    """The refusal; sizes in bytes: what the run takes at least, what `place` has free.

    `aside`: what it takes includes what is set aside, for a journal and for going back.
    """
    return Refused.named(
        "host-too-full",
        "{path} cannot grow so far: the host has no room for that",
        "it takes at least {needed} in {place}{_aside}; {problem}",
        "free at least {_missing} there, or grow by less; nothing was changed",
        {
            "path": path,
            "place": place,
            "needed": Bytes(needed),
            "free": Bytes(free),
            "problem": problem or f"{format_size(free)} are free",
            "_aside": f", {format_size(SET_ASIDE)} of that set aside" if aside else "",
            "_missing": format_size(max(needed - free, 1)),
        },
    )


def _host_file_too_large(path: Path, needed: int, limit: str, hint: str) -> Refused:
    return Refused.named(
        "host-file-too-large",
        "{path} cannot grow so far: its file would be too large",
        "it will have {needed} at the least, and {limit}",
        "{hint}; nothing was changed",
        {"path": path, "needed": Bytes(needed), "limit": limit, "hint": hint},
    )


@dataclass(frozen=True)
class RunImage:
    """One image of the run: what is on it now, as seen through `device`, and what becomes of it."""

    device: BlockDevice
    facts: Facts
    proposal: Proposal | None
    snapshots: SnapshotMode
    keep: bool


def refuse_run_without_room(path: Path, images: list[RunImage]) -> int:
    """host-too-full or host-file-too-large.

    Returns the bytes that the run takes at the least where the first image is; 0 for a device.
    """
    # By file system (st_dev): images that lie on the same one must fit there together.
    wanted: dict[int, int] = defaultdict(int)
    places: dict[int, Path] = {}
    for number, image in enumerate(images):
        file = image.facts.image.path.resolve()
        growing = _growing(image)
        if is_device_or_served(file):
            _refuse_full_device(image, growing)
            continue
        _refuse_length(image.facts.image.path, file, growing)
        device = file.stat().st_dev
        places.setdefault(device, file.parent)
        # Journal and reserve are in the first image's folder.
        wanted[device] += needed(growing) + (0 if number else SET_ASIDE)
    for device, size in wanted.items():
        if (free := free_room(places[device])) < size:
            raise host_too_full(path, places[device], size, free)
    first_file = images[0].facts.image.path.resolve()
    # What the others take elsewhere, this place need not have; SET_ASIDE is taken for itself when
    # the run begins (RunDirectory.begin).
    return 0 if is_device_or_served(first_file) else wanted[first_file.stat().st_dev] - SET_ASIDE


def _refuse_full_device(image: RunImage, growing: GrowingImage) -> None:
    """no-room-on-device, or host-too-full for a loop device's file, if writes would not fit."""
    path, file = image.facts.image.path, None
    if path.is_block_device():
        file = file_behind(path.stat().st_rdev)
    # Without what undoing takes: overlays of a device lie in the state folder.
    least = needed(replace(growing, snapshots="none"))
    # Only what is really taken is known to be there.
    if file and _tried(file.parent, lambda fd: fallocate(fd, 0, 0, max(least, 1))) in NO_ROOM:
        problem = "so much cannot be taken there"
        raise host_too_full(path, file.parent, least, 0, problem, aside=False)
    if (
        growing.cluster_size
        and isinstance(image.device, Qcow2Image)
        and image.snapshots != "overlay"
    ):
        from growdisk.api.device_host import refuse_full_device

        refuse_full_device(path, image.device, growing.cluster_size, needed(growing))


def _growing(image: RunImage) -> GrowingImage:
    facts, steps = image.facts.image, image.proposal.steps if image.proposal else ()
    resize = first(ResizeImage, steps)
    return GrowingImage(
        facts.cluster_size,
        facts.virtual_size,
        resize.new_size if resize else facts.virtual_size,
        image.snapshots,
        len(steps),
        image.proposal.host_writes if image.proposal else NOTHING,
        sum(_moved(image)),
        preallocated=resize is not None and resize.preallocation != "off",
        keep=image.keep,
    )


def _moved(image: RunImage) -> Iterator[int]:
    """Bytes of data in the partitions that will be copied."""
    for step in image.proposal.steps if image.proposal else ():
        for move in step.moves:
            # Holes and zeros are not copied.
            found = data_in(image.device, move.start, move.start + move.size)
            yield sum(end - start for start, end in found)


def _refuse_length(path: Path, file: Path, growing: GrowingImage) -> None:
    length = max(needed_in_file(growing, file.stat().st_size), file.stat().st_size)
    # Checked by itself: the trial below has the same limit, and would name the file system for it.
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY and length > limit:
        limited = f"files of this process may have {format_size(limit)} (ulimit -f)"
        raise _host_file_too_large(path, length, limited, "raise that limit, or grow by less")
    if _tried(file.parent, lambda fd: os.ftruncate(fd, length)) in _MAX_FILES:
        limited = "the file system that it lies on has no files as long as that"
        raise _host_file_too_large(path, length, limited, "move it to another file system")


def _tried(place: Path, action: Callable[[int], None]) -> int | None:
    """The errno with which `action` fails on an unnamed file; None if not, or if none can be."""
    with suppress(OSError):
        fd = os.open(place, os.O_TMPFILE | os.O_RDWR, 0o600)
        try:
            action(fd)
        except OSError as error:
            return error.errno
        finally:
            os.close(fd)
    return None


# --- by a rule: nobody watches, so a share of the room stays free ---------------------------------


def refuse_to_fill_host(path: Path, goal: Goal, old_size: int, new_size: int) -> None:
    """host-would-fill, pool-overcommitted: only if a rule grows it, for then nobody watches.

    Sizes in bytes.
    """
    rule, growth = goal.rule, new_size - old_size
    if rule is None or growth <= 0:
        return
    refuse_to_fill(path, room_for(path), growth, rule.keep_host_free or 0.0)


def refuse_to_fill(
    path: Path, room: HostRoom, growth: int, keep_free: float, promised: int = 0
) -> None:
    """host-would-fill, pool-overcommitted.

    `promised`: what others may take of the same room, and have not yet.
    """
    # A thin pool gives no error until it is full, and then to all of its volumes.
    if room.promised is not None and room.promised + promised + growth > room.total:
        all_promised = room.promised + promised + growth
        raise Refused.named(
            "pool-overcommitted",
            "{path} does not grow: its thin pool would be promised more than it has",
            "its volumes would have {promised}, and the pool has {size} {where}",
            "make the pool larger (lvextend), or grow without --when-used and --keep-host-free",
            {
                "path": path,
                "promised": Bytes(all_promised),
                "size": Bytes(room.total),
                "where": room.where,
            },
        )
    if not room.shared:
        return  # its owner makes it larger, and says how much there is
    # `growth` counts in full: a sparse image takes it bit by bit, when nobody looks.
    keep = int(room.total * keep_free)
    if room.free - promised - growth < keep:
        others = ""
        if promised:
            others = f", {format_size(promised)} of it for disks that grew in the same round"
        raise Refused.named(
            "host-would-fill",
            "{path} does not grow: the host would fill up",
            "the growth can take {growth}, {free} are free {where}{_others}, and {keep} shall "
            "stay free",
            "make room on the host, grow by less, or say --keep-host-free with a smaller share",
            {
                "path": path,
                "growth": Bytes(growth),
                "free": Bytes(room.free),
                "keep": Bytes(keep),
                "where": room.where,
                "promised": Bytes(promised),
                "_others": others,
            },
        )


# --- a round of `growdisk watch`: disks do not fill at once, and each looks alone ----------------


@dataclass
class Promise:
    """`kept` is set if the disk has grown."""

    kept: bool = False


class Promises:
    """The host space promised in one round. Rooms are distinguished by `HostRoom.shared`.

    A growth that would not fit with those under way waits for their end: some grow nothing in the
    end.
    """

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
                    refuse_to_fill(path, room, growth, keep_free, kept + self._pending[room.shared])
                except Refused:
                    # Nobody is under way who could still turn out to need nothing.
                    if not self._pending[room.shared]:
                        raise
                    self._changed.wait()
                    continue
                self._pending[room.shared] += growth
                return room.shared
