"""Shows a run as it happens: a live line on a terminal (step, progress, time), else a line a step.

rich is imported only if there is a terminal for the live line.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from rich.progress import Progress

    from growdisk.cli.events import EventLines

_SOON = 1.0  # seconds: what is quicker shows nothing, and does not load rich
_SIGNS = {"done": "+", "skipped": "-", "failed": "!", "restored": "<"}
_STYLES = {
    "changed": "yellow",
    "ok": "green",
    "failed": "red",
    "stuck": "bold red",
    "restored": "magenta",
}


class StepLines:
    """The engine's observer, and a context manager.

    `say` takes finished lines; `plain`: no colour.
    """

    def __init__(
        self,
        write_line: Callable[[str], None],
        *,
        moving: bool,
        plain: bool = False,
        events: EventLines | None = None,
    ) -> None:
        self._say, self._moving, self._plain, self._events = write_line, moving, plain, events
        self._live: Progress | None = None

    def __enter__(self) -> StepLines:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def step_started(self, number: int, total: int, name: str, description: str) -> None:
        if self._events:
            self._events.write(
                "step-started", number=number, total=total, step=name, description=description
            )
        if not self._moving:
            return
        if self._live is None:
            self._live = _moving_line(plain=self._plain)
            self._live.add_task("", total=total)
            self._live.start()
        task = self._live.task_ids[0]
        self._live.update(
            task, completed=number - 1, total=total, description=f"{number}/{total} {name}"
        )

    def step_said(self, line: str) -> None:
        if self._events:
            self._events.write("guest-said", line=line)
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
            self._live.advance(self._live.task_ids[0])

    def _show(self, line: str) -> None:
        if self._live is None:
            self._say(line)
        else:
            self._live.console.print(
                line, highlight=False, markup=False, no_wrap=True, overflow="ellipsis"
            )


def _moving_line(*, plain: bool) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=Console(stderr=True, no_color=plain or None), transient=True)


class MovingTable:
    """Rows that change in place, as a context manager.

    It has no thread: whoever shows it may have to fork.
    """

    def __init__(self, headings: Sequence[str], *, plain: bool = False) -> None:
        from rich.console import Console
        from rich.live import Live

        self._headings = headings
        self._console = Console(stderr=True, no_color=plain or None)
        # the summary says it again
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> MovingTable:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, rows: Sequence[Sequence[str]]) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for heading in self._headings:
            table.add_column(heading, no_wrap=True, overflow="ellipsis")
        for row in rows:
            table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
        self._live.update(table, refresh=True)

    def say(self, line: str) -> None:
        """A line above the table."""
        self._console.print(line, highlight=False, markup=False)


class Bar:
    """A long task's progress bar: a context manager, called with (bytes done, bytes in all).

    It is drawn if `moving`.
    """

    def __init__(
        self, title: str, *, moving: bool, plain: bool = False, events: EventLines | None = None
    ) -> None:
        self._title, self._moving, self._plain, self._events = title, moving, plain, events
        self._percent = -1
        self._live: Progress | None = None

    def __enter__(self) -> Bar:
        if self._moving:
            self._live = _bytes_line(plain=self._plain)
            self._live.add_task(self._title, total=None)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, done: int, total: int) -> None:
        if self._events:
            self._percent = self._events.percent(self._title, done, total, self._percent)
        if self._live is not None:
            self._live.update(self._live.task_ids[0], completed=done, total=total)


class Working:
    """Work of unknown length, as a context manager; after a second it is shown with its time.

    Names may be added and removed while it goes on, from any thread.
    """

    def __init__(self, title: str, *, plain: bool = False) -> None:
        self._names, self._plain = [title] if title else [], plain
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = threading.Timer(_SOON, self._show)
        self._live: Progress | None = None

    def __enter__(self) -> Working:
        if self._timer is not None:
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
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._timer = None
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
                self._live.update(self._live.task_ids[0], description=self._text)

    @property
    def _text(self) -> str:
        return ", ".join(self._names) or "working"

    def _show(self) -> None:
        with self._lock:
            if self._timer is not None:
                self._live = _waiting_line(plain=self._plain)
                self._live.add_task(self._text, total=None)
                self._live.start()


def _waiting_line(*, plain: bool) -> Progress:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True, no_color=plain or None), transient=True)


def _bytes_line(*, plain: bool) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(binary_units=True),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True, no_color=plain or None), transient=True)
