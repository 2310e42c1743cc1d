"""A process that dies at its n-th change of the host, as by SIGKILL: no flush, no clean-up.

The child counts all that it does to the host and is gone before the n-th. What it had done before
stays, as it does when a process is killed. Python itself reports what changes names, modes and
lengths, and what starts a program (audit events, so none can be forgotten); calls that write to an
open file are wrapped. What a program changes that growdisk starts counts as one change, unless it
goes through a disk that growdisk itself serves.
"""

from __future__ import annotations

import builtins
import io
import mmap
import os
import signal
import stat
import struct
import sys
import traceback
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

from growdisk import durable

#: Calls of `os` that write to an open file, by the position of its descriptor.
_WRITING = {
    "write": 0, "writev": 0, "pwrite": 0, "pwritev": 0, "sendfile": 0, "copy_file_range": 1,
    "splice": 1, "posix_fallocate": 0,
}  # fmt: skip
#: Calls of `os` that make a name, and that Python does not report.
_MAKING = ("mkfifo", "mknod")
#: Calls that a disk may fail, and that change nothing themselves.
SYNCING = frozenset({"fsync", "fdatasync"})
#: What Python reports (sys.addaudithook), and what it is called here.
_REPORTED = {
    "open": "open", "os.truncate": "truncate", "os.link": "link", "os.symlink": "symlink",
    "os.mkdir": "mkdir", "os.rename": "rename", "os.remove": "unlink", "os.rmdir": "rmdir",
    "os.utime": "utime", "os.chmod": "chmod", "os.chown": "chown", "os.setxattr": "setxattr",
    "os.removexattr": "removexattr", "socket.bind": "bind", "fcntl.ioctl": "ioctl",
    "subprocess.Popen": "start", "os.posix_spawn": "start", "os.system": "start",
}  # fmt: skip
CHANGES = frozenset({*_WRITING, *_MAKING, *_REPORTED.values(), "fallocate"})
#: Those that a full disk, a quota or a limit may refuse.
TAKING_ROOM = CHANGES - {
    "unlink", "rmdir", "rename", "utime", "chmod", "chown", "removexattr", "ioctl", "start", "bind",
}  # fmt: skip
#: Those that change a file system, which may be read-only or fail.
OF_FILES = CHANGES - {"start", "ioctl"}
_CREATING = os.O_CREAT | os.O_TRUNC
_FICLONE = 0x40049409
FAILED = 78
_NEVER = 1 << 40


def run_dying(action: Callable[[], object], changes: int | None) -> bool:
    """Run `action` in a child that dies before its change number `changes` (None: never).

    True if it died of it. Raises AssertionError if the action failed by itself.
    """
    code = code_dying(lambda: (action(), 0)[1], changes)
    assert code in (0, None), f"the child ended with {code}"
    return code is None


def code_dying(action: Callable[[], int], changes: int | None) -> int | None:
    """The same for an action that returns a code: this code, or None if it died."""
    told = mmap.mmap(-1, 1)  # shared with the child and its children

    def die() -> None:
        told[0] = 1
        os.killpg(0, signal.SIGKILL)  # processes that it has forked are growdisk as well
        signal.pause()

    status = in_child(action, None if changes is None else lambda: before_change(changes, die))
    return None if told[0] else status


def count_changes(action: Callable[[], int]) -> tuple[int, int]:
    """What `action` returns in a child, and how many changes it makes."""
    left = mmap.mmap(-1, 8)
    code = in_child(action, lambda: before_change(_NEVER, lambda: None, left=left))
    return code, _NEVER - int(struct.unpack("q", left[:])[0])


def in_child(action: Callable[[], int], first: Callable[[], object] | None) -> int:
    """What `action` returns in a forked child, which does `first` before."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = FAILED
        try:
            os.setpgid(0, 0)
            if first is not None:
                first()
            code = action()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def before_change(
    changes: int,
    action: Callable[[], object],
    names: Set[str] = CHANGES,
    *,
    left: mmap.mmap | None = None,
) -> None:
    """Call `action` once in this process, right before its change number `changes`.

    What `action` itself changes does not count. `names`: the changes that count. `left`: memory
    that says how many are left until then.
    """
    counter = _Counter(changes, action, left or mmap.mmap(-1, 8))
    for name in names & {*_WRITING, *_MAKING, *SYNCING}:
        setattr(os, name, _before(counter, getattr(os, name), _WRITING.get(name)))
    if "fallocate" in names:
        _wrap_fallocate(counter)
    if "open" in names:
        io.open = builtins.open = _and_after_creating(counter, io.open)  # type: ignore[misc]

    def reported(event: str, arguments: tuple[Any, ...]) -> None:
        if _REPORTED.get(event) in names and _is_change(event, arguments):
            counter.count(event, arguments)

    sys.addaudithook(reported)


class _Counter:
    """Counts down in memory that is shared with the children that are forked later."""

    def __init__(self, changes: int, action: Callable[[], object], left: mmap.mmap) -> None:
        self._left, self._action, self._busy = left, action, False
        self._left[:] = struct.pack("q", changes)

    def count(self, name: str, what: object) -> None:
        if self._busy:
            return
        (left,) = struct.unpack("q", self._left[:])
        self._left[:] = struct.pack("q", left - 1)
        if left == 0:
            self._busy = True
            try:
                self._action()
            finally:
                self._busy = False


def _wrap_fallocate(counter: _Counter) -> None:
    """Wherever it has been imported, and will be."""
    real, counted = durable.fallocate, _before(counter, durable.fallocate, 0)
    for module in list(sys.modules.values()):
        if vars(module).get("fallocate") is real:
            module.fallocate = counted  # type: ignore[attr-defined]


def _before(
    counter: _Counter, call: Callable[..., Any], position: int | None
) -> Callable[..., Any]:
    def counting(*arguments: Any, **options: Any) -> Any:
        if position is None or len(arguments) <= position or _lasts(arguments[position]):
            counter.count(call.__name__, arguments)
        return call(*arguments, **options)

    return counting


def _and_after_creating(counter: _Counter, call: Callable[..., Any]) -> Callable[..., Any]:
    """What is written to a file object comes later: there is a moment when the file is empty."""

    def opening(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        opened = call(file, mode, *arguments, **options)
        if set(mode) & set("wxa") and _lasts(opened.fileno()):
            counter.count("created", (file, mode))
        return opened

    return opening


def _is_change(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "open":
        path, _, flags = arguments
        if not flags & _CREATING or isinstance(path, int):
            return False
        try:
            found = Path(os.fsdecode(path)).stat()
        except OSError:
            return bool(flags & os.O_CREAT)
        return bool(flags & os.O_TRUNC) and stat.S_ISREG(found.st_mode)
    if event == "fcntl.ioctl":
        return arguments[1] == _FICLONE
    if event == "socket.bind":
        return isinstance(arguments[1], str | bytes)
    return True


def _lasts(fd: object) -> bool:
    """Whether what is written there stays: a file or a disk, and no pipe."""
    if not isinstance(fd, int):
        return True
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return True
    return stat.S_ISREG(mode) or stat.S_ISBLK(mode)
