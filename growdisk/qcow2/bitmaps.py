"""Persistent dirty bitmaps: only what is needed to drop them and give their clusters back.

Who writes guest data without keeping the bitmaps up to date must clear their autoclear bit first; from then on nobody
looks at them any more, and their clusters are merely lost until somebody frees them.
Follows QEMU's docs/interop/qcow2 ("Bitmaps extension", "Bitmaps").
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from growdisk.block.device import BlockDevice
from growdisk.qcow2.entries import OFFSET_MASK
from growdisk.qcow2.features import Autoclear
from growdisk.qcow2.header import Extension, Header
from growdisk.qcow2.refcounts import Run
from growdisk.qcow2.tables import load_table

_EXTENSION = struct.Struct(">IIQQ")  # number of bitmaps, reserved, directory size, directory offset
_ENTRY = struct.Struct(">QIIBBHI")  # table offset, table size, flags, type, granularity, name size, extra size
_MAX_DIRECTORY = 64 << 20


def bitmap_runs(file: BlockDevice, header: Header) -> list[Run]:
    """All clusters of an image's valid bitmaps; nothing if they cannot be read (they stay lost then)."""
    extension = header.extension(Extension.BITMAPS) or b""
    if not header.autoclear & Autoclear.BITMAPS or len(extension) != _EXTENSION.size:
        return []
    _, _, size, offset = _EXTENSION.unpack(extension)
    try:
        if size > _MAX_DIRECTORY:
            return []
        return [_run(header, offset, size), *_tables(file, header, file.read(offset, size))]
    except (ValueError, struct.error):
        return []


def _tables(file: BlockDevice, header: Header, directory: bytes) -> Iterator[Run]:
    position = 0
    while position < len(directory):
        table_offset, table_size, *_, name_size, extra_size = _ENTRY.unpack_from(directory, position)
        position += -(-(_ENTRY.size + extra_size + name_size) // 8) * 8
        yield _run(header, table_offset, 8 * table_size)
        for entry in load_table(file.read(table_offset, 8 * table_size)):
            if entry & OFFSET_MASK:
                yield _run(header, entry & OFFSET_MASK, header.cluster_size)


def _run(header: Header, offset: int, length: int) -> Run:
    return offset >> header.cluster_bits, header.geometry.clusters(length)
