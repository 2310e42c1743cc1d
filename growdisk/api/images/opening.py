"""Opens an image for one action, in the given or the found format, and reports host errors."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from growdisk.api.guard import ConflictGuard
from growdisk.block.device import BlockDevice, data_in
from growdisk.block.host_blocks import free_room
from growdisk.block.raw import RawFile
from growdisk.durable import NO_ROOM
from growdisk.errors import (
    ImageNotReadable,
    ImageUnsupported,
    NeedsUser,
    Refused,
    not_created,
    shell_word,
    write_failed,
)
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.open_checks import Passphrase
from growdisk.qcow2.probe import ImageFormat, probe_format, probe_to_write
from growdisk.units import Bytes, format_size

_LOOK_AT_DISK = "look at the host's disk (dmesg), then run growdisk again; nothing was changed"
TOO_LARGE = (
    "choose a smaller SIZE, or a file system, or a limit (ulimit -f), that allows files "
    "of that size"
)
_LOOK_AT_DISKS = "look at the host's disks (dmesg): one that was read or written fails"


def format_of(
    path: Path, image_format: ImageFormat | None, *, writing: bool = False
) -> ImageFormat:
    """The wanted format, or the one found; `writing`: something is to be written by it."""
    return image_format or (probe_to_write(path) if writing else probe_format(path))


def is_device(path: Path) -> bool:
    """Whether a block device is there; False where nobody may look."""
    try:
        return path.is_block_device()
    except OSError:
        return False


@contextmanager
def open_guest_content(
    path: Path,
    image_format: ImageFormat | None = None,
    *,
    writable: bool = False,
    with_backing: bool = True,
    key: Passphrase | None = None,
    guard: ConflictGuard | None = None,
) -> Iterator[RawFile | Qcow2Image]:
    """The image's guest content; `key` is the passphrase of its encrypted layers.

    An image that is opened for writing is guarded in any case; `guard` says what may be spoiled.

    A failing host becomes write-failed or change-uncertain while the image is open for writing.
    """
    # Reading spoils nothing.
    guard = (guard or ConflictGuard(path)) if writable else None
    device: RawFile | Qcow2Image
    if format_of(path, image_format, writing=writable) == "qcow2":
        with report_host_errors(path, writing=writable, has_changed=lambda: False):
            device = Qcow2Image.open(
                path, writable=writable, with_backing=with_backing, key=key, guard=guard
            )
    else:
        device = RawFile.open_disk(path, writable=writable)
    try:
        # A qcow2 image has called it when it was opened.
        if guard is not None and isinstance(device, RawFile):
            guard(device, None)
        with report_host_errors(
            path,
            writing=writable,
            has_changed=lambda: isinstance(device, RawFile) or device.has_changed,
        ):
            try:
                yield device
            except BaseException as error:
                # Ctrl-C may come in the middle of any change in memory
                half_done = isinstance(error, OSError | KeyboardInterrupt)
                _close_after_failure(device, half_done=half_done)
                raise
            # Here an error of its last flush is still reported; closing again below does nothing.
            device.close()
    finally:
        device.close()


@contextmanager
def opened_qcow2(
    path: Path,
    action: str,
    *,
    with_backing: bool = True,
    key: Passphrase | None = None,
    guard: ConflictGuard,
) -> Iterator[Qcow2Image]:
    """The same, writable, for what only qcow2 images can do."""
    with open_guest_content(
        path, writable=True, with_backing=with_backing, key=key, guard=guard
    ) as device:
        if not isinstance(device, Qcow2Image):
            raise ImageUnsupported(
                path,
                reason=f"a raw image has no {action}",
                hint=f"growdisk image convert {shell_word(path)} NEW.qcow2 makes it qcow2",
            )
        yield device


def _close_after_failure(device: RawFile | Qcow2Image, *, half_done: bool) -> None:
    """Close it, quietly, and free what a change that is `half_done` has taken of the host."""
    with suppress(OSError):
        # The tables in memory may be half changed: the file is what counts.
        if half_done and isinstance(device, Qcow2Image) and device.has_changed:
            device.forget_unwritten()
            device.give_back_tables()
    with suppress(OSError):
        device.close()


def require_keys(device: BlockDevice | None) -> None:
    """Raise KeyNeeded for a locked layer, before anything depends on its bytes."""
    while isinstance(device, Qcow2Image):
        # Of no bytes: a locked image raises KeyNeeded all the same.
        device.read(0, 0)
        device = device.backing


def refuse_small_device(file: RawFile, size: int) -> None:
    """A block device has to be as large as what goes there; a file grows."""
    if file.is_block_device and file.size < size:
        reason = f"the block device has {file.size} bytes, and {size} are to go there"
        raise ImageUnsupported(file.path, reason, "use a larger device; nothing was written")


# --- what the host has to say ---------------------------------------------------------------------


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


def data_length(device: BlockDevice) -> int:
    """Bytes of a disk that are stored anywhere."""
    return sum(end - start for start, end in data_in(device, 0, device.size))


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
        # EIO and the like: what the host has not confirmed may be on its disk, or be lost from it.
        if has_changed():
            raise NeedsUser.named(
                "change-uncertain",
                "the host failed while {path} was changed",
                "{reason}; the change may be done, done in part, or not done",
                "look at the host's disk (dmesg); then growdisk image check {path}, and look "
                "whether the change is there before you try again",
                {"path": path, "reason": reason},
            ) from error
        raise write_failed(path, reason=reason, hint=_LOOK_AT_DISK) from error


@contextmanager
def report_create_errors(path: Path, takes: Callable[[], int] | None = None) -> Iterator[None]:
    """The same for a file that was to be made.

    `takes`: bytes of the host that it will have at the most.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in NO_ROOM
        reason = error.strerror or os.strerror(error.errno or errno.EIO)
        disk_failed = error.errno == errno.EIO
        if is_device(path):
            hint = _LOOK_AT_DISKS if disk_failed else "use a larger device"
            raise write_failed(path, reason, f"what it held before is lost; {hint}") from error
        if error.errno == errno.EFBIG:
            raise not_created(path, reason=reason, hint=TOO_LARGE) from error
        if full:
            raise not_created(
                path, reason=reason + (_in_numbers(path, takes()) if takes else "")
            ) from error
        hint = _LOOK_AT_DISKS if disk_failed else "check the path and its permissions"
        raise not_created(path, reason=reason, hint=hint) from error


def _in_numbers(path: Path, takes: int) -> str:
    place = path.absolute().parent
    return (
        f": it takes up to {format_size(takes)}, and {format_size(free_room(place))} are free "
        f"in {place}"
    )
