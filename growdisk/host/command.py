"""Programs of the host: the only place of growdisk that starts a process.

Tools run in a session of their own, so that a Ctrl-C at the terminal reaches growdisk alone, which
then decides what becomes of them. Every command is logged to `growdisk.command` (DEBUG) as a line
that can be pasted into a shell.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from growdisk.block.host_devices import sysfs_text
from growdisk.errors import ToolFailed, ToolMissing, ToolTimedOut
from growdisk.fast_dataclass import dataclass
from growdisk.fast_imports import LateLogger

COMMAND_LOG = LateLogger("growdisk.command")

_SUCCESS = (0,)
_LAST_LINES, _DEATH_SECONDS = 5, 10.0
MOST_SAID, _PIECE = 64 << 20, 1 << 16  # characters

# The Debian package of each program that growdisk may ask for.
PACKAGES: Mapping[str, str] = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "qemu-nbd": "qemu-utils",
    "qemu-storage-daemon": "qemu-system-common",
    "supermin": "supermin",
    "e2fsck": "e2fsprogs",
    "resize2fs": "e2fsprogs",
    "sfdisk": "fdisk",
    "debugfs": "e2fsprogs",
    "bwrap": "bubblewrap",
    "blkid": "util-linux",
    "fusermount3": "fuse3",
    "prlimit": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "virsh": "libvirt-clients",
    "cryptsetup": "cryptsetup",
    "pvresize": "lvm2",
    "lvs": "lvm2",
    "xfs_growfs": "xfsprogs",
    "ntfsresize": "ntfs-3g",
    "fsck.f2fs": "f2fs-tools",
    "resize.f2fs": "f2fs-tools",
    "lvm": "lvm2",
    "btrfs": "btrfs-progs",
    "linux.uml": "user-mode-linux",
    "losetup": "mount",
    "zfs": "zfsutils-linux",
    "rbd": "ceph-common",
}


@dataclass(frozen=True)
class CompletedCommand:
    """What a program answered."""

    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def last_words(self) -> str:
        """The end of what it complained about, for an error message."""
        return last_lines(self.stderr) or last_lines(self.stdout) or "it gave no reason"


def run(
    argv: Sequence[str | Path],
    *,
    input: str | Callable[[], str] | None = None,
    timeout: float | None = None,
    accept: Collection[int] | None = _SUCCESS,
    cwd: Path | None = None,
    name: str | None = None,
    on_line: Callable[[str], None] | None = None,
    begun: Callable[[int], None] | None = None,
) -> CompletedCommand:
    """Run a program to its end, its output captured, with LC_ALL=C.

    `input` may be known only when the program runs already; `timeout` counts from then on.
    `accept` are the exit statuses that are not failures (None: all). `name` is what errors call the
    program, if the first word is a mere wrapper. `on_line` gets each line of stderr when it comes.
    `begun` gets the number of the process, and does its work while the program does; if it fails,
    the program is killed. Raises ToolMissing, ToolFailed, or ToolTimedOut after `timeout` seconds,
    when the program has been killed.
    """
    words = tuple(os.fspath(word) for word in argv)
    COMMAND_LOG.debug("%s", shlex.join(words))
    program, name = require(words[0]), name or Path(words[0]).name
    started = time.monotonic()
    process = subprocess.Popen(
        words,
        executable=program,
        stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C"},
        text=True,
        errors="replace",
    )
    stdout, stderr = _said_by(process, name, input, timeout, on_line, begun)
    done = CompletedCommand(process.returncode, stdout, stderr, time.monotonic() - started)
    if accept is not None and done.status not in accept:
        raise ToolFailed(name, done.status, done.last_words)
    return done


def _said_by(
    process: subprocess.Popen[str],
    name: str,
    input: str | Callable[[], str] | None,
    timeout: float | None,
    on_line: Callable[[str], None] | None,
    begun: Callable[[int], None] | None,
) -> tuple[str, str]:
    """What a program said to its end on stdout and on stderr; as run(), which has the arguments."""
    # Not communicate(), which would read without a bound.
    assert process.stdout and process.stderr
    listeners: list[_Listener] = []
    try:
        # Here, for a thread may be refused as well (ulimit -u).
        for stream, told in ((process.stdout, None), (process.stderr, on_line)):
            listeners.append(_Listener(process, stream, told))
        if begun:
            begun(process.pid)
        if process.stdin:
            said = input() if callable(input) else input
            threading.Thread(target=_tell, args=(process.stdin, said), daemon=True).start()
        process.stdin = process.stdout = process.stderr = None
        end = None if timeout is None else time.monotonic() + timeout
        # With its last word it has ended, or will at once; wait() alone would look now and then.
        for wait in (*(listener.join for listener in listeners), process.wait):
            wait(end and max(end - time.monotonic(), 0))
        if timeout and any(listener.is_alive() for listener in listeners):  # to what it has started
            raise subprocess.TimeoutExpired(process.args, timeout)
    except BaseException as error:
        # Also Ctrl-C, and being cancelled: nothing that we started goes on without us.
        _kill_group(process)
        process.wait()
        # What it has started in a sandbox dies after it, and holds its pipes until then.
        for listener in listeners:
            listener.join(_DEATH_SECONDS)
        if isinstance(error, subprocess.TimeoutExpired):
            raise ToolTimedOut(name, timeout or error.timeout) from error
        raise
    stdout, stderr = (listener.all() for listener in listeners)
    if any(listener.is_too_much for listener in listeners):
        reason = f"it said more than {MOST_SAID >> 20} MiB, and was ended"
        raise ToolFailed(f"reading what {name} says", process.returncode, reason)
    return stdout, stderr


def start(
    argv: Sequence[str | Path],
    *,
    pass_fds: Sequence[int],
    env: Mapping[str, str],
    shown: Sequence[str | Path],
    console: IO[bytes] | None = None,
) -> subprocess.Popen[str]:
    """Start a helper; its stdin and stderr are pipes.

    The former ends when growdisk does, in whatever way. `shown` is the command that matters in it,
    for the log. All that it says goes to `console` if that is given.
    """
    words = tuple(os.fspath(word) for word in argv)
    COMMAND_LOG.debug("%s", shlex.join(os.fspath(word) for word in shown))
    return subprocess.Popen(
        words,
        executable=require(words[0]),
        stdin=subprocess.PIPE,
        stdout=console or subprocess.DEVNULL,
        stderr=console or subprocess.PIPE,
        start_new_session=True,
        pass_fds=tuple(pass_fds),
        env={**os.environ, **env, "LC_ALL": "C"},
        text=True,
        errors="replace",
    )


def awaited(helper: subprocess.Popen[str], seconds: float) -> str:
    """What it complained of when it ends; "" after `seconds`: it ends without us."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        return helper.communicate(timeout=seconds)[1] or ""
    return ""


