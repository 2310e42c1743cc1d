"""Devices that show another one in part or padded: a partition is a window on its disk."""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.block.device import BlockDevice, Extent, ExtentKind, check_range, read_padded


class Window:
    """Bytes [start, start+size) of `device`, addressed from 0.

    Closing the window leaves the device open.
    """

    def __init__(self, device: BlockDevice, start: int, size: int) -> None:
        check_range(device.size, start, size)
        self._device, self._start, self.size = device, start, size

    @property
    def writable(self) -> bool:
        return self._device.writable

    def read(self, offset: int, length: int) -> bytes:
        check_range(self.size, offset, length)
        return self._device.read(self._start + offset, length)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        check_range(self.size, offset, len(data))
        self._device.write(self._start + offset, data)

    def write_zeros(self, offset: int, length: int) -> None:
        check_range(self.size, offset, length)
        self._device.write_zeros(self._start + offset, length)

    def discard(self, offset: int, length: int) -> None:
        check_range(self.size, offset, length)
        self._device.discard(self._start + offset, length)

    def flush(self) -> None:
        self._device.flush()

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        check_range(self.size, offset, length)
        for extent in self._device.extents(self._start + offset, length):
            yield Extent(
                extent.start - self._start, extent.end - self._start, extent.kind, extent.depth
            )

    def close(self) -> None:
        """The device below stays open."""


class ReadOnlyDevice:
    """A device for reading; a subclass has `size` and `read`. What it reads from stays open."""

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
        """What is read from stays open."""


class Padded(ReadOnlyDevice):
    """`size` bytes, of which `device` has the first. Closing it leaves the device open."""

    def __init__(self, device: BlockDevice, size: int) -> None:
        self._device, self.size = device, size

    def read(self, offset: int, length: int) -> bytes:
        check_range(self.size, offset, length)
        return read_padded(self._device, offset, length)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        check_range(self.size, offset, length)
        if available := max(0, min(length, self._device.size - offset)):
            yield from self._device.extents(offset, available)
        if length > available:
            yield Extent(offset + available, offset + length, ExtentKind.ZERO, -1)
