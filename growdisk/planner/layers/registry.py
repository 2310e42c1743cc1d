"""Which grower is for which content.

Other content can still be asked for by number: then the partition alone grows.
"""

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
from growdisk.planner.foreign import INSIDE, content_in_words
from growdisk.planner.layers.content_growth import ContentGrowth, GrowthTarget
from growdisk.planner.layers.growers import (
    cannot_grow,
    grow_btrfs,
    grow_ext,
    grow_f2fs,
    grow_luks,
    grow_ntfs,
    grow_xfs,
)
from growdisk.planner.layers.lvm import grow_physical_volume
from growdisk.steps.device_path import LuksLayer, LvLayer

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

_WHOLE: Mapping[type[object], str] = MappingProxyType(
    {LuksLayer: "the container", LvLayer: "the logical volume"}
)


def grow_inside(target: GrowthTarget) -> ContentGrowth:
    """What is to do inside `target`. Raises Refused errors, which name the image."""
    content = target.content
    if content is not None:
        # A holder asks this function again for what is in it.
        if (hold := HOLDERS.get(type(content))) is not None:
            return hold(target, grow_inside)
        if (grow := LAYERS.get(type(content))) is not None:
            return grow(target)
    if isinstance(content, ForeignContent | AmbiguousContent):
        raise cannot_grow(target, f"{target.name} holds {content_in_words(content)}", INSIDE)
    what = content.kind if content is not None else "unknown content"
    whole = _WHOLE.get(type(target.place.innermost), "the partition")
    note = f"{target.name} holds {what}, which growdisk does not grow: {whole} alone is larger"
    return ContentGrowth((), content, pending=False, system="", notes=(note,))
