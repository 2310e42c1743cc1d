"""ext2, ext3 and ext4: one step, resize2fs."""

from __future__ import annotations

from dataclasses import replace

from growdisk.filesystems.content import ExtContent
from growdisk.filesystems.ext_growth import grown_size
from growdisk.planner.layers.inside import Inside, Room
from growdisk.planner.refusals import refuse_cut_off
from growdisk.steps.grow_filesystem import GrowFilesystem


def grow_ext(room: Room) -> Inside:
    content, part = room.content, room.partition
    assert isinstance(content, ExtContent), content
    refuse_cut_off(room.facts, part, content)
    old, wanted = content.size or 0, grown_size(content, part.size)
    step = GrowFilesystem(part.number, part.start, part.size, content.uuid, old, wanted, suffix=room.suffix)
    return Inside(
        steps=(step,), content=replace(content, size=wanted), lags=wanted > old, system=room.device,
        free=part.size - (content.used or 0),
    )  # fmt: skip
