"""What the host says of an image: which format it is in, and why it cannot be read or written."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from growdisk.durable import NO_ROOM
from growdisk.errors import ImageNotReadable, NeedsUser, Refused, write_failed
from growdisk.qcow2.probe import ImageFormat, probe_format, probe_to_write
from growdisk.units import Bytes, format_size

_LOOK_AT_DISK = "look at the host's disk (dmesg), then run growdisk again; nothing was changed"
TOO_LARGE = (
    "choose a smaller SIZE, or a file system, or a limit (ulimit -f), that allows files "
    "of that size"
)


def format_of(
    path: Path, image_format: ImageFormat | None, *, writing: bool = False
) -> ImageFormat:
    """The wanted format, or the one found; `writing`: something is to be written by it."""
    return image_format or (probe_to_write(path) if writing else probe_format(path))


def free_room(place: Path) -> int:
    """Bytes that this process can still write in a folder; unlimited if unknown (FUSE)."""
    space = os.statvfs(place)
    if not space.f_blocks:
        return sys.maxsize
    # f_bfree includes the blocks that a file system keeps for root.
    return (space.f_bavail if os.geteuid() else space.f_bfree) * space.f_frsize


def is_device(path: Path) -> bool:
    """Whether a block device is there; False where nobody may look."""
    try:
        return path.is_block_device()
    except OSError:
        return False


def refuse_without_room(path: Path, place: Path, takes: int) -> None:
    """no-room-for-image, before anything is written, if the host has no room for a file.

    `place` is where the file is to lie.
    """
    folder = place.absolute().parent
    if is_device(place) or not folder.is_dir() or (free := free_room(folder)) >= takes:
        return
    raise Refused.named(
        "no-room-for-image",
        "the host has no room for {path}",
        "it takes {needed} in {place}, and {free} are free there",
        "free {_missing} there, choose a smaller SIZE or another place, or leave the "
        "preallocation out; nothing was written",
        {
            "path": path,
            "place": folder,
            "needed": Bytes(takes),
            "free": Bytes(free),
            "_missing": format_size(takes - free),
        },
    )


@contextmanager
def report_host_errors(
    path: Path, *, writing: bool, has_changed: Callable[[], bool] = lambda: True
) -> Iterator[None]:
    """An error of the host, as an error of ours about the image.

    `has_changed`: whether anything may have been written by then.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if not writing:
            raise ImageNotReadable(path, reason=reason) from error
        # A limit, or no space: the host refuses, and no disk has failed.
        if error.errno == errno.EFBIG:
            raise write_failed(path, reason=reason, hint=TOO_LARGE) from error
        if error.errno in NO_ROOM:
            raise write_failed(path, reason=reason) from error
        # EIO and the like: what was written before, without a flush, may be on the disk or not.
        if has_changed():
            raise _change_uncertain(path, reason) from error
        raise write_failed(path, reason=reason, hint=_LOOK_AT_DISK) from error


def _change_uncertain(path: Path, reason: str) -> NeedsUser:
    """What the host has not confirmed may be on its disk all the same, or be lost from it."""
    return NeedsUser.named(
        "change-uncertain",
        "the host failed while {path} was changed",
        "{reason}; the change may be done, done in part, or not done",
        "look at the host's disk (dmesg); then growdisk image check {path}, and look whether the "
        "change is there before you try again",
        {"path": path, "reason": reason},
    )
