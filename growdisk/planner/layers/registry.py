"""Who grows which content. What is not here can still be asked for by number: then the partition alone grows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from growdisk.filesystems.content import (
    AmbiguousContent,
    BtrfsContent,
    Content,
    ExtContent,
    F2fsContent,
    ForeignContent,
    LuksContent,
    NtfsContent,
    PhysicalVolumeContent,
    XfsContent,
)
from growdisk.planner.foreign import INSIDE, in_words
from growdisk.planner.layers.content_growth import ContentGrowth, GrowthTarget
from growdisk.planner.layers.ext import grow_ext
from growdisk.planner.layers.file_systems import cannot_grow
from growdisk.planner.layers.kernel_grown import grow_btrfs, grow_xfs
from growdisk.planner.layers.luks import grow_luks
from growdisk.planner.layers.lvm import grow_physical_volume
from growdisk.planner.layers.tool_grown import grow_f2fs, grow_ntfs

Grow = Callable[[GrowthTarget], ContentGrowth]

LAYERS: Mapping[type[Content], Grow] = MappingProxyType(
    {
        ExtContent: grow_ext,
        XfsContent: grow_xfs,
        BtrfsContent: grow_btrfs,
        NtfsContent: grow_ntfs,
        F2fsContent: grow_f2fs,
    }
)
HOLDERS: Mapping[type[Content], Callable[[GrowthTarget, Grow], ContentGrowth]] = MappingProxyType(
    {LuksContent: grow_luks, PhysicalVolumeContent: grow_physical_volume}
)


def grow_inside(room: GrowthTarget) -> ContentGrowth:
    """What is to do inside `room`. Raises Refused errors, which name the image."""
    content = room.content
    if content is not None:
        if (hold := HOLDERS.get(type(content))) is not None:
            return hold(room, grow_inside)
        if (grow := LAYERS.get(type(content))) is not None:
            return grow(room)
    if isinstance(content, ForeignContent | AmbiguousContent):
        raise cannot_grow(room, f"{room.place.name} holds {in_words(content)}", INSIDE)
    what = content.kind if content is not None else "unknown content"
    whole = "the logical volume" if room.layers else "the partition"
    note = f"{room.place.name} holds {what}, which growdisk does not grow: {whole} alone is larger"
    return ContentGrowth((), content, lags=False, system="", notes=(note,))
