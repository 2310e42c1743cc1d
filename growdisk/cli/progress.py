"""Shows a run as it happens: moving on a terminal, else a line a step; as JSON lines to programs.

What moves is rich_lines.py, loaded only if there is a terminal for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable

from growdisk.fast_dataclass import NamedTuple

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import Self

    from growdisk.cli.rich_lines import MovingLine

_SOON = 1.0  # seconds: what is quicker shows nothing, and does not load rich
_SIGNS = {"done": "+", "skipped": "-", "failed": "!", "restored": "<"}


class Screen(NamedTuple):
    """Where progress is shown. `say` takes lines where nothing moves; `plain`: no colour."""

    say: Callable[[str], None]
    moves: bool
    plain: bool
    events: EventLines | None


class _Progress:
    """What may have a moving line, as a context manager."""

    def __init__(self, screen: Screen, title: str = "") -> None:
        self._screen, self._title, self._events = screen, title, screen.events
        self._live: MovingLine | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()


class StepLines(_Progress):
    """The engine's observer."""

    def step_started(self, number: int, total: int, name: str, description: str) -> None:
        if self._events:
            self._events.write(
                "step-started", number=number, total=total, step=name, description=description
            )
        if not self._screen.moves:
            return
        # With the first step: a run that is refused before loads no rich and draws nothing.
        if self._live is None:
            from growdisk.cli.rich_lines import line_of_steps

            self._live = line_of_steps(total, plain=self._screen.plain)
        self._live.update(
            self._live.task,
            completed=number - 1,
            total=total,
            description=f"{number}/{total} {name}",
        )

    def step_said(self, line: str) -> None:
        if self._events:
            self._events.write("guest-said", line=line)
        # The guest's scripts begin each line with it, for people who read it inside the guest.
        self._show(f"   . {line.removeprefix('growdisk ')}")

    def step_ended(self, name: str, state: str, seconds: float, detail: str) -> None:
        if self._events:
            self._events.write(
                "step-ended", step=name, state=state, seconds=round(seconds, 3), detail=detail
            )
        self._show(
            f" {_SIGNS.get(state, ' ')} {name:<19} {state:<8} {seconds:5.1f} s  {detail}".rstrip()
        )
        if self._live is not None:
            self._live.advance(self._live.task)

    def _show(self, line: str) -> None:
        if self._live is None:
            self._screen.say(line)
        else:
            # Rich's own console puts it above the moving line, which would else be drawn over it.
            self._live.console.print(
                line, highlight=False, markup=False, no_wrap=True, overflow="ellipsis"
            )


class Bar(_Progress):
    """A long task's progress bar: called with (bytes done, bytes in all)."""

    _percent = -1  # so that 0 % is an event of its own

    def __enter__(self) -> Self:
        if self._screen.moves:
            from growdisk.cli.rich_lines import line_of_bytes

            self._live = line_of_bytes(self._title, plain=self._screen.plain)
        return self

    def __call__(self, done: int, total: int) -> None:
        if self._events:
            self._percent = self._events.percent(self._title, done, total, self._percent)
        if self._live is not None:
            self._live.update(self._live.task, completed=done, total=total)


class Spinner:
    """Work of unknown length, as a context manager; after a second it is shown with its time.

    Names may be added and removed while it goes on, from any thread.
    """

    def __init__(self, title: str, *, plain: bool = False) -> None:
        self._names, self._plain = [title] if title else [], plain
        # Names come from the threads that do the work, _show from the timer's.
        self._lock = threading.RLock()
        self._timer, self._ended = threading.Timer(_SOON, self._show), False
        self._live: MovingLine | None = None

    def __enter__(self) -> Spinner:
        self._timer.daemon = True
        self._timer.start()
        return self

    def say(self, line: str) -> bool:
        """A finished line above the moving one.

        False if nothing moves, and the line is still to be said.
        """
        with self._lock:
            if self._live is not None:
                self._live.console.print(line, highlight=False, markup=False)
            return self._live is not None

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        # The timer may have fired, and its thread wait for this lock: it is late then.
        with self._lock:
            self._ended = True
            if self._live is not None:
                self._live.stop()

    def begins(self, name: str) -> None:
        self._change(lambda: self._names.append(name))

    def ends(self, name: str) -> None:
        self._change(lambda: self._names.remove(name))

    def _change(self, change: Callable[[], None]) -> None:
        with self._lock:
            change()
            if self._live is not None:
                self._live.update(self._live.task, description=self._text)

    @property
    def _text(self) -> str:
        return ", ".join(self._names) or "working"

    def _show(self) -> None:
        with self._lock:
            if not self._ended:
                from growdisk.cli.rich_lines import line_of_work

                self._live = line_of_work(self._text, plain=self._plain)


class EventLines:
    """Events for programs (--json-events, --events-fd): one JSON object a line, never torn.

        {"event": "step-started", "number": 1, "total": 5, "step": "resize-image",
            "description": "…", "time": 1764345600.0}
        {"event": "step-ended", "step": "resize-image", "state": "done", "seconds": 0.1,
            "detail": "…", "time": …}
        {"event": "guest-said", "line": "…", "time": …}
        {"event": "progress", "title": "…", "done": 1048576, "total": 4194304, "percent": 25,
            "time": …}

    Nobody has to read them: a reader that is gone ends no run. Several threads may write.
    """

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
