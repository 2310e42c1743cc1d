"""Where the bytes of guest clusters are: in the image file itself, or in another place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from growdisk.block.device import Part, ResizableDevice
from growdisk.block.raw import RawFile
from growdisk.errors import ImageNotReadable
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.header import Header
from growdisk.qcow2.header_rules import damaged
from growdisk.qcow2.named_files import data_path, exists, require_trusted

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object


def open_data_file(image: Path, header: Header, *, writable: bool) -> RawFile | None:
    """The external data file of an image under the same locks, or None if it has none."""
    if not header.has(Incompatible.DATA_FILE):
        return None
    path = data_file_path(image, header)
    if not exists(path):
        raise ImageNotReadable(
            path, reason=f"it is the external data file of {image} and does not exist"
        )
    # Guest bytes would be written over the tables.
    if path.samefile(image):
        raise damaged(image, "its external data file is itself")
    return RawFile.open(path, writable=writable)


def data_file_path(image: Path, header: Header) -> Path:
    """Where the external data file of an image that has one should lie.

    ReferenceOutside if nobody may look there.
    """
    if not header.data_file:
        raise damaged(image, "its data lie in an external data file that it does not name")
    path = data_path(image, header.data_file)
    require_trusted(image, path, header.data_file, "data file")
    return path


class DataFile(Protocol):
    """Guest data by host offset.

    `guest_offset` of the first byte is for ciphers that depend on it.
    """

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int, guest_offset: int) -> bytes: ...

    def write(self, offset: int, data: bytes | memoryview, guest_offset: int) -> None: ...

    def parts(self, offset: int, length: int, guest_offset: int) -> Iterator[Part]:
        """The range as parts; beyond the end of the file there are zeros."""


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

    def parts(self, offset: int, length: int, guest_offset: int) -> Iterator[Part]:
        from growdisk.block.parts import parts_of

        return parts_of(self._file, offset, offset + length)
