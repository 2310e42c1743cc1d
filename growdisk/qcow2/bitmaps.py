"""Persistent dirty bitmaps: their directory, as it stands there or with all its checks.

A program that writes guest data without updating the bitmaps must clear their autoclear bit first;
from then on they are not used, and their clusters are leaked until they are freed. A writer
that keeps bitmaps up to date must be sure of every number in them: so there are all of them or
none. Follows QEMU's docs/interop/qcow2 ("Bitmaps extension", "Bitmaps").
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import dataclass
from growdisk.qcow2.entries import OFFSET_MASK
from growdisk.qcow2.features import Autoclear
from growdisk.qcow2.header import Extension, Header
from growdisk.qcow2.refcounts import Run
from growdisk.qcow2.tables import load_table

# a million clusters of bits, of all bitmaps; what has more stays lost when its bitmaps are dropped
_MAX_TABLES = 8 << 20
_MAX_BITMAPS = 65535
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
    """One entry, as it stands there: nothing in it need be true.

    `table_size` in entries; `granularity` in guest bytes a bit; `extra_size` of data that are not
    kept.
    """

    name: bytes
    table_offset: int
    table_size: int
    flags: int
    granularity_bits: int
    kind: int = _TRACKING
    extra_size: int = 0

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
            self.kind,
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


@dataclass(frozen=True)
class BitmapInfo:
    """A bitmap as its directory entry describes it.

    `in_use`: a writer died, so it says nothing any more.
    """

    name: str
    granularity: int
    in_use: bool
    auto: bool


def directory_place(header: Header) -> tuple[int, int, int] | None:
    """(offset, bytes, number of bitmaps) as the header tells; None if there are none valid."""
    extension = header.extension(Extension.BITMAPS) or b""
    if not header.autoclear & Autoclear.BITMAPS or len(extension) != _EXTENSION.size:
        return None
    # What is reserved is 0, the offset aligned and the size bounded: header.py has seen to it.
    count, _, size, offset = _EXTENSION.unpack(extension)
    return offset, size, count


def bitmap_infos(file: BlockDevice, header: Header) -> tuple[BitmapInfo, ...]:
    """The valid bitmaps of an image; none if their directory cannot be read."""
    place = directory_place(header)
    try:
        directory = b"" if place is None else file.read(*place[:2])
        return tuple(
            BitmapInfo(
                # as in C: a name ends before its first NUL
                bitmap.name.split(b"\0")[0].decode("utf-8", "surrogateescape"),
                bitmap.granularity,
                in_use=not bitmap.is_sound,
                auto=bool(bitmap.flags & AUTO),
            )
            for bitmap in islice(_entries(directory), _MAX_BITMAPS)
        )
    except ValueError:
        return ()


def bitmap_runs(file: BlockDevice, header: Header) -> list[Run]:
    """All clusters of an image's valid bitmaps; none if they cannot be read (those stay leaked)."""
    place = directory_place(header)
    try:
        return (
            [] if place is None else directory_runs(file, header, _entries(file.read(*place[:2])))
        )
    except ValueError:
        return []


def directory_runs(file: BlockDevice, header: Header, bitmaps: Iterable[Bitmap]) -> list[Run]:
    """All clusters of the directory with these bitmaps, of their tables and bits, one count each.

    ValueError if they are too large to be worth reading.
    """
    place, geometry, bits = directory_place(header), header.geometry, header.cluster_bits
    assert place is not None
    runs, left = [geometry.run(*place[:2])], _MAX_TABLES
    for bitmap in bitmaps:
        # Of all tables together: they may overlap, and would be read without end.
        left -= 8 * bitmap.table_size
        if left < 0:
            raise ValueError("bitmap tables that are too large to be worth reading")
        runs.append(geometry.run(bitmap.table_offset, 8 * bitmap.table_size))
        words = read_bitmap_table(file, bitmap)
        runs += [((word & OFFSET_MASK) >> bits, 1) for word in words if word & OFFSET_MASK]
    return runs


def _entries(directory: bytes) -> Iterator[Bitmap]:
    """The entries in order. ValueError if the last one is cut off."""
    position = 0
    while position < len(directory):
        start = position + _ENTRY.size
        if start > len(directory):
            raise ValueError("the last entry of a bitmap directory is cut off")
        offset, size, flags, kind, granularity, name_size, extra_size = _ENTRY.unpack_from(
            directory, position
        )
        start += extra_size
        name = directory[start : start + name_size]
        yield Bitmap(name, offset, size, flags, granularity, kind, extra_size)
        position += -(-(_ENTRY.size + extra_size + name_size) // 8) * 8


def read_directory(file: BlockDevice, header: Header) -> Directory | None:
    """The bitmap directory of an image; None if there is none that can be kept up to date."""
    place = directory_place(header)
    if place is None:
        return None
    offset, size, count = place
    if not 0 < size <= _MAX_DIRECTORY or offset + size > file.size:
        return None
    bitmaps = _understood(file.read(offset, size))
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


def _understood(directory: bytes) -> tuple[Bitmap, ...]:
    """The entries, or nothing if one is not understood: the caller compares their number."""
    try:
        bitmaps = tuple(_entries(directory))
    except ValueError:
        return ()
    known = all(
        not bitmap.extra_size
        and bitmap.kind == _TRACKING
        and not bitmap.flags & ~_KNOWN_FLAGS
        # QEMU's own limits: BME_MIN_GRANULARITY_BITS and BME_MAX_GRANULARITY_BITS.
        and 9 <= bitmap.granularity_bits <= 31
        and bitmap.name
        for bitmap in bitmaps
    )
    return bitmaps if known else ()


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
