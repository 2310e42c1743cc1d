"""The directory of persistent dirty bitmaps: its entries, read with all their checks.

Whoever keeps bitmaps up to date must be sure of every number in them; otherwise they are better
dropped. So there are all of them or none. Follows QEMU's docs/interop/qcow2 ("Bitmaps extension",
"Bitmaps").
"""

from __future__ import annotations

import struct
from array import array

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import dataclass
from growdisk.qcow2.entries import OFFSET_MASK
from growdisk.qcow2.extensions import Extension
from growdisk.qcow2.features import Autoclear
from growdisk.qcow2.header import Header
from growdisk.qcow2.refcounts import Run
from growdisk.qcow2.tables import load_table

_EXTENSION = struct.Struct(">IIQQ")  # number of bitmaps, reserved, directory size, directory offset
# table offset, table size, flags, type, granularity, name size, extra size
_ENTRY = struct.Struct(">QIIBBHI")
IN_USE, AUTO = 1, 2
ALL_ONES = 1  # a table entry without a cluster
_KNOWN_FLAGS = IN_USE | AUTO
_TRACKING = 1  # the only type there is
_MAX_DIRECTORY, MAX_TABLE_ENTRIES = 1 << 20, 1 << 20
_TABLE_RESERVED = 0xFF000000000001FE


@dataclass(frozen=True)
class Bitmap:
    """One entry. `table_size` in entries; `granularity` in guest bytes a bit."""

    name: bytes
    table_offset: int
    table_size: int
    flags: int
    granularity_bits: int

    @property
    def granularity(self) -> int:
        return 1 << self.granularity_bits

    @property
    def is_sound(self) -> bool:
        """Whether it says anything: its last writer put it away."""
        return not self.flags & IN_USE

    @property
    def is_tracking(self) -> bool:
        """Whether each write has to be noted in it."""
        return self.is_sound and bool(self.flags & AUTO)

    def coverage(self, cluster_size: int) -> int:
        """Guest bytes that one entry of its table covers."""
        return cluster_size * 8 << self.granularity_bits

    def entries_for(self, size: int, cluster_size: int) -> int:
        """What its table has for a disk of `size` bytes; there is always one."""
        return max(-(-size // self.coverage(cluster_size)), 1)

    def to_bytes(self) -> bytes:
        fixed = _ENTRY.pack(
            self.table_offset,
            self.table_size,
            self.flags,
            _TRACKING,
            self.granularity_bits,
            len(self.name),
            0,
        )
        entry = fixed + self.name
        return entry + bytes(-len(entry) % 8)


@dataclass(frozen=True)
class Directory:
    """All bitmaps of an image, in order, and where the directory lies."""

    offset: int
    bitmaps: tuple[Bitmap, ...]

    def to_bytes(self) -> bytes:
        return b"".join(bitmap.to_bytes() for bitmap in self.bitmaps)

    def extension(self) -> Extension:
        data = _EXTENSION.pack(len(self.bitmaps), 0, len(self.to_bytes()), self.offset)
        return Extension(Extension.BITMAPS, data)


def read_directory(file: BlockDevice, header: Header) -> Directory | None:
    """The bitmap directory of an image; None if there is none that can be kept up to date."""
    extension = header.extension(Extension.BITMAPS) or b""
    if not header.autoclear & Autoclear.BITMAPS or len(extension) != _EXTENSION.size:
        return None
    count, reserved, size, offset = _EXTENSION.unpack(extension)
    if (
        reserved
        or not 0 < size <= _MAX_DIRECTORY
        or offset % header.cluster_size
        or offset + size > file.size
    ):
        return None
    bitmaps = _parse(file.read(offset, size))
    directory = Directory(offset, bitmaps)
    if len(bitmaps) != count or sum(bitmap.table_size for bitmap in bitmaps) > MAX_TABLE_ENTRIES:
        return None
    # The entries, written again, must fill the directory: else something in it was not understood.
    whole = len(directory.to_bytes()) == size and all(
        _is_possible(bitmap, file, header) for bitmap in bitmaps
    )
    return directory if offset and whole else None


def read_bitmap_table(file: BlockDevice, bitmap: Bitmap) -> array[int]:
    return load_table(file.read(bitmap.table_offset, 8 * bitmap.table_size))


def directory_runs(file: BlockDevice, header: Header, directory: Directory) -> list[Run]:
    """All clusters of a directory, its tables and their bits, one count each."""
    bits, geometry = header.cluster_bits, header.geometry
    runs = [(directory.offset >> bits, geometry.clusters(len(directory.to_bytes())))]
    for bitmap in directory.bitmaps:
        runs.append((bitmap.table_offset >> bits, geometry.clusters(8 * bitmap.table_size)))
        runs += [
            ((word & OFFSET_MASK) >> bits, 1)
            for word in read_bitmap_table(file, bitmap)
            if word & OFFSET_MASK
        ]
    return runs


def _parse(data: bytes) -> tuple[Bitmap, ...]:
    """The entries up to the first that is not understood; the caller compares their number."""
    found: list[Bitmap] = []
    position = 0
    while position + _ENTRY.size <= len(data):
        offset, size, flags, kind, granularity, name_size, extra = _ENTRY.unpack_from(
            data, position
        )
        name = data[position + _ENTRY.size : position + _ENTRY.size + name_size]
        if (
            extra
            or kind != _TRACKING
            or flags & ~_KNOWN_FLAGS
            # QEMU's own limits: BME_MIN_GRANULARITY_BITS and BME_MAX_GRANULARITY_BITS.
            or not 9 <= granularity <= 31
            or not name
        ):
            break
        found.append(Bitmap(name, offset, size, flags, granularity))
        position += -(-(_ENTRY.size + name_size) // 8) * 8
    return tuple(found)


def _is_possible(bitmap: Bitmap, file: BlockDevice, header: Header) -> bool:
    """Whether the table lies in the file, covers the disk, and names whole clusters of the file."""
    size, cluster_size = bitmap.table_size, header.cluster_size
    if (
        not bitmap.table_offset
        or bitmap.table_offset % cluster_size
        or bitmap.table_offset + 8 * size > file.size
    ):
        return False
    # The disk may have another size since a writer of this one has died: not an error then.
    if bitmap.is_sound and size != bitmap.entries_for(header.size, cluster_size):
        return False
    words = read_bitmap_table(file, bitmap)
    named = [word for word in words if word & OFFSET_MASK]
    if len(set(named)) < len(named):
        return False  # else a small file could make us read for hours
    for word in words:
        offset = word & OFFSET_MASK
        if (
            # Bit 0 says that all bits are 1, without a cluster; with one it must be 0.
            word & _TABLE_RESERVED
            or offset % cluster_size
            or (offset and word & ALL_ONES)
            or offset >= file.size
        ):
            return False
    return True
