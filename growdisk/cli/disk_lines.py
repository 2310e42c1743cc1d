"""A disk in words: a line for the image, and a table of its partitions for the given width.

What comes from inside the guest (labels) goes through `printable`: it must not move anybody's
cursor.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.cli.output import printable
from growdisk.errors import shell_word
from growdisk.planner.layout import (
    BlockerLayout,
    ContentLayout,
    Layout,
    PartitionLayout,
    VolumeLayout,
    table_words,
)
from growdisk.units import format_size, whole_percent

if TYPE_CHECKING:
    from growdisk.api.fleet.values import DiskEntry
    from growdisk.api.result import StatusReport

_HEADER = ("name", "start", "size", "role", "type", "holds")
_RIGHT = (1, 2)
_ROLE = 3  # every partition of a GPT is a primary one
_EXPENDABLE = (4, 3, 1)  # columns that go first where the terminal is narrow
_KINDS = (("crypto_LUKS", "LUKS (encrypted)"), ("LVM2_member", "LVM"))
_WORTH_A_WORD = 64 << 20  # of unused space, in a list of disks
_WITHOUT_FILES = ("BIOS", "MSR")  # the type says all
_GPT_TYPES = (
    ("C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "ESP"),
    ("21686148-6449-6E6F-744E-656564454649", "BIOS"),
    ("0FC63DAF-8483-4772-8E79-3D69D8477DE4", "Linux"),
    ("4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "root"),
    ("0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", "swap"),
    ("E6D6D379-F507-44C2-A23C-238F2A3DF928", "LVM"),
    ("EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "data"),
    ("DE94BBA4-06D1-4D40-A16A-BFD50179D6AC", "recovery"),
    ("E3C9E316-0B5C-4DB8-817D-F92DF00215AE", "MSR"),
)


def headline(layout: Layout, width: int) -> list[str]:
    """The image: name, format, table, sizes, snapshots; its backing file below it."""
    image = layout.image
    facts = [image.format, table_words(layout.table.type)]
    facts.append(
        f"{format_size(image.virtual_size)} ({format_size(image.actual_size)} on the host)"
    )
    if image.snapshots:
        facts.append(f"{len(image.snapshots)} snapshot{'s' if len(image.snapshots) > 1 else ''}")
    name, text = printable(image.path.rsplit("/", 1)[-1]), ", ".join(facts)
    lines = (
        [f"{name}: {text}"]
        if len(name) + len(text) + 2 <= width
        else [shortened(line, width) for line in (name, f"  {text}")]
    )
    return [*lines, *(shortened(f"  on {printable(backing)}", width) for backing in image.backing)]


def partition_rows(layout: Layout, width: int) -> list[str]:
    """A row for each partition and each stretch of free space, as they lie on the disk."""
    blocked = {blocker.number for blocker in layout.blockers}
    rows = [
        (part.start, _partition_row(part, in_the_way=part.number in blocked))
        for part in layout.partitions
    ]
    rows += [
        (free.start, ("free", format_size(free.start), format_size(free.size), "", "", ""))
        for free in layout.free
    ]
    if not rows:
        return []
    cells = [_HEADER, *(row for _, row in sorted(rows, key=lambda row: row[0]))]
    columns = [n for n in range(len(_HEADER)) if n != _ROLE or layout.table.type != "gpt"]
    # Without a column the others may fit; if not, the next goes too, and lines are cut at the end.
    for expendable in _EXPENDABLE:
        # Two spaces before each column, the first one too.
        total = sum(2 + max(len(row[column]) for row in cells) for column in columns)
        if expendable in columns and total > width:
            columns.remove(expendable)
    return [shortened(line, width) for line in _aligned(cells, columns)]


def volumes(layout: Layout, width: int) -> list[str]:
    """A line for each opened container and each logical volume."""
    words = [f"  {_volume(volume)}: {_content(volume.content)}" for volume in layout.volumes]
    return [shortened(line, width) for line in (["inside:", *words] if words else [])]


def _volume(volume: VolumeLayout) -> str:
    """Its name, its kind if that is unusual, its size, and what it lies in."""
    name, size = printable(volume.name), format_size(volume.size)
    # "LUKS in sda5": the name says both.
    if volume.kind == "luks":
        return f"{name}, {size}"
    kind = "" if volume.kind == "linear" else f"{volume.kind}, "
    return f"{name}, {kind}{size}, in {printable(volume.holder)}"


def blocker_lines(found: tuple[BlockerLayout, ...], width: int) -> list[str]:
    """What lies after the partition that would grow, a line each, with the options that solve it.

    The extended partition is left out if it holds some.
    """
    # With logical partitions in the way, the extended one is only the box around them.
    named = [b for b in found if b.kind != "extended partition"] or list(found)
    lines = ["in the way of growth:"] if named else []
    for blocker in named:
        # --swap move or --swap file is shown as --swap move|file.
        solution = " or ".join(blocker.options).replace(" or --swap ", "|")
        if solution and len(f"  {blocker.why}; {solution}") > width:
            lines += [f"  {blocker.why}", f"    {solution}"]
        else:
            lines.append("; ".join(filter(None, (f"  {blocker.why}", solution))))
    # The reason may be long, and its end is what matters: nothing of it is cut off.
    return [part for line in lines for part in wrapped(line, width, "    ")]


def standing(report: StatusReport | None, overlays: list[str], path: str) -> Iterator[str]:
    """What speaks against writing to the image: an open run, and images that lie on it."""
    if report is not None:
        following = " or ".join(f"growdisk {verb} {shell_word(Path(path))}" for verb in report.next)
        yield {
            "running": f"growdisk is at work on it now: pid {report.pid}, step {report.step}",
            "unfinished": f"unfinished run of growdisk: {following}",
            # What remains is a kept run: the caller leaves out those that have ended.
        }.get(report.state, f"the way back of a finished run is kept: {following}")
        if report.missing:
            yield f"  {printable(report.missing)}"
    if overlays:
        yield f"other images lie on it: {', '.join(map(printable, overlays))}"


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


def shortened(text: str, width: int) -> str:
    # Never longer than `width`, even if that has no room for the dots.
    return text if len(text) <= width else text[: max(width - 3, 0)] + "..."[:width]


def wrapped(text: str, width: int, indent: str) -> list[str]:
    """A line that may be longer than the terminal; continuation lines are indented.

    Words and paths stay whole.
    """
    if len(text) <= width:
        return [text]
    import textwrap  # few texts are that long

    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _partition_row(part: PartitionLayout, *, in_the_way: bool) -> tuple[str, ...]:
    name = f"{part.name} *" if part.bootable else part.name
    # A GUID that is not in the table is cut to its first group; an MBR's type is shorter.
    kind = dict(_GPT_TYPES).get(part.type, part.type[:8])
    holds = f"{_content(part.content)}{' <- in the way' if in_the_way else ''}"
    has_none = kind in _WITHOUT_FILES and part.content is None and not in_the_way
    if part.role == "extended" or has_none:
        holds = ""
    return name, format_size(part.start), format_size(part.size), part.role, kind, holds


def _content(content: ContentLayout | None) -> str:
    if content is None:
        return "nothing recognised"
    fill = (
        ""
        if content.used is None or not content.size
        else f", {whole_percent(content.used / content.size)} % used"
    )
    label = f' "{printable(content.label)}"' if content.label else ""
    return f"{kind_in_words(content.kind)}{fill}{label}"


def kind_in_words(kind: str) -> str:
    """As people call it; blkid's names stay in JSON."""
    return dict(_KINDS).get(kind, kind)


def _aligned(cells: list[tuple[str, ...]], columns: list[int]) -> Iterator[str]:
    widths = {column: max(len(row[column]) for row in cells) for column in columns}
    for row in cells:
        words = [
            row[column].rjust(widths[column])
            if column in _RIGHT
            else row[column].ljust(widths[column])
            for column in columns
        ]
        yield ("  " + "  ".join(words)).rstrip()
