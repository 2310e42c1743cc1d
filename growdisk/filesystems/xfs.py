"""The superblock of XFS (xfs_fs docs, "Superblocks"): at byte 0, big-endian."""

from __future__ import annotations

import struct

from growdisk.filesystems.content import Content, XfsContent, dashed, text

#  magic, block size, blocks, uuid, blocks per group, groups, label, free blocks
_SUPERBLOCK = struct.Struct(">4sIQ16x16s36xII16x12s24xQ")
_LEAST_GROUP_BLOCKS = 64


def read_xfs(head: bytes) -> Content | None:
    if len(head) < 512 or not head.startswith(b"XFSB"):
        return None
    _magic, block_size, blocks, uuid, ag_blocks, ag_count, label, free = _SUPERBLOCK.unpack_from(head)
    return XfsContent(
        "xfs", dashed(uuid), text(label), block_size * blocks, block_size * (blocks - free),
        block_size=max(block_size, 512), block_count=blocks, ag_blocks=max(ag_blocks, 1), ag_count=ag_count,
    )  # fmt: skip


def grown_xfs(content: XfsContent, device_size: int) -> int:
    """Bytes after xfs_growfs: a last group too small to be one is left out (kernel, xfs_growfs_data_private)."""
    blocks = device_size // content.block_size
    rest = blocks % content.ag_blocks
    if 0 < rest < _LEAST_GROUP_BLOCKS:
        blocks -= rest
    return max(blocks, content.block_count) * content.block_size


def group_count(content: XfsContent, size: int) -> int:
    return -(-size // (content.ag_blocks * content.block_size))
