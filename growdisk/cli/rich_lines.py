"""What moves on a terminal, drawn by rich: loaded if there is something to draw (60 ms)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

_STYLES = {
    "changed": "yellow",
    "ok": "green",
    "failed": "red",
    "stuck": "bold red",
    "restored": "magenta",
}


class MovingLine(Progress):
    """A line below all others, for one `task`; it is there at once, until `stop`."""

    def __init__(
        self, *columns: ProgressColumn, title: str = "", total: int | None = None, plain: bool
    ) -> None:
        super().__init__(*columns, console=_console(plain=plain), transient=True)
        self.task = self.add_task(title, total=total)
        self.start()


def line_of_steps(total: int, *, plain: bool) -> MovingLine:
    text, bar = TextColumn("{task.description}"), BarColumn(bar_width=24)
    return MovingLine(SpinnerColumn(), text, bar, TimeElapsedColumn(), total=total, plain=plain)


def line_of_work(title: str, *, plain: bool) -> MovingLine:
    text = TextColumn("{task.description}", markup=False)
    return MovingLine(SpinnerColumn(), text, TimeElapsedColumn(), title=title, plain=plain)


def line_of_bytes(title: str, *, plain: bool) -> MovingLine:
    text, bar = TextColumn("{task.description}", markup=False), BarColumn(bar_width=24)
    amount, rest = DownloadColumn(binary_units=True), TimeRemainingColumn()
    return MovingLine(text, bar, amount, rest, title=title, plain=plain)


class MovingTable:
    """Rows that change in place, as a context manager."""

    def __init__(self, headings: Sequence[str], *, plain: bool = False) -> None:
        self._headings = headings
        self._console = _console(plain=plain)
        # auto_refresh would be a thread, and growdisk run forks while the table is there: a child
        # could inherit a lock that is held for ever. transient: the summary says it all again.
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> MovingTable:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, rows: Sequence[Sequence[str]]) -> None:
        table = Table(box=None, pad_edge=False)
        for heading in self._headings:
            table.add_column(heading, no_wrap=True, overflow="ellipsis")
        for row in rows:
            table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
        self._live.update(table, refresh=True)

    def say(self, line: str) -> None:
        """A line above the table."""
        self._console.print(line, highlight=False, markup=False)


def _console(*, plain: bool) -> Console:
    # None: rich looks at NO_COLOR itself.
    return Console(file=cast("TextIO", _Stderr()), no_color=plain or None)


class _Stderr:
    """A terminal that may be closed: what moves on it must not end a run then."""

    def __init__(self) -> None:
        self._stream = sys.stderr  # while something moves rich has another one there

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        self._kept(lambda: self._stream.write(text))

    def flush(self) -> None:
        self._kept(self._stream.flush)

    def _kept(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
