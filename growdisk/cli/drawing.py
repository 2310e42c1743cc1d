"""A disk drawn to scale: one bar with its partitions, their fill level and the free space, and a table below it.

    ┌──────────────────────────────────────┬──────────┐
    │sda1 ext4 2.5 GiB                     │sda5 swap │
    │█████████████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│▒▒▒▒▒▒▒▒▒▒│
    └──────────────────────────────────────┴──────────┘

Readable without colour: what is used is █, what a file system has free is ▒, what belongs to nobody is blank.
Every string is plain text; the caller colours it.
"""

from __future__ import annotations

from dataclasses import dataclass

from growdisk.planner.layout import FreeLayout, Layout, PartitionLayout
from growdisk.units import format_size

USED, UNUSED, FREE = "█", "▒", " "
_MIN_CELL = 6


@dataclass(frozen=True)
class Cell:
    """A stretch of the bar: `weight` bytes, captions (the first that fits), and how much is used (None: nobody's)."""

    captions: tuple[str, ...]
    weight: int
    used: float | None


def draw(layout: Layout, width: int = 80, scale_size: int | None = None) -> list[str]:
    """The layout in at most `width` columns. `scale_size`: the disk size that would take the full width."""
    return [headline(layout), *bar(layout, width, scale_size), *table(layout)]


def headline(layout: Layout) -> str:
    image = layout.image
    name = image.path.rsplit("/", 1)[-1]
    kind = {"mbr": "MBR", "gpt": "GPT", None: "no partition table"}.get(layout.table.type, layout.table.type)
    parts = [
        f"{image.format}, {format_size(image.virtual_size)}",
        f"{format_size(image.actual_size)} on the host",
        kind,
    ]
    if image.snapshots:
        parts.append(f"{len(image.snapshots)} snapshot{'s' * (len(image.snapshots) > 1)}")
    lines = f"{name}: {', '.join(str(part) for part in parts)}"
    return lines + "".join(f"\n  on {backing}" for backing in image.backing)


def bar(layout: Layout, width: int, scale_size: int | None = None) -> list[str]:
    cells = _cells(layout)
    total = sum(cell.weight for cell in cells) or 1
    share = min(1.0, total / (scale_size or total))
    room = max(int((width - 1) * share) - len(cells), (_MIN_CELL + 1) * len(cells))
    widths = _widths([cell.weight for cell in cells], max(room, 1))
    bodies = [_body(cell, w) for cell, w in zip(cells, widths, strict=True)]
    captions = [_caption(cell, w) for cell, w in zip(cells, widths, strict=True)]
    rules = ["─" * w for w in widths]
    return [
        "┌" + "┬".join(rules) + "┐",
        "│" + "│".join(captions) + "│",
        "│" + "│".join(bodies) + "│",
        "└" + "┴".join(rules) + "┘",
    ]


def table(layout: Layout) -> list[str]:
    rows = [_partition_row(part) for part in layout.partitions] + [_free_row(free) for free in layout.free]
    rows.sort(key=lambda row: row[0])
    return [text for _, text in rows]


def _partition_row(part: PartitionLayout) -> tuple[int, str]:
    boot = "*" if part.bootable else " "
    what = _what(part)
    where = f"{format_size(part.start):>10} +{format_size(part.size):>10}"
    return part.start, f"  {part.name:<6}{boot} {where}  {part.role:<8} {part.type[:8]:<8} {what}".rstrip()


def _what(part: PartitionLayout) -> str:
    content = part.content
    if content is None:
        return "" if part.role == "extended" else "unknown content"
    label = f' "{content.label}"' if content.label else ""
    fill = f", {100 * content.used // content.size} % full" if content.used is not None and content.size else ""
    return f"{content.kind}{label}{fill}"


def _free_row(free: FreeLayout) -> tuple[int, str]:
    return free.start, f"  {'free':<6}  {format_size(free.start):>10} +{format_size(free.size):>10}"


def _cells(layout: Layout) -> list[Cell]:
    """The disk from left to right; an extended partition is only drawn through the logical ones in it."""
    drawn = [part for part in layout.partitions if part.role != "extended"]
    stretches: list[tuple[int, Cell]] = [(part.start, _cell(part)) for part in drawn]
    stretches += [(free.start, _free_cell(free)) for free in layout.free]
    return [cell for _, cell in sorted(stretches, key=lambda item: item[0])] or [
        Cell(("nothing recognised",), layout.image.virtual_size, None)
    ]


def _cell(part: PartitionLayout) -> Cell:
    content = part.content
    used = 0.0
    if content and content.used is not None and part.size:
        used = min(1.0, content.used / part.size)
    name, kind = part.name, content.kind if content else "?"
    captions = (f"{name} {kind} {format_size(part.size)}", f"{name} {kind}", name)
    return Cell(captions, part.size, used)


def _free_cell(free: FreeLayout) -> Cell:
    return Cell((f"free {format_size(free.size)}", "free"), free.size, None)


def _caption(cell: Cell, width: int) -> str:
    fitting = [caption for caption in cell.captions if len(caption) <= width]
    return (fitting[0] if fitting else cell.captions[-1][:width]).ljust(width)


def _body(cell: Cell, width: int) -> str:
    if cell.used is None:
        return FREE * width
    filled = min(width, max(round(cell.used * width), 1 if cell.used > 0 else 0))
    return USED * filled + UNUSED * (width - filled)


def _widths(weights: list[int], room: int) -> list[int]:
    """`room` columns shared out by weight; each stretch gets a few, so that none vanishes."""
    least = min(_MIN_CELL, room // len(weights) or 1)
    total = sum(weights) or 1
    spare = max(room - least * len(weights), 0)
    widths = [least + spare * weight // total for weight in weights]
    widths[weights.index(max(weights))] += max(room - sum(widths), 0)
    return widths
