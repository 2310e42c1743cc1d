"""LVM read by our own code: the physical volumes of a group, logical volumes as devices.

Physical volumes lie in several partitions, or on several disks of one guest. Each has a copy of the
group's metadata, and all copies agree: `seqno` counts their changes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from growdisk.block.device import BlockDevice, check_range
from growdisk.block.window import ReadOnlyDevice
from growdisk.filesystems.lvm import VolumeGroupUnreadable, label_of, read_volume_group
from growdisk.filesystems.volume_group import LogicalVolume, VolumeGroup
from growdisk.partitions.sectors import parts_of, read_table


class PhysicalVolumeFinder:
    """`disks` are a guest's disks that are at hand, each with the path that messages name."""

    def __init__(self, disks: Iterable[tuple[BlockDevice, Path]], sector_size: int = 512) -> None:
        self._disks, self._sector_size = tuple(disks), sector_size

    def found(self) -> dict[str, BlockDevice]:
        """UUID → physical volume, of all that lie right in a partition or on a whole disk."""
        return dict(self._all())

    def _all(self) -> list[tuple[str, BlockDevice]]:
        tables = ((disk, read_table(disk, path, self._sector_size)) for disk, path in self._disks)
        parts = (part for disk, table in tables for _, part in parts_of(disk, table))
        return [(label.uuid, part) for part in parts if (label := label_of(part))]

    def of(self, group: VolumeGroup, own: BlockDevice) -> dict[str, BlockDevice]:
        """The group's physical volumes that were found, by their keys, `own` among them.

        The group was read from `own`. VolumeGroupUnreadable if their metadata do not agree.
        """
        devices = {group.own: own}
        every_pv = self._all()
        # Before they become a dict, where one of two with the same UUID would hide the other.
        _refuse_twins(group, every_pv)
        if len(group.physical_volumes) > 1:
            found = dict(every_pv)
            devices |= {
                v.key: found[v.uuid]
                for v in group.physical_volumes
                if v.key != group.own and v.uuid in found
            }
        _refuse_disagreement(group, devices)
        return devices


def _refuse_twins(group: VolumeGroup, every_pv: Iterable[tuple[str, BlockDevice]]) -> None:
    """LVM does nothing if it cannot tell two apart."""
    uuids = [uuid for uuid, _ in every_pv]
    for volume in group.physical_volumes:
        if uuids.count(volume.uuid) > 1:
            raise VolumeGroupUnreadable(
                f"two physical volumes have the UUID {volume.uuid}: one is a copy of the other, "
                "and LVM uses neither"
            )
    for _, device in every_pv:
        other = _group_of(device)
        if other is not None and other.name == group.name and other.uuid != group.uuid:
            raise VolumeGroupUnreadable(
                f"another group is called {group.name} as well: LVM cannot be told which one is "
                "meant (vgrename)"
            )


def _group_of(device: BlockDevice) -> VolumeGroup | None:
    try:
        return read_volume_group(device)
    except VolumeGroupUnreadable:
        return None


def _refuse_disagreement(group: VolumeGroup, devices: Mapping[str, BlockDevice]) -> None:
    for key, device in devices.items():
        if key == group.own:
            continue
        label = label_of(device)
        # A physical volume may be one that keeps no copy of the metadata.
        other = read_volume_group(device) if label and label.metadata_areas else group
        if other is not None and (other.uuid, other.seqno) != (group.uuid, group.seqno):
            raise VolumeGroupUnreadable(
                f"the physical volumes of its group {group.name} do not say the same of it; LVM "
                "mends that when the guest starts"
            )


class LogicalVolumeView(ReadOnlyDevice):
    """A linear volume, wholly on the physical volumes `devices`, which are named by their keys.

    It is the second way to verify LVM's work.
    """

    def __init__(
        self, devices: Mapping[str, BlockDevice], group: VolumeGroup, volume: LogicalVolume
    ) -> None:
        self._devices, self._extent = devices, group.extent_size
        self._first = {physical.key: physical.pe_start for physical in group.physical_volumes}
        self._segments = sorted(volume.segments, key=lambda segment: segment.start)
        self.size = group.size_of(volume)

    def read(self, offset: int, length: int) -> bytes:
        check_range(self.size, offset, length)
        return b"".join(
            self._devices[key].read(place, count)
            for key, place, count in self._pieces(offset, length)
        )

    def _pieces(self, offset: int, length: int) -> Iterator[tuple[str, int, int]]:
        """The range as (physical volume, place on it, bytes)."""
        # In order of their starts: what is left of the range always begins in a later segment.
        for segment in self._segments:
            start = segment.start * self._extent
            end = (segment.start + segment.count) * self._extent
            if length and start <= offset < end:
                count = min(length, end - offset)
                # Linear: one area. Extents count from pe_start of the physical volume.
                key, first_extent = segment.areas[0]
                yield key, self._first[key] + first_extent * self._extent + offset - start, count
                offset, length = offset + count, length - count


def is_readable(volume: LogicalVolume, at_hand: Collection[str]) -> bool:
    """Whether a view can be made: no stripes, mirrors or pools, no missing physical volumes."""
    return volume.is_linear and all(
        key in at_hand for segment in volume.segments for key, _ in segment.areas
    )
