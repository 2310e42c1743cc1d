"""Which logical volumes grow, and what each of them gets of the free extents."""

from __future__ import annotations

from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import Content
from growdisk.filesystems.volume_group import LogicalVolume, VolumeGroup, mapped_name
from growdisk.partitions.shares import Percent, Rest, Share, Size
from growdisk.planner.layers.content_growth import GrowthTarget
from growdisk.planner.layers.growers import cannot_grow
from growdisk.planner.layers.volume_fitness import why_no_room, why_not_volume
from growdisk.units import align_up, format_size

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
                raise cannot_grow(
                    self.target, "--lv names a volume twice", "name each of them once"
                )
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
            raise cannot_grow(
                self.target,
                "--lv-share is for volumes without a share of their own, and --lv gives one to "
                "each volume",
                "leave out --lv-share, or the share of a volume",
            )
        # The percentage is for all of them together.
        portion = Percent(goal.lv_share / without)
        return [
            (volume, portion if isinstance(share, Rest) else share) for volume, share in parts
        ], notes

    def extents_for(self, chosen: Chosen) -> dict[str, int]:
        """Volume name → extents to add."""
        group = self.group
        # The new extents, and those that were free on any physical volume of the group.
        free = self.own_extents - group.used_extents + group.free_elsewhere
        given = {
            v.name: self._amount(v, share, free)
            for v, share in chosen
            if not isinstance(share, Rest)
        }
        left = free - sum(given.values())
        resting = [v.name for v, share in chosen if isinstance(share, Rest)]
        if left < 0:
            total = format_size(sum(given.values()) * group.extent_size)
            raise cannot_grow(
                self.target,
                f"its volumes are to grow by {total}, but only "
                f"{format_size(free * group.extent_size)} is available",
                "grow the disk further, or ask for less",
            )
        # The rest is shared out evenly; a remainder of a few extents stays free.
        wanted = given | {name: left // len(resting) for name in resting}
        return {v.name: self._allowed(v, wanted[v.name], share) for v, share in chosen}

    def taken_from_the_group(self, growth: dict[str, int]) -> list[str]:
        """A note if volumes take space that was free in the group, perhaps on purpose."""
        group = self.group
        before = group.own_volume.pe_count - group.used_extents + group.free_elsewhere
        added = self.own_extents - group.own_volume.pe_count
        # What the disk's growth did not bring was free before.
        taken = min(sum(growth.values()) - added, before)
        if taken <= 0:
            return []
        size = format_size(taken * group.extent_size)
        return [
            (
                f"{size} that were free in the volume group {group.name} are taken too; "
                "--lv-share 60% leaves some free"
            )
        ]

    def _largest(self, contents: dict[str, Content | None]) -> LogicalVolume:
        growable = [v for v in self.group.visible if (c := contents.get(v.name)) and c.growable]
        fit = [volume for volume in growable if not self._why_not(volume)]
        if not fit:
            problem = f"none of its logical volumes can grow here: {self._reasons(contents)}"
            raise cannot_grow(self.target, problem, "grow it in the guest")
        return max(fit, key=lambda volume: volume.extents)

    def _allowed(self, volume: LogicalVolume, wanted: int, share: Share) -> int:
        """What its allocation policy lets it have of that. CannotGrow if a named amount is more."""
        most = self.group.room_for(volume, self.own_extents)
        if most is None or wanted <= most:
            return wanted
        # A share or the rest takes what there is; an amount that was named is a promise.
        if isinstance(share, Size):
            policy = volume.allocation or self.group.allocation
            raise cannot_grow(
                self.target,
                f"{self.group.name}/{volume.name} has the allocation policy {policy}, which leaves "
                f"it {format_size(most * self.group.extent_size)} more",
                "ask for less, or change it there: lvchange --alloc",
            )
        return most

    def _amount(self, volume: LogicalVolume, share: Share, free: int) -> int:
        match share:
            case Percent(value):
                return int(free * value / 100)
            case Size(size, relative):
                extents = align_up(size, self.group.extent_size) // self.group.extent_size
                if not relative and extents < volume.extents:
                    now = format_size(self.group.size_of(volume))
                    problem = f"{self.group.name}/{volume.name} has {now} already"
                    raise cannot_grow(self.target, problem, "write +SIZE to grow by")
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
            raise cannot_grow(self.target, problem, f"its volumes are: {_listed(group)}")
        if reason := self._why_not(found):
            problem = f"{group.name}/{found.name} {reason}"
            raise cannot_grow(self.target, problem, "grow it in the guest (lvextend)")
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
