"""Progress for programs (--json-events, --events-fd): one JSON object a line, as it happens.

    {"event": "step-started", "number": 1, "total": 5, "step": "resize-image", "description": "…",
        "time": 1764345600.0}
    {"event": "step-ended", "step": "resize-image", "state": "done", "seconds": 0.1, "detail": "…",
        "time": …}
    {"event": "guest-said", "line": "…", "time": …}
    {"event": "progress", "title": "…", "done": 1048576, "total": 4194304, "percent": 25, "time": …}

Nobody has to read them: a reader that is gone ends no run.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time


class EventLines:
    """Writes events to an open file descriptor; from several threads, a line is never torn."""

    def __init__(self, fd: int) -> None:
        self._fd, self._lock, self._gone = fd, threading.Lock(), False

    def write(self, event: str, **facts: object) -> None:
        line = json.dumps({"event": event, **facts, "time": round(time.time(), 3)}) + "\n"
        with self._lock, contextlib.suppress(OSError):
            if not self._gone:
                # It stays True if write(2) fails: later events are dropped without an error.
                self._gone = True
                left = line.encode()
                while left:
                    left = left[os.write(self._fd, left) :]
                self._gone = False

    def percent(self, title: str, done: int, total: int, last: int) -> int:
        """Say how far it is when another whole percent is reached. Returns the percentage."""
        percent = 100 * done // total if total else 100
        if percent != last:
            self.write("progress", title=title, done=done, total=total, percent=percent)
        return percent
