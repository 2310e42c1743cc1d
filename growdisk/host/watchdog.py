"""A limit for calls that cannot be interrupted: it kills the child processes they wait for.

libguestfs has no time limits of its own, and its handle is locked while a call runs: killing what
it waits for, from another thread, is the only way back. Only children of this process that have a
given word in their command line are killed.
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
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def kill_all(word: str) -> None:
    """SIGKILL to all other processes with `word` in their command line, until there are none.

    Children of children as well: a very young one of bwrap's does not yet die with its parent, and
    would wait for it for ever. So the word must be one that nobody else can have, such as a path of
    ours.
    """
    for _ in range(_ROUNDS):
        found = [pid for pid in _everybody() if word in _command_line(pid)]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_ROUND_SECONDS)


def _everybody() -> list[int]:
    return [
        int(path.name)
        for path in Path("/proc").iterdir()
        if path.name.isdigit() and int(path.name) != os.getpid()
    ]


def _children() -> list[int]:
    """Children of any of our threads."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        # The thread may have ended meanwhile.
        with contextlib.suppress(OSError):
            found += [int(word) for word in (task / "children").read_text().split()]
    return found


def _command_line(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
    except OSError:
        return ""
