"""Persistent dirty bitmaps: enough to name them, to drop them and to free their clusters.

A program that writes guest data without updating the bitmaps must clear their autoclear bit first;
from then on nobody uses them, and their clusters are leaked until somebody frees them. Follows
QEMU's docs/interop/qcow2 ("Bitmaps extension", "Bitmaps").
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import dataclass
from growdisk.qcow2.bitmap_directory import AUTO, IN_USE, directory_place, raw_entries
from growdisk.qcow2.entries import OFFSET_MASK
from growdisk.qcow2.header import Header
from growdisk.qcow2.refcounts import Run
from growdisk.qcow2.tables import load_table

# a million clusters of bits, of all bitmaps; what has more stays lost when its bitmaps are dropped
_MAX_TABLES = 8 << 20
_MAX_BITMAPS = 65535


@dataclass(frozen=True)
class BitmapInfo:
    """A bitmap as its directory entry tells of it.

    `in_use`: a writer died, so it says nothing any more.
    """

    name: str
    granularity: int
    in_use: bool
    auto: bool


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
