"""A part of a device that behaves like a device: a partition is a window on its disk."""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.block.device import BlockDevice, Extent, check_range


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
        """The device below belongs to somebody else."""
