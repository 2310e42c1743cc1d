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
        available = max(0, min(offset + length, self._device.size) - offset)
        data = self._device.read(offset, available) if available else b""
        return data + bytes(length - len(data))

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        check_range(self.size, offset, length)
        available = max(0, min(offset + length, self._device.size) - offset)
        if available:
            yield from self._device.extents(offset, available)
        if length > available:
            yield Extent(offset + available, offset + length, ExtentKind.ZERO, -1)
