"""The half of a device that one for reading has not."""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.block.device import BlockDevice, Extent, ExtentKind, check_range


class ReadOnlyDevice:
    """What is read from somewhere else, which stays open: a BlockDevice with `read` and `size`."""

    writable = False
    size: int

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        raise PermissionError("this device is for reading")

    def write_zeros(self, offset: int, length: int) -> None:
        raise PermissionError("this device is for reading")

    def discard(self, offset: int, length: int) -> None:
        """Nothing is given back."""

    def flush(self) -> None:
        """Nothing was written."""

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        check_range(self.size, offset, length)
        yield Extent(offset, offset + length, ExtentKind.DATA)

    def close(self) -> None:
        """What is read from belongs to somebody else."""


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
