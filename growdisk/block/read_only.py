"""The half of a device that one for reading has not."""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.block.device import Extent, ExtentKind, check_range


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
