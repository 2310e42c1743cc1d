"""Which logical volumes grow, and what each of them gets of the free extents."""

from __future__ import annotations

from growdisk.filesystems.content import Content
from growdisk.filesystems.volume_group import LogicalVolume, VolumeGroup
from growdisk.partitions.shares import Percent, Rest, Share, Size
from growdisk.planner.layers.file_systems import cannot_grow
from growdisk.planner.layers.inside import Room
from growdisk.units import align_up, format_size

Chosen = list[tuple[LogicalVolume, Share]]


def chosen_volumes(room: Room, group: VolumeGroup, contents: dict[str, Content | None]) -> Chosen:
    """As --lv names them; else the largest one whose content can grow."""
    if room.goal.lv:
        parts = [(_named(room, group, wish.partition), wish.share) for wish in room.goal.lv]
        if len({volume.name for volume, _ in parts}) < len(parts):
            raise cannot_grow(room, "--lv names a volume twice", "name each of them once")
    else:
        fit = [v for v in group.visible if (c := contents.get(v.name)) and c.growable and not _why_not(group, v)]
        if not fit:
            raise cannot_grow(
                room, f"none of its logical volumes can grow here: {_reasons(group, contents)}", "grow it in the guest"
            )  # fmt: skip
        parts = [(max(fit, key=lambda volume: volume.extents), Rest())]
    if room.goal.lv_share is None:
        return parts
    portion = Percent(room.goal.lv_share / sum(isinstance(share, Rest) for _, share in parts))
    return [(volume, portion if isinstance(share, Rest) else share) for volume, share in parts]


def extents_for(room: Room, group: VolumeGroup, chosen: Chosen, free: int) -> dict[str, int]:
    """Volume name → extents to add, out of `free`."""
    given = {v.name: _amount(room, group, v, share, free) for v, share in chosen if not isinstance(share, Rest)}
    left, resting = free - sum(given.values()), [v.name for v, share in chosen if isinstance(share, Rest)]
    if left < 0:
        asked = format_size(sum(given.values()) * group.extent_size)
        raise cannot_grow(
            room, f"its volumes shall grow by {asked}, and {format_size(free * group.extent_size)} can be had",
            "grow the disk further, or ask for less",
        )  # fmt: skip
    return given | {name: left // len(resting) for name in resting}


def _amount(room: Room, group: VolumeGroup, volume: LogicalVolume, share: Share, free: int) -> int:
    match share:
        case Percent(value):
            return int(free * value / 100)
        case Size(size, relative):
            extents = align_up(size, group.extent_size) // group.extent_size
            if not relative and extents < volume.extents:
                now = format_size(group.size_of(volume))
                raise cannot_grow(room, f"{group.name}/{volume.name} has {now} already", "write +SIZE to grow by")
            return extents if relative else extents - volume.extents
    return 0


def _named(room: Room, group: VolumeGroup, wanted: str) -> LogicalVolume:
    """vg0/root, root, /dev/vg0/root, /dev/mapper/vg0-root."""
    spellings = {volume.name: volume for volume in group.visible}
    for volume in group.visible:
        mapped = f"{group.name.replace('-', '--')}-{volume.name.replace('-', '--')}"
        names = (f"{group.name}/{volume.name}", f"/dev/{group.name}/{volume.name}", f"/dev/mapper/{mapped}")
        spellings |= dict.fromkeys(names, volume)
    if (found := spellings.get(wanted)) is None:
        raise cannot_grow(room, f"there is no logical volume {wanted}", f"its volumes are: {_listed(group)}")
    if reason := _why_not(group, found):
        raise cannot_grow(room, f"{group.name}/{found.name} {reason}", "grow it in the guest (lvextend)")
    return found


def _why_not(group: VolumeGroup, volume: LogicalVolume) -> str:
    """Why a volume cannot grow here; "" where it can."""
    if volume.kind == "thin":
        return "is thin: its size is only a promise, what it takes comes from its pool, and growdisk grows no pools"
    if volume.kind == "thin-pool":
        return "is a thin pool: data and metadata would have to grow by rules of the guest's, which growdisk has not"
    if volume.name in group.snapshotted:
        return "has an LVM snapshot, or is one: it would have to be merged or removed first"
    if not volume.is_linear:
        return f"is {volume.kind}, and growdisk grows linear volumes"
    return ""


def _reasons(group: VolumeGroup, contents: dict[str, Content | None]) -> str:
    words = []
    for volume in group.visible:
        content = contents.get(volume.name)
        what = f"holds {content.kind}" if content else "holds nothing that growdisk knows"
        words.append(f"{group.name}/{volume.name} {_why_not(group, volume) or what}")
    return "; ".join(words) or "there are none"


def _listed(group: VolumeGroup) -> str:
    words = [f"{group.name}/{v.name} ({v.kind}, {format_size(group.size_of(v))})" for v in group.visible]
    return ", ".join(words) or "none"
