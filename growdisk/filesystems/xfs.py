"""The superblock of XFS (xfs_fs docs, "Superblocks"): at byte 0, big-endian."""

from __future__ import annotations

import struct

from growdisk.filesystems.content import Content, dashed, text

_SUPERBLOCK = struct.Struct(">4sIQ16x16s60x12s24xQ")  # magic, block size, blocks, uuid, label, free blocks


def read_xfs(head: bytes) -> Content | None:
    if len(head) < 512 or not head.startswith(b"XFSB"):
        return None
    _magic, block_size, blocks, uuid, label, free = _SUPERBLOCK.unpack_from(head)
    return Content("xfs", dashed(uuid), text(label), block_size * blocks, block_size * (blocks - free))
