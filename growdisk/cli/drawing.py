"""A disk drawn to scale: one bar with its partitions, their fill level and the free space.

    ┌────────────────────────────────────┬───────────┐
    │sda1 ext4 2.5 GiB                   │sda5 swap  │
    │█████████████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│░░░░░░░░░░░│
    └────────────────────────────────────┴───────────┘

Logical volumes and opened containers are drawn inside their partition, with their names:
│root ██▒▒▒▒│home █▒▒▒▒▒│.

Readable without colour: what is used is █, what a file system has free is ▒, what has no fill level
is ░, what belongs to nobody is blank. Every string is plain text; the pen colours it, or puts ASCII
in the place of these characters.
"""

from __future__ import annotations

from growdisk.cli.disk_lines import kind_in_words
from growdisk.cli.output import OPAQUE, UNUSED, USED, printable
from growdisk.fast_dataclass import dataclass
from growdisk.planner.layout import ContentLayout, Layout, PartitionLayout, VolumeLayout
from growdisk.units import format_size

FREE = " "
# what is free of a partition with volumes is drawn if it is more than this part of it
_VISIBLE = 20
_LEAST_FILL = 3
_LEAST_PARTITION = 6  # room for "sda128"; a disk of many partitions makes do with one column each


@dataclass(frozen=True)
class _Cell:
    """A part of the bar: `weight` bytes, captions (the first that fits), least width, filling."""

    captions: tuple[str, ...]
    weight: int
    least: int
    used: float | None
    blank: str
    inner: tuple[_Cell, ...] = ()


def bar(layout: Layout, width: int) -> list[str]:
    """The disk in exactly `width` columns; no lines at all if it has more parts than fit."""
    cells = _cells(layout)
    # One border before each cell and one at the end.
    room = width - len(cells) - 1
    if room < len(cells):
        return []
    widths = _widths(cells, room)
    captions = [
        next(caption for caption in cell.captions if len(caption) <= w).ljust(w)
        for cell, w in zip(cells, widths, strict=True)
    ]
    bodies = [_body(cell, w) for cell, w in zip(cells, widths, strict=True)]
    rules = ["─" * w for w in widths]
    return [
        "┌" + "┬".join(rules) + "┐",
        "│" + "│".join(captions) + "│",
        "│" + "│".join(bodies) + "│",
        "└" + "┴".join(rules) + "┘",
    ]


def _cells(layout: Layout) -> list[_Cell]:
    """The disk from left to right; an extended partition is drawn by its logical ones only."""
    drawn = [part for part in layout.partitions if part.role != "extended"]
    stretches = [(part.start, _cell(part, _volumes_in(layout, part))) for part in drawn]
    stretches += [
        (f.start, _Cell((f"free {format_size(f.size)}", "free", ""), f.size, 1, None, FREE))
        for f in layout.free
    ]
    return [cell for _, cell in sorted(stretches, key=lambda item: item[0])] or [
        _Cell(("nothing recognised", "nothing", ""), layout.image.virtual_size, 1, None, FREE)
    ]


def _cell(part: PartitionLayout, inner: tuple[_Cell, ...]) -> _Cell:
    name, kind = part.name, kind_in_words(part.content.kind) if part.content else "?"
    captions = (f"{name} {kind} {format_size(part.size)}", f"{name} {kind}", name, "")
    return _Cell(
        captions, part.size, _LEAST_PARTITION, _level(part.content, part.size), OPAQUE, inner
    )


def _level(content: ContentLayout | None, size: int) -> float | None:
    if content is None or content.used is None or size <= 0:
        return None
    return min(1.0, content.used / size)


def _volumes_in(layout: Layout, part: PartitionLayout) -> tuple[_Cell, ...]:
    """What lies in a partition, through its containers, and what its volumes leave free."""
    # Their sum leaves what no volume has: free extents, and the headers of LUKS and LVM.
    volumes = _innermost(layout, part.name)
    free = part.size - sum(volume.size for volume in volumes)
    cells = [_volume_cell(volume) for volume in volumes]
    if volumes and free > part.size // _VISIBLE:
        cells.append(_Cell(("",), free, 1, None, FREE))
    return tuple(cells)


def _innermost(layout: Layout, holder: str) -> list[VolumeLayout]:
    found = []
    for volume in layout.volumes:
        if volume.holder == holder:
            # A container whose volumes are known is not drawn itself.
            found += _innermost(layout, volume.name) or [volume]
    return found


def _volume_cell(volume: VolumeLayout) -> _Cell:
    name = printable(volume.name.rpartition("/")[2])
    # "LUKS in sda5": the caption above says so
    captions = (f"{name} ", "") if " in " not in name else ("",)
    return _Cell(captions, volume.size, 1, _level(volume.content, volume.size), OPAQUE)


def _body(cell: _Cell, width: int) -> str:
    """How full it is, or the names of a partition's volumes, if there is space for them."""
    # Here borders are only between the volumes.
    room = width - len(cell.inner) + 1
    if not cell.inner or room < len(cell.inner):
        return _fill(cell, width)
    return "│".join(
        _named(inner, w)
        for inner, w in zip(cell.inner, _widths(list(cell.inner), room), strict=True)
    )


def _named(cell: _Cell, width: int) -> str:
    """The name, and how full it is in what is left of the width."""
    name = next((caption for caption in cell.captions if len(caption) + _LEAST_FILL <= width), "")
    return name + _fill(cell, width - len(name))


def _fill(cell: _Cell, width: int) -> str:
    """The level of the cell in `width` columns."""
    if cell.used is None:
        return cell.blank * width
    filled = round(cell.used * width)
    # Not to be rounded away: a file system that holds anything, or has room, shows it.
    if cell.used > 0:
        filled = max(filled, 1)
    if cell.used < 1 and width > 1:
        filled = min(filled, width - 1)
    return USED * filled + UNUSED * (width - filled)


def _widths(cells: list[_Cell], room: int) -> list[int]:
    """`room` columns shared out by weight, with the least widths if there is room for them."""
    least = [cell.least for cell in cells]
    if sum(least) > room:
        least = [1] * len(cells)
    total = sum(cell.weight for cell in cells) or 1
    widths = [max(low, room * cell.weight // total) for low, cell in zip(least, cells, strict=True)]
    # Rounding left columns over, or the least widths took too many: one at a time, where it shows
    # least. It ends, as the callers see to it that `room` has a column for each cell.
    step = 1 if sum(widths) < room else -1
    while sum(widths) != room:
        widest = max(range(len(cells)), key=lambda i: widths[i] - least[i])
        widths[widest] += step
    return widths
