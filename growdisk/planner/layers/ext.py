"""ext2, ext3 and ext4: one step, resize2fs."""

from __future__ import annotations

from growdisk.fast_dataclass import replace
from growdisk.filesystems.content import ExtContent
from growdisk.filesystems.ext_growth import grown_size, most_blocks
from growdisk.planner.layers.content_growth import ContentGrowth, GrowthTarget
from growdisk.planner.layers.file_systems import cannot_grow, grown
from growdisk.planner.layers.fills import fills_of
from growdisk.planner.refusals import refuse_cut_off
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.units import format_size


def grow_ext(room: GrowthTarget) -> ContentGrowth:
    content, part = room.content, room.partition
    assert isinstance(content, ExtContent), content
    wanted = grown_size(content, room.size)
    _refuse_too_many_blocks(room, content, wanted)
    if room.layers:
        return grown(room, content, wanted, mountable=True)
    refuse_cut_off(room.facts, part, content)
    old = content.size or 0
    step = GrowFilesystem(part.number, part.start, part.size, content.uuid, old, wanted, suffix=room.suffix)
    return ContentGrowth(
        steps=(step,), content=replace(content, size=wanted), lags=wanted > old, system=room.device,
        free=part.size - (content.used or 0), fills=fills_of(content, wanted),
    )  # fmt: skip


def _refuse_too_many_blocks(room: GrowthTarget, content: ExtContent, wanted: int) -> None:
    limit = (1 << 32) * content.block_size
    if wanted >= limit and not content.has_64bit:
        raise cannot_grow(
            room, f"its {content.kind} counts blocks in 32 bits: it can have {format_size(limit)} at most",
            "grow it to less than that; resize2fs -b makes a file system that is at rest count in 64 bits",
        )  # fmt: skip
    most = most_blocks(content) * content.block_size
    if wanted > max(most, content.size or 0):
        raise cannot_grow(
            room, f"its {content.kind} was made so small that its tables end at {format_size(most)}; it would have "
            f"{format_size(wanted)}", "grow it to less than that, or copy its files into a new file system",
        )  # fmt: skip
