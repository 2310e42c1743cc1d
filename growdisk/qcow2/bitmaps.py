"""Persistent dirty bitmaps: their directory, as it stands there or with all its checks.

A program that writes guest data without updating the bitmaps must clear their autoclear bit first;
from then on nobody uses them, and their clusters are leaked until somebody frees them. A writer
that keeps bitmaps up to date must be sure of every number in them: so there are all of them or
none. Follows QEMU's docs/interop/qcow2 ("Bitmaps extension", "Bitmaps").
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from itertools import islice

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import NamedTuple, dataclass
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


class RawEntry(NamedTuple):
    """An entry as it stands there; nothing in it need be true. `table_size` in entries."""

    table_offset: int
    table_size: int
    flags: int
    kind: int
    granularity_bits: int
    name: bytes
    extra_size: int


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


@dataclass(frozen=True)
class BitmapInfo:
    """A bitmap as its directory entry tells of it.

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


def raw_entries(directory: bytes) -> Iterator[RawEntry]:
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
        yield RawEntry(offset, size, flags, kind, granularity, name, extra_size)
        position += -(-(_ENTRY.size + extra_size + name_size) // 8) * 8


def bitmap_infos(file: BlockDevice, header: Header) -> tuple[BitmapInfo, ...]:
    """The valid bitmaps of an image; none if their directory cannot be read."""
    try:
        return tuple(islice(_infos(_directory(file, header)), _MAX_BITMAPS))
    except ValueError:
        return ()


def bitmap_runs(file: BlockDevice, header: Header) -> list[Run]:
    """All clusters of an image's valid bitmaps; none if they cannot be read (those stay leaked)."""
    place = directory_place(header)
    if place is None:
        return []
    try:
        return [_run(header, *place[:2]), *_tables(file, header, _directory(file, header))]
    except ValueError:
        return []


def _directory(file: BlockDevice, header: Header) -> bytes:
    """The bitmap directory, or nothing. ValueError if it lies beyond the file."""
    place = directory_place(header)
    return b"" if place is None else file.read(*place[:2])


def _infos(directory: bytes) -> Iterator[BitmapInfo]:
    for entry in raw_entries(directory):
        # as in C: a name ends before its first NUL
        name = entry.name.split(b"\0")[0].decode("utf-8", "surrogateescape")
        yield BitmapInfo(
            name,
            1 << entry.granularity_bits,
            in_use=bool(entry.flags & IN_USE),
            auto=bool(entry.flags & AUTO),
        )


def _tables(file: BlockDevice, header: Header, directory: bytes) -> Iterator[Run]:
    left = _MAX_TABLES
    for entry in raw_entries(directory):
        length = 8 * entry.table_size
        # Of all tables together: they may overlap, and would be read without end.
        left -= length
        if left < 0:
            raise ValueError("bitmap tables that are too large to be worth reading")
        yield _run(header, entry.table_offset, length)
        for word in load_table(file.read(entry.table_offset, length)):
            if word & OFFSET_MASK:
                yield _run(header, word & OFFSET_MASK, header.cluster_size)


def _run(header: Header, offset: int, length: int) -> Run:
    return offset >> header.cluster_bits, header.geometry.clusters(length)


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


def _understood(directory: bytes) -> tuple[Bitmap, ...]:
    """The entries, or nothing if one is not understood: the caller compares their number."""
    try:
        entries = list(raw_entries(directory))
    except ValueError:
        return ()
    known = all(
        not entry.extra_size
        and entry.kind == _TRACKING
        and not entry.flags & ~_KNOWN_FLAGS
        # QEMU's own limits: BME_MIN_GRANULARITY_BITS and BME_MAX_GRANULARITY_BITS.
        and 9 <= entry.granularity_bits <= 31
        and entry.name
        for entry in entries
    )
    return tuple(
        Bitmap(
            entry.name, entry.table_offset, entry.table_size, entry.flags, entry.granularity_bits
        )
        for entry in (entries if known else ())
    )


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
