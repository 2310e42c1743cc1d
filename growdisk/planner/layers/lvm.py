"""LVM: the physical volume fills its device, logical volumes take the extents, contents follow."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from growdisk.fast_dataclass import replace
from growdisk.filesystems.content import Content, PhysicalVolumeContent
from growdisk.filesystems.volume_group import LogicalVolume, VolumeGroup
from growdisk.planner.layers.content_growth import ContentGrowth, GrowthTarget, together
from growdisk.planner.layers.volume_shares import VolumeShares, why_not_group
from growdisk.steps.device_path import LvLayer
from growdisk.steps.grow_layers import GrowLogicalVolume, GrowPhysicalVolume
from growdisk.units import format_size

_ROOT = "root"
_MOST_EXTENTS = (1 << 32) - 1


def grow_physical_volume(
    target: GrowthTarget,
    content: PhysicalVolumeContent,
    grow: Callable[[GrowthTarget], ContentGrowth],
) -> ContentGrowth:
    """`grow` is for what is in its logical volumes."""
    group = _group(target, content)
    extents = group.extents_on(target.size)
    contents = dict(content.volumes)
    shares = VolumeShares(target, group, extents)
    # 1. Which volumes grow, and by how many extents.
    chosen, notes = shares.chosen(contents)
    growth = shares.extents_for(chosen)
    # 2. Each volume, and what is in it.
    insides = {}
    for volume, _ in chosen:
        wanted = volume.extents + growth[volume.name]
        suffix = target.suffix if len(chosen) == 1 else f"{target.suffix}-{volume.name}"
        step = GrowLogicalVolume(
            target.place,
            group.name,
            volume.uuid,
            volume.extents,
            wanted,
            group.extent_size,
            volume.name,
            suffix,
        )
        inner = target.within(step.opens, contents.get(volume.name), wanted * group.extent_size)
        inside = grow(replace(inner, suffix=suffix))
        insides[volume.name] = replace(inside, steps=(step, *inside.steps))
    # 3. The physical volume comes first: it has the extents that the volumes take.
    own = group.own_volume.pe_count
    pv = GrowPhysicalVolume(
        target.place, group.name, group.uuid, own, extents, group.extent_size, target.suffix
    )
    after = contents | {name: inside.content for name, inside in insides.items()}
    grown = together(insides.values())
    return replace(
        grown,
        steps=(pv, *grown.steps),
        content=_after(content, group, extents, growth, after),
        pending=extents > own or any(growth.values()) or grown.pending,
        system=_system(target, group, contents, insides.values()),
        free=max(inside.free for inside in insides.values()),
        notes=(*notes, *shares.taken_from_the_group(growth), *grown.notes),
    )


def _group(target: GrowthTarget, content: PhysicalVolumeContent) -> VolumeGroup:
    """The group, if it can be worked on."""
    group, name = content.group, target.name
    if content.unreadable:
        raise target.refusal(
            f"{name} belongs to LVM, and {content.unreadable}",
            "look at it in the guest (pvs, pvck), or grow it there",
        )
    if group is None:
        raise target.refusal(
            f"{name} is a physical volume of LVM without a group", "use it in the guest first"
        )
    # LVM does not change a group of which a physical volume is missing.
    if missing := len(group.physical_volumes) - 1 - len(content.other_pvs):
        where = f"{missing} other physical volumes, which are"
        if missing == 1:
            where = "another physical volume, which is"
        raise target.refusal(
            f"its volume group {group.name} also lies on {where} not on this disk",
            "name the guest's other disk as well: --with IMAGE (if it is encrypted, or the guest "
            f"runs: grow it in the guest, pvresize and lvextend --resizefs {group.name}/VOLUME)",
        )
    if found := why_not_group(
        group, name, inside_a_volume=any(isinstance(layer, LvLayer) for layer in target.place.chain)
    ):
        raise target.refusal(*found)
    _refuse_odd_sizes(target, group)
    return group


def _refuse_odd_sizes(target: GrowthTarget, group: VolumeGroup) -> None:
    own = group.own_volume
    if group.end_of_extents > target.size:
        raise target.refusal(
            f"the group {group.name} counts {own.pe_count} extents on it, which is more than it "
            "has room for",
            "was the partition or the image cut off? Grow to at least the old size, or restore a "
            "backup",
        )
    if group.extents_on(target.size) > _MOST_EXTENTS:
        most = format_size(_MOST_EXTENTS * group.extent_size)
        raise target.refusal(
            f"with extents of {format_size(group.extent_size)} a physical volume of LVM can have "
            f"{most} at most",
            "grow it to less, or give the group larger extents first: vgchange -s",
        )


def _after(
    content: PhysicalVolumeContent,
    group: VolumeGroup,
    extents: int,
    growth: dict[str, int],
    contents: dict[str, Content | None],
) -> PhysicalVolumeContent:
    own = replace(group.own_volume, pe_count=extents)
    volumes = tuple(_longer(v, growth.get(v.name, 0), own.key) for v in group.logical_volumes)
    physical = tuple(own if volume.key == own.key else volume for volume in group.physical_volumes)
    grown = replace(group, physical_volumes=physical, logical_volumes=volumes)
    return replace(content, size=grown.end_of_extents, group=grown, volumes=tuple(contents.items()))


def _longer(volume: LogicalVolume, extents: int, key: str) -> LogicalVolume:
    if not extents:
        return volume
    # Where LVM will put the new extents is not known; for the picture afterwards any place will do.
    last = replace(volume.segments[-1], start=volume.extents, count=extents, areas=((key, 0),))
    return replace(volume, segments=(*volume.segments, last))


def _system(
    target: GrowthTarget,
    group: VolumeGroup,
    contents: dict[str, Content | None],
    insides: Iterable[ContentGrowth],
) -> str:
    """The root file system: a volume of that name, or one that grows."""
    # By the name that installers give it.
    if target.facts.table is not None and contents.get(_ROOT) is not None and group.by_name(_ROOT):
        return target.place.within_volume(group.name, _ROOT).device
    return next((inside.system for inside in insides if inside.system), "")
