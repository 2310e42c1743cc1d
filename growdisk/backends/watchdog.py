"""A limit for calls that cannot be interrupted: when time is over, the child processes they wait for are killed.

libguestfs has no time limits of its own, and its handle is locked while a call runs: killing what it waits for, from
another thread, is the only way back. Only children of this process that show a given word in their command line die.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_POLL_SECONDS = 0.2


class TimeLimit:
    """Whether the limit was overrun."""

    def __init__(self) -> None:
        self.overrun = False


@contextlib.contextmanager
def time_limit(seconds: float, *words: str, cancelled: Callable[[], bool] = lambda: False) -> Iterator[TimeLimit]:
    """Kill our children that have one of `words` in their command line when the block takes longer than `seconds`, or
    when `cancelled` says so: again and again until the block has ended, for the one to die may not have begun yet.
    """
    limit, done = TimeLimit(), threading.Event()
    end = time.monotonic() + seconds

    def watch() -> None:
        while not done.wait(_POLL_SECONDS):
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
    """SIGKILL to every child of this process with one of `words` in its command line.

    Where it leads a group, that dies as a whole: bwrap's own child would otherwise wait for its killed parent for ever,
    as long as it has not yet asked to die with it.
    """
    for pid in _children():
        if any(word in _command_line(pid) for word in words):
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if os.getpgid(pid) == pid else os.kill)(pid, signal.SIGKILL)


def _children() -> list[int]:
    """Children of any of our threads."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(word) for word in (task / "children").read_text().split()]
    return found


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
