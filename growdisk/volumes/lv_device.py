"""A logical volume as a device, read by our own engine: the second way to verify LVM's work."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from growdisk.block.device import BlockDevice, check_range
from growdisk.block.window import ReadOnlyDevice
from growdisk.filesystems.volume_group import LogicalVolume, VolumeGroup


class LogicalVolumeView(ReadOnlyDevice):
    """A linear volume, wholly on the physical volumes `devices`, which are named by their keys."""

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
