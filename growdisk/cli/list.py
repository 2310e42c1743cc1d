"""growdisk list: many disks, a line each: how full, how large, what prevents growth.

Names and mount points come from strangers: they are put through `printable`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from growdisk.api.fleet.listing import Wanted, list_disks
from growdisk.api.fleet.values import DiskEntry, FileSystemUse
from growdisk.cli.common_options import add_flag, add_list, add_value, named_path
from growdisk.cli.disk_lines import remarks, shortened
from growdisk.cli.output import CommandOutput, printable
from growdisk.durable import replace_file
from growdisk.errors import Refused, UsageError
from growdisk.fast_dataclass import asdict
from growdisk.given_file import refuse_to_replace
from growdisk.planner.given_values import share
from growdisk.planner.option_table import as_flag
from growdisk.units import format_size, whole_percent

_NONE_READ = Refused.exit_code


def list_arguments(parser: argparse.ArgumentParser) -> None:
    text = "images, patterns, folders (default: all machines of libvirt)"
    parser.add_argument("paths", nargs="*", metavar="IMAGE|GLOB|DIR", help=text)
    add_list(parser, "-d --domain", "NAME", "a machine of libvirt, or a pattern (web*)")
    add_flag(parser, "--all-domains", "all machines of libvirt")
    add_value(parser, "-c --connect", "URI", "which libvirt (default: its own choice)")
    text = "the fullest, the largest first (default: as they are named)"
    parser.add_argument("--sort", choices=("name", "fullness", "size"), help=text)
    text = "only disks with a file system that is fuller than that"
    add_value(parser, "--above", "N%", text, type=lambda word: share("above", word, as_flag))
    text = "write one page for a browser, with disks drawn to scale"
    add_value(parser, "--html", "FILE", text, type=named_path)


def run_list(arguments: argparse.Namespace, output: CommandOutput) -> int:
    # Before the work, which may take long: a name that cannot be meant is refused at once.
    if arguments.html:
        refuse_to_replace(arguments.html, "--html")
    wanted = Wanted(
        tuple(arguments.paths),
        tuple(arguments.domain),
        # Nothing is named: all machines of libvirt.
        arguments.all_domains or not (arguments.paths or arguments.domain),
        arguments.connect,
    )
    with output.working("looking at the disks"):
        try:
            found = list_disks(wanted)
        except Refused as error:
            if not (arguments.paths or arguments.domain or arguments.all_domains):
                error.advise_also("; files and folders are named: growdisk list images/")
            raise
    if not found and arguments.paths:
        problem = "no image was found there"
        raise UsageError(problem, "name images, folders that hold some, or -d NAME")
    chosen = ordered(found, arguments.sort, arguments.above)
    if arguments.html:
        _write_page(arguments.html, chosen, output)
    output.document({"disks": [document(entry) for entry in chosen]})
    output.lines(rows(chosen, output.width))
    # A few that cannot be read are shown as such. What --above leaves out was read all the same.
    return _NONE_READ if found and all(entry.error for entry in found) else 0


def _write_page(path: Path, entries: list[DiskEntry], output: CommandOutput) -> None:
    from growdisk.cli.fleet_page import page

    text = page(entries, datetime.now().astimezone())
    try:
        # A file name may hold bytes that are not UTF-8, which Python keeps as lone surrogates.
        replace_file(path, text.encode("utf-8", "replace"), 0o644)
    except OSError as error:
        output.lost(f"cannot write {path}: {error.strerror or error}")


def ordered(entries: list[DiskEntry], sort: str | None, above: float | None) -> list[DiskEntry]:
    """Those that are fuller than `above`, and those of which that cannot be known for an error."""
    # sort() keeps the order of equals: that in which they were named.
    chosen = [entry for entry in entries if above is None or entry.error or entry.fullness > above]
    match sort:
        case "name":
            chosen.sort(key=lambda entry: entry.name)
        case "fullness":
            chosen.sort(key=lambda entry: -entry.fullness)
        case "size":
            chosen.sort(key=lambda entry: -(entry.virtual_size or 0))
    return chosen


# The disks as a table that fits the terminal.

_HEADER = ("name", "state", "format", "size", "on host", "table", "root", "fullest", "remarks")
_RIGHT = (3, 4)
_EXPENDABLE = (5, 2, 6, 4)  # columns that go first where the terminal is narrow
_NAME, _REMARKS = 0, len(_HEADER) - 1
_LEAST_NAME, _LEAST_REMARKS = 16, 18


def rows(entries: Sequence[DiskEntry], width: int) -> Iterator[str]:
    """A header, and a line for each disk: never wider than `width`."""
    if not entries:
        return
    known = Counter(map(_short_name, entries))
    cells = [_HEADER, *(_row(entry, alone=known[_short_name(entry)] == 1) for entry in entries)]
    # What no disk has needs no column.
    columns = [n for n in range(len(_HEADER)) if n == _REMARKS or any(row[n] for row in cells[1:])]
    # Least widths: names and remarks can still be cut after that.
    for expendable in _EXPENDABLE:
        if expendable in columns and _least(cells, columns) > width:
            columns.remove(expendable)
    widths = _widths(cells, columns, width)
    for row in cells:
        words = [
            _fitted(row[column], widths[column], right=column in _RIGHT, keep_end=column == _NAME)
            for column in columns
        ]
        yield "  ".join(words).rstrip()


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


def _short_name(entry: DiskEntry) -> str:
    """A machine's name, or a file's without its folder."""
    return entry.name if entry.domain else Path(entry.path).name or entry.path


def _row(entry: DiskEntry, *, alone: bool) -> tuple[str, ...]:
    """`alone`: no other row has its short name."""
    size, actual = entry.virtual_size, entry.actual_size
    return tuple(
        printable(text)
        for text in (
            _short_name(entry) if alone else entry.name,
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
    return f"{whole_percent(use.fullness)}% {use.name}" if use else ""


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
