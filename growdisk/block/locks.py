"""File locks, QEMU's own (block/file-posix.c): a running guest and growdisk exclude each other.

One byte of the file stands for one permission: byte 100+i is held while permission i is used, byte
200+i while permission i may not be used by others. Every lock is a *shared* one; a conflict is
found by asking whether an exclusive lock could be had there. They are open-file-description locks:
closing another descriptor does not drop them.

They tell of those who take them. A lease of the kernel's tells of everybody: a QEMU with
locking=off, a loop device, a process of another user or of a container, without looking through
/proc, in two system calls. Only the owner of a file (or root) may ask, only for regular files, and
only about this host: for what is mounted from a server, or by FUSE, the answer is not all. Spec:
fcntl(2), F_SETLEASE.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from growdisk.block.host_devices import sysfs_text
from growdisk.errors import ImageInUse, ImageUnsupported

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import Literal

    Answer = Literal["nobody", "somebody", "unknown"]

CONSISTENT_READ, WRITE, WRITE_UNCHANGED, RESIZE = range(4)
_USED, _FORBIDDEN = 100, 200
_WRITER_USES = (CONSISTENT_READ, WRITE, RESIZE)
_READER_USES = (CONSISTENT_READ,)
_FORBIDS = (WRITE, RESIZE)  # what neither a writer nor a reader lets others do
_LOCK = r"(?m)^lock:\s.*OFDLCK.* (\d+) (\d+)$"  # a line of /proc/PID/fdinfo/FD
_FLOCKED = r"\d+: FLOCK\s.*\s(\d+) [0-9a-f]+:[0-9a-f]+:(\d+) "  # a line of /proc/locks
_FLOCK = struct.Struct("hhqqi4x")  # struct flock of x86-64 and arm64 Linux


def lock_image(fd: int, path: Path, *, writing: bool) -> None:
    """Take QEMU's locks on `fd` for reading or writing; ImageInUse if others' locks conflict.

    The locks live as long as the file description. First ours are taken, then others are looked
    for: two that come at the same time may both be refused, but never both let in.
    """
    uses = _WRITER_USES if writing else _READER_USES
    # We hold what we use and what we forbid. Others may not forbid the one, nor use the other.
    own = [_USED + i for i in uses] + [_FORBIDDEN + i for i in _FORBIDS]
    against = [_FORBIDDEN + i for i in uses] + [_USED + i for i in _FORBIDS]
    try:
        for byte in own:
            _share(fd, byte)
        blocked = any(_is_held(fd, byte) for byte in against)
        # Let go before the holder is searched for: this process would be found too.
        if blocked:
            _lock(fd, fcntl.F_OFD_SETLK, fcntl.F_UNLCK, _USED, 2 * _USED)  # bytes 100 to 299
    except OSError as error:
        raise ImageUnsupported(
            path,
            reason=f"its file system cannot lock files ({error.strerror})",
            hint="copy the image to a local file system first",
        ) from error
    if blocked:
        holders = map(named_process, _pids_that_lock(os.fstat(fd), frozenset(against)))
        raise ImageInUse(path, holder=", ".join(holders) or "another program")


def image_writers(path: Path) -> list[int]:
    """Processes that have the file open to write to it, as QEMU's locks tell."""
    return _pids_that_lock(path.stat(), frozenset({_USED + WRITE}))


def flock_holder(path: Path) -> int | None:
    """The living process that holds a flock() lock on a file or folder; None if there is none.

    Taking the lock to find out would keep out somebody who comes at that moment; the kernel's list
    does not.
    """
    try:
        status = path.stat()
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    held = (re.match(_FLOCKED, line) for line in lines)
    pids = [int(match[1]) for match in held if match and int(match[2]) == status.st_ino]
    return next((pid for pid in pids if _has_open(pid, status)), None)


def _has_open(pid: int, status: os.stat_result) -> bool:
    """The list names a device otherwise than stat() on some file systems."""
    try:
        return any(os.path.samestat(found, status) for _, found in open_files(pid))
    # Of others' processes nothing can be seen but that they live.
    except PermissionError:
        return True
    except OSError:
        return False


def open_files(pid: int | str) -> Iterator[tuple[str, os.stat_result]]:
    """What a process has open, by the numbers of the descriptors. OSError if that is not seen."""
    for fd in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - thousands, of which no path is needed
        try:
            status = os.stat(f"/proc/{pid}/fd/{fd}")  # noqa: PTH116
        except OSError:  # closed meanwhile, or on somebody's FUSE, which has no devices
            continue
        yield fd, status


def _lock(fd: int, command: int, kind: int, start: int, length: int = 1) -> bytes:
    return fcntl.fcntl(fd, command, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))


def _share(fd: int, byte: int) -> None:
    try:
        _lock(fd, fcntl.F_OFD_SETLK, fcntl.F_RDLCK, byte)
    except OSError as error:
        # Somebody holds an exclusive lock here: not QEMU's way, but the conflict test below will
        # find it as well.
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise


def _is_held(fd: int, byte: int) -> bool:
    answer = _lock(fd, fcntl.F_OFD_GETLK, fcntl.F_WRLCK, byte)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def _pids_that_lock(status: os.stat_result, lock_bytes: frozenset[int]) -> list[int]:
    """The processes with such a lock."""
    # By their open files: /proc/locks gives pid -1 for locks of file descriptions.
    processes = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return sorted(
        int(process.name) for process in processes if _holds_lock(process, status, lock_bytes)
    )


def _holds_lock(process: Path, status: os.stat_result, lock_bytes: frozenset[int]) -> bool:
    try:
        texts = [
            (process / "fdinfo" / fd).read_text()
            for fd, other in open_files(process.name)
            if os.path.samestat(other, status)
        ]
    except OSError:  # another user's process, or one that has just ended
        return False
    locks = (match for text in texts for match in re.findall(_LOCK, text))
    return any(int(first) <= byte <= int(last) for first, last in locks for byte in lock_bytes)


def named_process(pid: int) -> str:
    """For people: qemu-system-x86 (pid 4711)."""
    return f"{sysfs_text(Path(f'/proc/{pid}/comm')) or 'a program'} (pid {pid})"


# --- leases: one is granted only if nobody else has the file open -------------------------------


def others_write(path: Path) -> Answer:
    """Whether anybody has the file open to write to it. This process must not have it so itself."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return "unknown"
    try:
        return _ask(fd, fcntl.F_RDLCK)
    finally:
        os.close(fd)


def others_open(fd: int) -> Answer:
    """Whether anybody but this one open file has it open, be it only to read.

    `fd` is open to write.
    """
    return _ask(fd, fcntl.F_WRLCK)


def _ask(fd: int, kind: int) -> Answer:
    from signal import SIGURG  # only writers ask

    try:
        # Who opens the file just now would have the kernel send SIGIO, which ends a process; this
        # one is ignored.
        fcntl.fcntl(fd, fcntl.F_SETSIG, SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, kind)
        # Given back at once: somebody who opens the file would have to wait for it.
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return "somebody" if error.errno == errno.EAGAIN else "unknown"
    return "nobody"
