"""The first superblock of btrfs (btrfs documentation, "On-disk format"): at 64 KiB."""

from __future__ import annotations

import struct

from growdisk.filesystems.content import Content, dashed, text

SUPERBLOCK_OFFSET = 64 << 10
_SUPERBLOCK = struct.Struct("<32x16s16x8s40xQQ171x256s")  # uuid, magic, total bytes, used bytes, label


def read_btrfs(head: bytes) -> Content | None:
    if len(head) < SUPERBLOCK_OFFSET + _SUPERBLOCK.size:
        return None
    uuid, magic, size, used, label = _SUPERBLOCK.unpack_from(head, SUPERBLOCK_OFFSET)
    return Content("btrfs", dashed(uuid), text(label), size, used) if magic == b"_BHRfS_M" else None
