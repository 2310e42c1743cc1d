"""A volume group as its metadata describe it, and what of it growdisk can grow. Values only.

Extents are the unit of LVM: a physical volume is `pe_count` of them from `pe_start`, a logical
volume a list of segments. Only volumes that lie on their physical volumes as they are (LVM calls
them striped, with one stripe) can be read here; thin pools, mirrors, caches and their like have a
machinery of their own.
"""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.fast_dataclass import dataclass

_LINEAR = "striped"


def mapped_name(group: str, volume: str) -> str:
    """A logical volume's in device-mapper: hyphens within both names are doubled."""
    return f"{group.replace('-', '--')}-{volume.replace('-', '--')}"


@dataclass(frozen=True)
class PhysicalVolume:
    """`key` is its name within the metadata (pv0); `pe_start` in bytes."""

    key: str
    uuid: str
    device_size: int
    pe_start: int
    pe_count: int
    flags: tuple[str, ...] = ()

    @property
    def is_allocatable(self) -> bool:
        """Whether LVM may give its free extents to anybody (pvchange -x)."""
        return "ALLOCATABLE" in self.flags


@dataclass(frozen=True)
class LvSegment:
    """Extents [start, start+count) of a logical volume.

    `areas`: (physical volume, first extent), one a stripe. `related` names other volumes: a
    snapshot's origin and store.
    """

    start: int
    count: int
    kind: str
    areas: tuple[tuple[str, int], ...] = ()
    related: tuple[str, ...] = ()

    @property
    def is_linear(self) -> bool:
        return self.kind == _LINEAR and len(self.areas) == 1

    @property
    def extents_per_area(self) -> int:
        """Stripes share a segment's extents; the legs of a mirror have all of them."""
        return self.count // max(len(self.areas), 1) if self.kind == _LINEAR else self.count


@dataclass(frozen=True)
class LogicalVolume:
    name: str
    uuid: str
    visible: bool
    segments: tuple[LvSegment, ...]
    flags: tuple[str, ...] = ()
    allocation: str = ""

    @property
    def extents(self) -> int:
        return sum(segment.count for segment in self.segments)

    @property
    def is_linear(self) -> bool:
        return bool(self.segments) and all(segment.is_linear for segment in self.segments)

    @property
    def kind(self) -> str:
        """What it is, as lvs calls it: linear, striped, thin, thin-pool, raid1, snapshot, ..."""
        kinds = {segment.kind for segment in self.segments}
        if kinds == {_LINEAR}:
            return "linear" if self.is_linear else "striped"
        return " and ".join(sorted(kinds)) or "empty"


@dataclass(frozen=True)
class VolumeGroup:
    """`own` is the key of the physical volume that the metadata were read from."""

    name: str
    uuid: str
    seqno: int
    extent_size: int
    status: tuple[str, ...]
    physical_volumes: tuple[PhysicalVolume, ...]
    logical_volumes: tuple[LogicalVolume, ...]
    own: str
    allocation: str = "normal"
    system_id: str = ""
    lock_type: str = ""

    @property
    def own_volume(self) -> PhysicalVolume:
        return next(volume for volume in self.physical_volumes if volume.key == self.own)

    @property
    def end_of_extents(self) -> int:
        """Bytes that the own physical volume covers of its device, up to its last extent."""
        return self.own_volume.pe_start + self.own_volume.pe_count * self.extent_size

    @property
    def visible(self) -> tuple[LogicalVolume, ...]:
        """What users made; pool metadata, mirror legs and their like are hidden."""
        return tuple(volume for volume in self.logical_volumes if volume.visible)

    @property
    def used_extents(self) -> int:
        """Of the own physical volume."""
        return self._used_on(self.own)

    @property
    def free_elsewhere(self) -> int:
        """Free extents of the other physical volumes, as far as LVM may take them."""
        others = [volume for volume in self.physical_volumes if volume.key != self.own]
        return sum(v.pe_count - self._used_on(v.key) for v in others if v.is_allocatable)

    def room_for(self, volume: LogicalVolume, own_extents: int) -> int | None:
        """Free extents that the volume's allocation policy permits; None: any that are free.

        `own_extents` is the size of the own physical volume.
        """
        # "" inherits the policy of the group.
        policy = volume.allocation or self.allocation
        if policy not in ("contiguous", "cling", "cling_by_tags") or not volume.is_linear:
            return None
        # A volume grows after its last segment.
        key, first = volume.segments[-1].areas[0]
        counts = {
            v.key: own_extents if v.key == self.own else v.pe_count for v in self.physical_volumes
        }
        # cling: on the same physical volume, anywhere.
        if policy != "contiguous":
            return counts.get(key, 0) - self._used_on(key)
        end = first + volume.segments[-1].count
        # contiguous: up to the next extent that is taken, or to the end of the physical volume.
        starts = [start for place, start, _ in self._areas() if place == key and start >= end]
        return max(min([counts.get(key, 0), *starts]) - end, 0)

    def _areas(self) -> Iterator[tuple[str, int, int]]:
        """What volumes take, hidden ones too: physical volume, first extent, extents."""
        for volume in self.logical_volumes:
            for segment in volume.segments:
                for key, first in segment.areas:
                    yield key, first, segment.extents_per_area

    def _used_on(self, key: str) -> int:
        return sum(count for place, _, count in self._areas() if place == key)

    @property
    def snapshotted(self) -> frozenset[str]:
        """Origins and stores of LVM's old snapshots."""
        return frozenset(
            name for volume in self.logical_volumes for s in volume.segments for name in s.related
        )

    def by_name(self, name: str) -> LogicalVolume | None:
        return next((volume for volume in self.visible if volume.name == name), None)

    def size_of(self, volume: LogicalVolume) -> int:
        return volume.extents * self.extent_size

    def extents_on(self, device_size: int) -> int:
        """The number of extents that pvresize makes of the own physical volume on such a device."""
        return max(
            self.own_volume.pe_count, (device_size - self.own_volume.pe_start) // self.extent_size
        )
