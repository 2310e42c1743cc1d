"""Where the bytes of guest clusters lie: in the image file itself, or wherever else an image puts them."""

from __future__ import annotations

from typing import Protocol

from growdisk.block.device import ResizableDevice


class DataFile(Protocol):
    """Guest data by host offset. `guest_offset` of the first byte is for ciphers that depend on it."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int, guest_offset: int) -> bytes: ...

    def write(self, offset: int, data: bytes | memoryview, guest_offset: int) -> None: ...


class PlainData:
    """Implements DataFile: the bytes of a file as they are."""

    def __init__(self, file: ResizableDevice) -> None:
        self._file = file

    @property
    def size(self) -> int:
        return self._file.size

    def read(self, offset: int, length: int, guest_offset: int) -> bytes:
        return self._file.read(offset, length)

    def write(self, offset: int, data: bytes | memoryview, guest_offset: int) -> None:
        self._file.write(offset, data)
