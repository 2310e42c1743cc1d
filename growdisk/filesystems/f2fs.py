"""The superblock of F2FS (kernel documentation: filesystems/f2fs): at byte 1024, little-endian."""

from __future__ import annotations

import struct

from growdisk.filesystems.content import Content, F2fsContent, dashed

_SUPERBLOCK = struct.Struct("<I12xI16xQ64x16s1024s")  # magic, log block size, blocks, uuid, label (UTF-16)
_SUPERBLOCK_OFFSET = 1024
_MAGIC = 0xF2F52010
_BLOCK = 4096
SEGMENT = 512 * _BLOCK


def read_f2fs(head: bytes) -> Content | None:
    if len(head) < _SUPERBLOCK_OFFSET + _SUPERBLOCK.size:
        return None
    magic, log_block_size, blocks, uuid, label = _SUPERBLOCK.unpack_from(head, _SUPERBLOCK_OFFSET)
    if magic != _MAGIC or log_block_size != 12:
        return None
    name = label.decode("utf-16-le", "replace").split("\0")[0]
    return F2fsContent("f2fs", dashed(uuid), name, blocks * _BLOCK)


def grown_f2fs(content: Content, device_size: int) -> int:
    """Bytes after resize.f2fs."""
    return max(device_size // _BLOCK * _BLOCK, content.size or 0)
