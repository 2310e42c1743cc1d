"""What growing any kind of file system has in common."""

from __future__ import annotations

from growdisk.fast_dataclass import replace
from growdisk.filesystems.content import Content
from growdisk.planner.failures import CannotGrow
from growdisk.planner.layers.content_growth import ContentGrowth, GrowthTarget
from growdisk.planner.layers.fills import fills_of
from growdisk.steps.grow_filesystem_at import GrowFilesystemAt
from growdisk.units import format_size


def grown(
    room: GrowthTarget, content: Content, wanted: int, *, mountable: bool, notes: tuple[str, ...] = ()
) -> ContentGrowth:
    """One step to `wanted` bytes. `mountable`: the guest's own files can be looked for in it."""
    refuse_cut_off(room, content)
    old, part = content.size or 0, room.partition
    step = GrowFilesystemAt(
        part.number, part.start, part.size, content.uuid, old, wanted, suffix=room.suffix, kind=content.kind,
        layers=room.layers,
    )  # fmt: skip
    return ContentGrowth(
        (step,), replace(content, size=wanted), lags=wanted > old, system=room.device if mountable else "",
        free=wanted - (content.used or 0), notes=notes if wanted > old else (),
        fills=fills_of(content, wanted),
    )  # fmt: skip


def refuse_cut_off(room: GrowthTarget, content: Content) -> None:
    if (content.size or 0) > room.size:
        missing = format_size((content.size or 0) - room.size)
        raise CannotGrow(
            room.facts.image.path, room.partition.number,
            reason=f"the file system on {room.place.name} is larger than it: {missing} are missing",
            hint="was the partition or the image cut off? Grow to at least the old size, or restore a backup",
        )  # fmt: skip


def cannot_grow(room: GrowthTarget, reason: str, hint: str) -> CannotGrow:
    return CannotGrow(room.facts.image.path, room.partition.number, reason=reason, hint=hint)
