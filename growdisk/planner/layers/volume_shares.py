"""Which logical volumes grow, and what each of them gets of the free extents."""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import Content
from growdisk.filesystems.volume_group import LogicalVolume, VolumeGroup, mapped_name
from growdisk.partitions.shares import Percent, Rest, Share
from growdisk.planner.layers.content_growth import GrowthTarget
from growdisk.units import SizeSpec, align_up, format_size

Chosen = list[tuple[LogicalVolume, Share]]


@dataclass(frozen=True)
class VolumeShares:
    """Of `group`, whose physical volume on `target` will have `own_extents`."""

    target: GrowthTarget
    group: VolumeGroup
    own_extents: int

    def chosen(self, contents: dict[str, Content | None]) -> tuple[Chosen, list[str]]:
        """The volumes that --lv names, or the largest that can grow; notes on larger ones."""
        goal, notes = self.target.goal, list[str]()
        if goal.lv:
            parts = [(self._named(request.partition), request.share) for request in goal.lv]
            # Two spellings may mean one volume.
            if len({volume.name for volume, _ in parts}) < len(parts):
                raise self.target.refusal("--lv names a volume twice", "name each of them once")
        else:
            largest = self._largest(contents)
            parts = [(largest, Rest())]
            notes = [
                f"{self.group.name}/{v.name} is larger and stays: it {reason}"
                for v in self.group.visible
                if v.extents > largest.extents and (reason := self._why_not(v))
            ]
        if goal.lv_share is None:
            return parts, notes
        without = sum(isinstance(share, Rest) for _, share in parts)
        if not without:
            raise self.target.refusal(
                "--lv-share is for volumes without a share of their own, and --lv gives one to "
                "each volume",
                "leave out --lv-share, or the share of a volume",
            )
        # The percentage is for all of them together.
        portion = Percent(goal.lv_share / without)
        return [(v, portion if isinstance(share, Rest) else share) for v, share in parts], notes

    def extents_for(self, chosen: Chosen) -> dict[str, int]:
        """Volume name → extents to add."""
        group = self.group
        # The new extents, and those that were free on any physical volume of the group.
        free = self.own_extents - group.used_extents + group.free_elsewhere
        given = {v.name: self._amount(v, s, free) for v, s in chosen if not isinstance(s, Rest)}
        left = free - sum(given.values())
        resting = [v.name for v, share in chosen if isinstance(share, Rest)]
        if left < 0:
            total = format_size(sum(given.values()) * group.extent_size)
            raise self.target.refusal(
                f"its volumes are to grow by {total}, but only "
                f"{format_size(free * group.extent_size)} is available",
                "grow the disk further, or ask for less",
            )
        # The rest is shared out evenly; a remainder of a few extents stays free.
        wanted = given | {name: left // len(resting) for name in resting}
        return {v.name: self._allowed(v, wanted[v.name], share) for v, share in chosen}

    def taken_from_the_group(self, growth: dict[str, int]) -> Iterator[str]:
        """A note if volumes take space that was free in the group, perhaps on purpose."""
        group = self.group
        before = group.own_volume.pe_count - group.used_extents + group.free_elsewhere
        added = self.own_extents - group.own_volume.pe_count
        # What the disk's growth did not bring was free before.
        taken = min(sum(growth.values()) - added, before)
        if taken > 0:
            size = format_size(taken * group.extent_size)
            yield (
                f"{size} that were free in the volume group {group.name} are taken too; "
                "--lv-share 60% leaves some free"
            )

    def _largest(self, contents: dict[str, Content | None]) -> LogicalVolume:
        growable = [v for v in self.group.visible if (c := contents.get(v.name)) and c.growable]
        fit = [volume for volume in growable if not self._why_not(volume)]
        if not fit:
            problem = f"none of its logical volumes can grow here: {self._reasons(contents)}"
            raise self.target.refusal(problem, "grow it in the guest")
        return max(fit, key=lambda volume: volume.extents)

    def _allowed(self, volume: LogicalVolume, wanted: int, share: Share) -> int:
        """What its allocation policy lets it have of that. CannotGrow if a named amount is more."""
        most = self.group.room_for(volume, self.own_extents)
        if most is None or wanted <= most:
            return wanted
        # A share or the rest takes what there is; an amount that was named is a promise.
        if isinstance(share, SizeSpec):
            policy = volume.allocation or self.group.allocation
            raise self.target.refusal(
                f"{self.group.name}/{volume.name} has the allocation policy {policy}, which leaves "
                f"it {format_size(most * self.group.extent_size)} more",
                "ask for less, or change it there: lvchange --alloc",
            )
        return most

    def _amount(self, volume: LogicalVolume, share: Share, free: int) -> int:
        match share:
            case Percent(value):
                return int(free * value / 100)
            case SizeSpec(size, relative):
                extents = align_up(size, self.group.extent_size) // self.group.extent_size
                if not relative and extents < volume.extents:
                    now = format_size(self.group.size_of(volume))
                    problem = f"{self.group.name}/{volume.name} has {now} already"
                    raise self.target.refusal(problem, "write +SIZE to grow by")
                return extents if relative else extents - volume.extents
        return 0

    def _named(self, wanted: str) -> LogicalVolume:
        """vg0/root, root, /dev/vg0/root, /dev/mapper/vg0-root."""
        group = self.group
        spellings = {volume.name: volume for volume in group.visible}
        for volume in group.visible:
            names = (
                f"{group.name}/{volume.name}",
                f"/dev/{group.name}/{volume.name}",
                f"/dev/mapper/{mapped_name(group.name, volume.name)}",
            )
            spellings |= dict.fromkeys(names, volume)
        if (found := spellings.get(wanted)) is None:
            problem = f"there is no logical volume {wanted}"
            raise self.target.refusal(problem, f"its volumes are: {_listed(group)}")
        if reason := self._why_not(found):
            problem = f"{group.name}/{found.name} {reason}"
            raise self.target.refusal(problem, "grow it in the guest (lvextend)")
        return found

    def _why_not(self, volume: LogicalVolume) -> str:
        return why_not_volume(self.group, volume) or why_no_room(
            self.group, volume, self.own_extents
        )

    def _reasons(self, contents: dict[str, Content | None]) -> str:
        words = []
        for volume in self.group.visible:
            content = contents.get(volume.name)
            what = f"holds {content.kind}" if content else "holds nothing that growdisk knows"
            words.append(f"{self.group.name}/{volume.name} {self._why_not(volume) or what}")
        return "; ".join(words) or "there are none"


def _listed(group: VolumeGroup) -> str:
    words = [
        f"{group.name}/{v.name} ({v.kind}, {format_size(group.size_of(v))})" for v in group.visible
    ]
    return ", ".join(words) or "none"


# WRITE_LOCKED keeps old versions of LVM off groups with a system ID.
_WRITABLE = frozenset({"WRITE", "WRITE_LOCKED"})
_INSIDE = "grow it in the guest (pvresize, lvextend)"


def why_not_group(
    group: VolumeGroup, name: str, *, inside_a_volume: bool
) -> tuple[str, str] | None:
    """Why a group cannot grow, and a hint; None if it can.

    `name` is what people call its physical volume, which may be in a volume of another group.
    """
    subject = f"its volume group {group.name}"
    if inside_a_volume:
        return f"{subject} stands in a logical volume, where LVM does not look for any", _INSIDE
    if "EXPORTED" in group.status:
        return f"{subject} is exported", f"import it first, in the guest: vgimport {group.name}"
    if "RESIZEABLE" not in group.status:
        return (
            f"{subject} is marked as not resizable",
            f"in the guest: vgchange --resizeable y {group.name}",
        )
    if _WRITABLE.isdisjoint(group.status):
        return f"{subject} is read-only", _INSIDE
    if "CLUSTERED" in group.status or group.lock_type not in ("", "none"):
        return f"{subject} is shared with other machines, whose locks hold only there", _INSIDE
    # The flag stays when the device is back, until --restoremissing.
    if any("MISSING" in volume.flags for volume in group.physical_volumes):
        return (
            f"{subject} says that a physical volume was missing",
            f"in the guest: vgextend --restoremissing {group.name}",
        )
    if not group.own_volume.is_allocatable:
        reason = (
            f"{name} is a physical volume that takes no more allocations (pvchange --allocatable n)"
        )
        return reason, "in the guest: pvchange --allocatable y, on that physical volume"
    return None


def why_not_volume(group: VolumeGroup, volume: LogicalVolume) -> str:
    """Why a volume cannot grow here; "" if it can."""
    if volume.kind == "thin":
        return "is thin: it takes its space from a pool, and growdisk does not grow pools"
    if volume.kind == "thin-pool":
        return "is a thin pool: how its data and metadata grow is set in the guest (lvm.conf)"
    if volume.name in group.snapshotted:
        return "has an LVM snapshot, or is one: it would have to be merged or removed first"
    if not volume.is_linear:
        return f"is of type {volume.kind}, and growdisk grows linear volumes only"
    # pvmove locks what it moves, and lets it lie on a hidden volume meanwhile.
    keys = {physical.key for physical in group.physical_volumes}
    hidden = any(key not in keys for segment in volume.segments for key, _ in segment.areas)
    if "LOCKED" in volume.flags or hidden:
        return "is locked: its data are being moved (pvmove), or were when the guest stopped"
    if _WRITABLE.isdisjoint(volume.flags):
        return f"is read-only (in the guest: lvchange --permission rw {group.name}/{volume.name})"
    if "FIXED_MINOR" in volume.flags:
        fixed = f"lvchange --persistent n {group.name}/{volume.name}"
        return (
            f"has a persistent device number, which it could not have here (in the guest: {fixed})"
        )
    return ""


def why_no_room(group: VolumeGroup, volume: LogicalVolume, own_extents: int) -> str:
    """Why its allocation policy leaves it nothing; "" if it may have more."""
    if own_extents == group.own_volume.pe_count or group.room_for(volume, own_extents) != 0:
        return ""  # also where nothing is to be had: it is as large as it gets
    policy = volume.allocation or group.allocation
    where = "right after it" if policy == "contiguous" else "on the physical volume that it ends on"
    return (
        f"has the allocation policy {policy}, and there is no room {where} (in the guest: "
        f"lvchange --alloc normal {group.name}/{volume.name})"
    )
