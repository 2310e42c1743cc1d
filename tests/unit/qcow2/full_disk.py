"""A file on a disk that is full."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

from growdisk.block.device import Extent
from growdisk.block.raw import RawFile


class FullDisk:
    """A file on a disk that has room for `room` more bytes behind the file's present end."""

    def __init__(self, path: Path, room: int) -> None:
        self.file = RawFile.open(path, writable=True)
        self.end = self.file.size + room

    @property
    def size(self) -> int:
        return self.file.size

    @property
    def writable(self) -> bool:
        return True

    def read(self, offset: int, length: int) -> bytes:
        return self.file.read(offset, length)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        if offset + len(data) > self.end:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.file.write(offset, data)

    def write_zeros(self, offset: int, length: int) -> None:
        self.write(offset, bytes(length))

    def discard(self, offset: int, length: int) -> None:
        pass

    def flush(self) -> None:
        self.file.flush()

    def resize(self, size: int) -> None:
        self.file.resize(size)  # a sparse file grows on a full disk, too

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        return self.file.extents(offset, length)

    def close(self) -> None:
        self.file.close()
