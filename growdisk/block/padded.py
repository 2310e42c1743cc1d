"""A device as it will be when it has grown: what there is, and zeros after it. To be read only."""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.block.device import BlockDevice, Extent, ExtentKind, check_range
from growdisk.block.read_only import ReadOnlyDevice


class Padded(ReadOnlyDevice):
    """`size` bytes, of which `device` has the first. Closing it leaves the device open."""

    def __init__(self, device: BlockDevice, size: int) -> None:
        self._device, self.size = device, size

    def read(self, offset: int, length: int) -> bytes:
        check_range(self.size, offset, length)
        there = max(0, min(offset + length, self._device.size) - offset)
        data = self._device.read(offset, there) if there else b""
        return data + bytes(length - len(data))

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        check_range(self.size, offset, length)
        there = max(0, min(offset + length, self._device.size) - offset)
        if there:
            yield from self._device.extents(offset, there)
        if length > there:
            yield Extent(offset + there, offset + length, ExtentKind.ZERO, -1)
