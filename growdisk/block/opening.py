"""Opens host files: without waiting if it may be a disk, to write only if nobody uses it."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from growdisk.block.host_blocks import MAX_LENGTH
from growdisk.block.host_devices import value_of
from growdisk.block.locks import others_write
from growdisk.errors import ImageError, ImageInUse, ImageNotReadable

_READ_ONLY = {
    errno.EPERM: (
        "it is immutable, or may only be appended to (lsattr shows i or a)",
        (
            "if it may change: chattr -i -a on it; Proxmox marks so what linked clones lie on, and "
            "they would break"
        ),
    ),
    errno.EROFS: (
        "its file system is mounted read-only",
        "mount that to be written to, or copy the image elsewhere",
    ),
}
TOO_MANY_OPEN = "this process may open no more files: raise its limit (ulimit -n)"
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS
_NO_SIZE = "it does not tell its size"
_APPEND_ONLY = 0x20  # FS_APPEND_FL


def open_descriptor(path: Path, *, writable: bool) -> int:
    """A descriptor of a regular file or a block device, without ever waiting.

    What is neither is not even opened: that alone may start or wake something (a tape, a watchdog,
    a pipe's writer). A block device is opened so that it is not written to while the host itself
    uses it.
    """
    flags = (os.O_RDWR if writable else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        # By its name first: opening alone may do something to a thing that is neither.
        status = os.stat(path)  # noqa: PTH116 (half the time of Path.stat)
        require_disk(path, status.st_mode)
        if writable and stat.S_ISBLK(status.st_mode):
            refuse_read_only(path, status.st_rdev)
            # The kernel's own claim: mount, device mapper and md take it too, so neither side gets
            # both.
            flags |= os.O_EXCL
        return os.open(path, flags)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.EBUSY:
            from growdisk.block.holders import refuse_users

            refuse_users(path, not_in_use=True)  # it can say who that is
            raise ImageInUse(path, holder="this host (a mount, a mapping, or an array)") from error
        if writable and isinstance(error, OSError) and error.errno in _READ_ONLY and path.is_file():
            reason, hint = _READ_ONLY[error.errno]
            raise ImageNotReadable(path, reason=reason, hint=hint) from error
        raise _not_readable(path, error) from error


def _not_readable(path: Path, error: Exception) -> ImageNotReadable:
    """What stands where a file should may be an address."""
    if isinstance(error, FileNotFoundError):
        from growdisk.block.address import NOT_HERE, WHERE_TAKEN, as_written, scheme_of

        if scheme_of(str(path)):
            return ImageNotReadable(path, NOT_HERE.format(as_written(str(path))), hint=WHERE_TAKEN)
    reason = getattr(error, "strerror", "") or str(error)
    if getattr(error, "errno", None) == errno.EMFILE:
        return ImageNotReadable(path, reason, hint=TOO_MANY_OPEN)
    return ImageNotReadable(path, reason)


def refuse_read_only(path: Path, number: int) -> None:
    """device-read-only. The kernel opens such a device to write, and then takes no byte."""
    if value_of(number, "ro") == "1":
        raise ImageError.named(
            "device-read-only",
            "cannot work on {path}",
            "the host has the device read-only",
            "make it writable first (lvchange -p rw, blockdev --setrw), or name another one",
            {"path": path},
        )


def require_writable(path: Path) -> None:
    """Raise ImageNotReadable if a file cannot be opened to write; do not open it so if it can."""
    # If a file may only be appended to, access() allows writing, but open() then fails.
    if (
        not os.access(path, os.W_OK, effective_ids=True)
        or int.from_bytes(_flags(path, _GET_FLAGS)[:4], sys.byteorder) & _APPEND_ONLY
    ):
        # Opened only to fail, with open()'s own reason.
        os.close(open_descriptor(path, writable=True))


def take_flags(new: Path, path: Path) -> None:
    """Give an empty file the flags that lsattr shows of another: on btrfs, no copy on write."""
    _flags(new, _SET_FLAGS, _flags(path, _GET_FLAGS))


def _flags(path: Path, request: int, flags: bytes = bytes(8)) -> bytes:
    """Ask for a file's flags, or set them; on a file system without any there are none."""
    fd = open_descriptor(path, writable=False)
    with suppress(OSError):
        flags = fcntl.ioctl(fd, request, flags)
    os.close(fd)
    return flags


def require_disk(path: Path, mode: int) -> None:
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        raise ImageNotReadable(path, reason="it is neither a regular file nor a block device")


def require_same(fd: int, path: Path) -> None:
    """ImageInUse if `path` leads to another file now than when `fd` was opened.

    Who had the lock before us (`image compact`) may have replaced the file.
    """
    try:
        is_same = os.path.samestat(os.fstat(fd), path.stat())
    except OSError as error:
        raise _not_readable(path, error) from error
    if not is_same:
        raise ImageInUse(path, holder="a program that is just replacing it")


def require_size(fd: int, path: Path) -> None:
    """Refuse a file without a size, or with more than a disk can have.

    Of those in /proc some give an error, others say 0 and have bytes.
    """
    try:
        size = os.lseek(fd, 0, os.SEEK_END)
        has_size = size > 0 or not os.pread(fd, 1, 0)
    except OSError as error:
        raise ImageNotReadable(path, reason=_NO_SIZE) from error
    if not has_size:
        raise ImageNotReadable(path, reason=_NO_SIZE)
    if size > MAX_LENGTH:
        raise ImageNotReadable(path, reason="it is longer than a disk can be (8 EiB)")


def second_look(path: Path, *, not_in_use: bool) -> Callable[[], None] | None:
    """What to do when the locks are ours, if anything.

    Of a file the kernel is asked before it is open to write here.
    """
    try:
        mode = path.stat().st_mode
        require_disk(path, mode)
    except (OSError, ValueError, ImageNotReadable):
        return None  # opening it will say why
    answer = "unknown" if stat.S_ISBLK(mode) else others_write(path)
    if answer == "nobody":
        return None
    from growdisk.block.holders import refuse_users

    return partial(
        refuse_users, path, claimed=True, not_in_use=not_in_use, written=answer == "somebody"
    )
