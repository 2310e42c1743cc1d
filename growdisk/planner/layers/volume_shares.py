"""Which logical volumes grow, and what each of them gets of the free extents."""

from __future__ import annotations

from growdisk.filesystems.content import Content
from growdisk.filesystems.volume_group import LogicalVolume, VolumeGroup
from growdisk.partitions.shares import Percent, Rest, Share, Size
from growdisk.planner.layers.content_growth import GrowthTarget
from growdisk.planner.layers.growers import cannot_grow
from growdisk.planner.layers.volume_fitness import why_no_room, why_not_volume
from growdisk.units import align_up, format_size

Chosen = list[tuple[LogicalVolume, Share]]


def chosen_volumes(
    target: GrowthTarget, group: VolumeGroup, contents: dict[str, Content | None], own_extents: int
) -> tuple[Chosen, list[str]]:
    """The volumes that --lv names; else the largest that can grow, with notes on larger ones."""
    notes: list[str] = []
    if target.goal.lv:
        parts = [
            (_named(target, group, request.partition, own_extents), request.share)
            for request in target.goal.lv
        ]
        if len({volume.name for volume, _ in parts}) < len(parts):
            raise cannot_grow(target, "--lv names a volume twice", "name each of them once")
    else:
        largest = _largest(target, group, contents, own_extents)
        parts = [(largest, Rest())]
        notes = [
            f"{group.name}/{v.name} is larger and stays: it {_why_not(group, v, own_extents)}"
            for v in group.visible
            if v.extents > largest.extents and _why_not(group, v, own_extents)
        ]
    if target.goal.lv_share is None:
        return parts, notes
    portion = Percent(target.goal.lv_share / sum(isinstance(share, Rest) for _, share in parts))
    return [
        (volume, portion if isinstance(share, Rest) else share) for volume, share in parts
    ], notes


def _largest(
    target: GrowthTarget, group: VolumeGroup, contents: dict[str, Content | None], own_extents: int
) -> LogicalVolume:
    growable = [v for v in group.visible if (c := contents.get(v.name)) and c.growable]
    fit = [volume for volume in growable if not _why_not(group, volume, own_extents)]
    if not fit:
        reasons = _reasons(group, contents, own_extents)
        raise cannot_grow(
            target, f"none of its logical volumes can grow here: {reasons}", "grow it in the guest"
        )
    return max(fit, key=lambda volume: volume.extents)


def extents_for(
    target: GrowthTarget, group: VolumeGroup, chosen: Chosen, own_extents: int
) -> dict[str, int]:
    """Volume name → extents to add, if the own physical volume has `own_extents`."""
    free = own_extents - group.used_extents + group.free_elsewhere
    given = {
        v.name: _amount(target, group, v, share, free)
        for v, share in chosen
        if not isinstance(share, Rest)
    }
    left = free - sum(given.values())
    resting = [v.name for v, share in chosen if isinstance(share, Rest)]
    if left < 0:
        total = format_size(sum(given.values()) * group.extent_size)
        raise cannot_grow(
            target,
            f"its volumes shall grow by {total}, and {format_size(free * group.extent_size)} can "
            "be had",
            "grow the disk further, or ask for less",
        )
    wanted = given | {name: left // len(resting) for name in resting}
    return {
        v.name: _allowed(target, group, v, wanted[v.name], own_extents, share)
        for v, share in chosen
    }


def taken_from_the_group(group: VolumeGroup, growth: dict[str, int], own_extents: int) -> list[str]:
    """A note if volumes take space that was free in the group, perhaps on purpose."""
    before = group.own_volume.pe_count - group.used_extents + group.free_elsewhere
    added = own_extents - group.own_volume.pe_count
    taken = min(sum(growth.values()) - added, before)
    if taken <= 0:
        return []
    size = format_size(taken * group.extent_size)
    return [
        (
            f"{size} that were free in the volume group {group.name} are taken too; --lv-share 60% "
            "leaves some free"
        )
    ]


def _allowed(
    target: GrowthTarget,
    group: VolumeGroup,
    volume: LogicalVolume,
    wanted: int,
    own_extents: int,
    share: Share,
) -> int:
    """What its allocation policy lets it have of that.

    If less is possible than the amount that was named, that is an error.
    """
    most = group.room_for(volume, own_extents)
    if most is None or wanted <= most:
        return wanted
    if isinstance(share, Size):
        policy = volume.allocation or group.allocation
        raise cannot_grow(
            target,
            f"{group.name}/{volume.name} has the allocation policy {policy}, which leaves it "
            f"{format_size(most * group.extent_size)} more",
            "ask for less, or change it there: lvchange --alloc",
        )
    return most


def _amount(
    target: GrowthTarget, group: VolumeGroup, volume: LogicalVolume, share: Share, free: int
) -> int:
    match share:
        case Percent(value):
            return int(free * value / 100)
        case Size(size, relative):
            extents = align_up(size, group.extent_size) // group.extent_size
            if not relative and extents < volume.extents:
                now = format_size(group.size_of(volume))
                raise cannot_grow(
                    target,
                    f"{group.name}/{volume.name} has {now} already",
                    "write +SIZE to grow by",
                )
            return extents if relative else extents - volume.extents
    return 0


def _named(
    target: GrowthTarget, group: VolumeGroup, wanted: str, own_extents: int
) -> LogicalVolume:
    """vg0/root, root, /dev/vg0/root, /dev/mapper/vg0-root."""
    spellings = {volume.name: volume for volume in group.visible}
    for volume in group.visible:
        mapped = f"{group.name.replace('-', '--')}-{volume.name.replace('-', '--')}"
        names = (
            f"{group.name}/{volume.name}",
            f"/dev/{group.name}/{volume.name}",
            f"/dev/mapper/{mapped}",
        )
        spellings |= dict.fromkeys(names, volume)
    if (found := spellings.get(wanted)) is None:
        raise cannot_grow(
            target, f"there is no logical volume {wanted}", f"its volumes are: {_listed(group)}"
        )
    if reason := _why_not(group, found, own_extents):
        raise cannot_grow(
            target, f"{group.name}/{found.name} {reason}", "grow it in the guest (lvextend)"
        )
    return found


def _why_not(group: VolumeGroup, volume: LogicalVolume, own_extents: int) -> str:
    return why_not_volume(group, volume) or why_no_room(group, volume, own_extents)


def _reasons(group: VolumeGroup, contents: dict[str, Content | None], own_extents: int) -> str:
    words = []
    for volume in group.visible:
        content = contents.get(volume.name)
        what = f"holds {content.kind}" if content else "holds nothing that growdisk knows"
        words.append(f"{group.name}/{volume.name} {_why_not(group, volume, own_extents) or what}")
    return "; ".join(words) or "there are none"


def _listed(group: VolumeGroup) -> str:
    words = [
        f"{group.name}/{v.name} ({v.kind}, {format_size(group.size_of(v))})" for v in group.visible
    ]
    return ", ".join(words) or "none"
