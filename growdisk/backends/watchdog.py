"""A time limit for calls that cannot be interrupted: when it is over, the child processes they wait for are killed.

libguestfs has no time limits of its own, and its handle is locked while a call runs: killing what it waits for, from
another thread, is the only way back. Only children of this process that show a given word in their command line die.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path


class TimeLimit:
    """Whether the limit was overrun."""

    def __init__(self) -> None:
        self.overrun = False

    def end(self, words: tuple[str, ...]) -> None:
        self.overrun = True
        kill_children(words)


@contextlib.contextmanager
def time_limit(seconds: float, *words: str) -> Iterator[TimeLimit]:
    """Kill our children that have one of `words` in their command line when the block takes longer than `seconds`."""
    limit = TimeLimit()
    timer = threading.Timer(seconds, limit.end, [words])
    timer.daemon = True
    timer.start()
    try:
        yield limit
    finally:
        timer.cancel()


def kill_children(words: tuple[str, ...]) -> None:
    """SIGKILL to every child of this process with one of `words` in its command line."""
    for pid in _children():
        if any(word in _command_line(pid) for word in words):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


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
