"""Persistent dirty bitmaps: enough to name them, to drop them and to free their clusters.

A program that writes guest data without updating the bitmaps must clear their autoclear bit first;
from then on nobody uses them, and their clusters are leaked until somebody frees them. Follows
QEMU's docs/interop/qcow2 ("Bitmaps extension", "Bitmaps").
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

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
_MAX_DIRECTORY = 64 << 20
# a million clusters of bits; a longer one stays lost when its bitmap is dropped
_MAX_TABLE = 8 << 20
_MAX_BITMAPS = 65535
_IN_USE, _AUTO = 1, 2


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
        return tuple(_infos(_directory(file, header)))
    except (ValueError, struct.error):
        return ()


def bitmap_runs(file: BlockDevice, header: Header) -> list[Run]:
    """All clusters of an image's valid bitmaps; none if they cannot be read (those stay leaked)."""
    try:
        directory = _directory(file, header)
        if not directory:
            return []
        _, _, size, offset = _EXTENSION.unpack(header.extension(Extension.BITMAPS) or b"")
        return [_run(header, offset, size), *_tables(file, header, directory)]
    except (ValueError, struct.error):
        return []


def _directory(file: BlockDevice, header: Header) -> bytes:
    """The bitmap directory; nothing if there is none that may be believed."""
    extension = header.extension(Extension.BITMAPS) or b""
    if not header.autoclear & Autoclear.BITMAPS or len(extension) != _EXTENSION.size:
        return b""
    _, _, size, offset = _EXTENSION.unpack(extension)
    # A range beyond the file raises ValueError, which the callers expect.
    return file.read(offset, size) if size <= _MAX_DIRECTORY else b""


def _infos(directory: bytes) -> Iterator[BitmapInfo]:
    position = 0
    for _ in range(_MAX_BITMAPS):
        if position >= len(directory):
            return
        # `_` is the type, of which there is one; `bits` is the granularity.
        *_, flags, _, bits, name_size, extra_size = _ENTRY.unpack_from(directory, position)
        start = position + _ENTRY.size + extra_size
        # as in C: a name ends before its first NUL
        text = directory[start : start + name_size].split(b"\0")[0]
        name = text.decode("utf-8", "surrogateescape")
        yield BitmapInfo(name, 1 << bits, in_use=bool(flags & _IN_USE), auto=bool(flags & _AUTO))
        position += -(-(_ENTRY.size + extra_size + name_size) // 8) * 8


def _tables(file: BlockDevice, header: Header, directory: bytes) -> Iterator[Run]:
    position = 0
    while position < len(directory):
        table_offset, table_size, *_, name_size, extra_size = _ENTRY.unpack_from(
            directory, position
        )
        position += -(-(_ENTRY.size + extra_size + name_size) // 8) * 8
        if 8 * table_size > _MAX_TABLE:
            raise ValueError(
                "a bitmap table that cannot be true, or is too large to be worth reading"
            )
        yield _run(header, table_offset, 8 * table_size)
        for entry in load_table(file.read(table_offset, 8 * table_size)):
            if entry & OFFSET_MASK:
                yield _run(header, entry & OFFSET_MASK, header.cluster_size)


def _run(header: Header, offset: int, length: int) -> Run:
    return offset >> header.cluster_bits, header.geometry.clusters(length)
