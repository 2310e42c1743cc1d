"""The list of disks as a table that fits the terminal, and as values for --json.

Names and mount points come from strangers: they are put through `printable`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from growdisk.api.fleet.values import DiskEntry, FileSystemUse
from growdisk.cli.disk_lines import shortened
from growdisk.cli.terminal_style import printable
from growdisk.fast_dataclass import asdict
from growdisk.units import format_size, whole_percent

_HEADER = ("name", "state", "format", "size", "on host", "table", "root", "fullest", "remarks")
_RIGHT = (3, 4)
_EXPENDABLE = (5, 2, 6, 4)  # columns that go first where the terminal is narrow
_NAME, _REMARKS = 0, len(_HEADER) - 1
_LEAST_NAME, _LEAST_REMARKS = 16, 18
_WORTH_A_WORD = 64 << 20


def rows(entries: Sequence[DiskEntry], width: int) -> Iterator[str]:
    """A header, and a line for each disk: never wider than `width`."""
    if not entries:
        return
    cells = [_HEADER, *map(_row, entries)]
    columns = list(range(len(_HEADER)))
    # Least widths: names and remarks can still be cut after that.
    for expendable in _EXPENDABLE:
        if _least(cells, columns) > width:
            columns.remove(expendable)
    widths = _widths(cells, columns, width)
    for row in cells:
        words = [
            _fitted(row[column], widths[column], right=column in _RIGHT, keep_end=column == _NAME)
            for column in columns
        ]
        yield "  ".join(words).rstrip()


def remarks(entry: DiskEntry) -> Iterator[str]:
    """What is worth knowing of a disk, the most important first."""
    # Nothing else is known of such a disk.
    if entry.error:
        yield str(entry.error["why"] or entry.error["what"])
        return
    if entry.run:
        yield "way back kept" if entry.run == "kept" else f"{entry.run} run"
    if entry.hinders:
        first = entry.hinders[0]
        yield (
            f"{first.kind} {first.name} behind"
            # What an option would solve is only named; the reason is given for what growdisk cannot
            # solve. `sda2 is encrypted` is shorter and clearer than `luks sda2 behind`.
            if first.options and first.kind != "luks"
            else first.why
        )
    if entry.idle >= _WORTH_A_WORD:
        yield f"{format_size(entry.idle)} idle"
    if entry.overlays:
        yield f"{len(entry.overlays)} overlay{'s' if len(entry.overlays) > 1 else ''} on it"
    if entry.backing:
        yield "overlay"
    if entry.snapshots:
        yield f"{len(entry.snapshots)} snapshot{'s' if len(entry.snapshots) > 1 else ''}"
    if entry.note:
        yield entry.note


def shown_name(entry: DiskEntry) -> str:
    """The machine's, or the file's: the folder is left out if there is no other."""
    return entry.name if entry.domain else os.path.basename(entry.path) or entry.path  # noqa: PTH119


def percent_cell(use: FileSystemUse | None) -> str:
    return f"{whole_percent(use.fullness)}%" if use else ""


def document(entry: DiskEntry) -> dict[str, object]:
    """For --json: see docs/json.md."""
    # asdict has fields only: `fullest` and `fullness` are properties.
    values = asdict(entry) | {"path": entry.path or None, "domain": entry.domain or None}
    values["fullest"] = asdict(entry.fullest) if entry.fullest else None
    values["fullness"] = round(100 * entry.fullness, 1) if entry.fullest else None
    for name in ("target", "note", "error"):
        if not values[name]:
            del values[name]
    values["format"] = entry.format or None
    values["partitions"] = values.pop("stretches")
    return values


def _row(entry: DiskEntry) -> tuple[str, ...]:
    size, actual = entry.virtual_size, entry.actual_size
    return tuple(
        printable(text)
        for text in (
            shown_name(entry),
            "unreadable" if entry.error else entry.state,
            entry.format,
            "" if size is None else format_size(size),
            "" if actual is None else format_size(actual),
            "" if size is None else entry.table or "none",
            _named_percent(entry.root),
            _named_percent(entry.fullest),
            "; ".join(remarks(entry)),
        )
    )


def _named_percent(use: FileSystemUse | None) -> str:
    return f"{percent_cell(use)} {use.name}" if use else ""


def _widest(cells: Sequence[tuple[str, ...]], column: int) -> int:
    # A long label or mount point must not push the other columns out.
    most = 24 if column not in (_NAME, _REMARKS) else 10_000
    return min(max(len(row[column]) for row in cells), most)


def _least(cells: Sequence[tuple[str, ...]], columns: Sequence[int]) -> int:
    least = {_NAME: _LEAST_NAME, _REMARKS: _LEAST_REMARKS}
    return sum(2 + min(_widest(cells, column), least.get(column, 10_000)) for column in columns) - 2


def _widths(cells: Sequence[tuple[str, ...]], columns: Sequence[int], width: int) -> dict[int, int]:
    """Names get what remarks leave above their least, and the other way round."""
    widths = {column: _widest(cells, column) for column in columns}
    others = sum(2 + widths[column] for column in columns if column not in (_NAME, _REMARKS))
    room = max(width - others - 2, 2)
    # As wide as it wants if remarks fit beside it; else up to half of what is left, 40 at most.
    name = min(widths[_NAME], max(room - widths[_REMARKS], min(room // 2, 40), 1))
    return widths | {_NAME: name, _REMARKS: max(room - name, 1)}


def _fitted(text: str, width: int, *, right: bool, keep_end: bool) -> str:
    if len(text) > width and keep_end and width > 6:
        # The middle is cut: numbered machines and files differ at the end.
        half = (width - 3) // 2
        text = f"{text[: width - 3 - half]}...{text[len(text) - half :]}"
    text = shortened(text, width)
    return text.rjust(width) if right else text.ljust(width)