def require(tool: str) -> str:
    """The full path of a program; ToolMissing, naming its package, if there is none.

    The sbin directories are looked through as well: an ordinary user of Debian does not have them
    in PATH.
    """
    found = shutil.which(tool) or shutil.which(tool, path="/usr/local/sbin:/usr/sbin:/sbin")
    if found is None:
        raise ToolMissing(tool, PACKAGES.get(tool, tool))
    return found


def is_here(tool: str) -> bool:
    try:
        require(tool)
    except ToolMissing:
        return False
    return True


def last_lines(text: str) -> str:
    """The last few lines that say something, joined."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(lines[-_LAST_LINES:])


class _Listener(threading.Thread):
    """Reads what a program says, and passes its lines on as they come.

    A file system from a stranger may make a tool say anything: it is killed before that fills the
    memory.
    """

    def __init__(
        self,
        process: subprocess.Popen[str],
        stream: IO[str],
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(daemon=True)
        self._process, self._stream, self._on_line = process, stream, on_line
        self._said, self.is_too_much = list[str](), False
        self.start()

    def run(self) -> None:
        read, left = self._stream.readline if self._on_line else self._stream.read, MOST_SAID
        with self._stream:
            while said := read(_PIECE):
                left -= len(said)
                if left < 0:
                    self.is_too_much = True
                    _kill_group(self._process)
                    return
                self._said.append(said)
                if self._on_line:
                    self._on_line(said.rstrip("\n"))

    def all(self) -> str:
        self.join()
        return "".join(self._said)


def _tell(pipe: IO[str], text: str | None) -> None:
    with contextlib.suppress(BrokenPipeError), pipe:
        pipe.write(text or "")


def _kill_group(process: subprocess.Popen[str]) -> None:
    """End the program and what it started: they are a process group of their own."""
    # The group has the program's number: it is the first process of its own session.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


# A limit for calls that cannot be interrupted: it kills the child processes they wait for.
#
# libguestfs has no time limits of its own, and its handle is locked while a call runs: killing what
# it waits for, from another thread, is the only way back. Only children of this process that have a
# given word in their command line are killed.


_POLL_SECONDS = 0.2
_ROUNDS, _ROUND_SECONDS = 100, 0.01


class TimeLimit:
    """Whether the limit was overrun."""

    def __init__(self) -> None:
        self.overrun = False


@contextlib.contextmanager
def time_limit(
    seconds: float, *words: str, cancelled: Callable[[], bool] = lambda: False
) -> Iterator[TimeLimit]:
    """Kill our children with one of `words` in their command line if the block takes too long.

    That is longer than `seconds`, or until `cancelled` says so. They are killed again and again
    until the block has ended, because the one to die may not have started yet.
    """
    limit, done = TimeLimit(), threading.Event()
    end = time.monotonic() + seconds

    def watch() -> None:
        while not done.wait(_POLL_SECONDS):
            # Cancelled is not overrun: the caller tells the two apart.
            limit.overrun = limit.overrun or time.monotonic() > end
            if limit.overrun or cancelled():
                kill_children(words)

    watcher = threading.Thread(target=watch, name="time-limit", daemon=True)
    watcher.start()
    try:
        yield limit
    finally:
        done.set()
        watcher.join()


def kill_children(words: tuple[str, ...]) -> None:
    """SIGKILL to every child of this process with one of `words` in its command line."""
    for pid in _children():
        if any(word in _command_line(pid) for word in words):
            _kill_one(pid)


def kill_all(word: str) -> None:
    """SIGKILL to all other processes with `word` in their command line, until there are none.

    Children of children as well: a very young one of bwrap's does not yet die with its parent, and
    would wait for it for ever. So the word must be one that nobody else can have, such as a path of
    ours.
    """
    if not word.strip():
        raise ValueError("every process has that in its command line")
    left_alone = {os.getpid()}
    for _ in range(_ROUNDS):
        everybody = {int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()}
        found = [pid for pid in everybody - left_alone if word in _command_line(pid)]
        if not found:
            return
        for pid in found:
            try:
                _kill_one(pid)
            except PermissionError:
                left_alone.add(pid)  # an administrator's, who looks into our folder
        time.sleep(_ROUND_SECONDS)


def _kill_one(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _children() -> list[int]:
    """Children of any of our threads."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        # The thread may have ended meanwhile.
        with contextlib.suppress(OSError):
            found += [int(word) for word in (task / "children").read_text().split()]
    return found


def _command_line(pid: int) -> str:
    return sysfs_text(Path(f"/proc/{pid}/cmdline")).replace("\0", " ")
