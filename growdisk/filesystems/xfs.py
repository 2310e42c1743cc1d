"""The superblock of XFS (xfs_fs docs, "Superblocks"): at byte 0, big-endian."""

from __future__ import annotations

import struct

from growdisk.filesystems.content import Content, XfsContent, dashed, text

# Magic, block size, blocks, realtime blocks, UUID, first block of the log, blocks per group,
# groups, blocks of the log, version, label, in progress, free blocks.
_SUPERBLOCK = struct.Struct(">4sIQQ8x16sQ28xII4xIH6x12s6xB17xQ")
# Only in version 5: ro_compat (needed to write), incompat (needed to mount at all).
_FEATURES = struct.Struct(">208x4xII")
_VERSION, _LATEST = 0xF, 5
_KNOWN_RO_COMPAT = 0xF  # free inode trees, reverse mappings, reflinks, counters of inode trees
_NEEDS_REPAIR = 0x10
_KNOWN_INCOMPAT = 0x3F  # up to large extent counters, which is Linux 6.1
_PAGE = 4096
# XFS_MIN_AG_BLOCKS.
_LEAST_GROUP_BLOCKS = 64


def read_xfs(head: bytes) -> Content | None:
    if len(head) < 512 or not head.startswith(b"XFSB"):
        return None
    fields = _SUPERBLOCK.unpack_from(head)
    _magic, block_size, blocks, realtime, uuid, log, ag_blocks, ag_count, log_blocks, *rest = fields
    version, label, unfinished, free = rest
    return XfsContent(
        "xfs",
        dashed(uuid),
        text(label),
        block_size * blocks,
        block_size * (blocks - free),
        block_size=max(block_size, 512),
        block_count=blocks,
        ag_blocks=max(ag_blocks, 1),
        ag_count=ag_count,
        # First block 0: the log is on another device, so it takes nothing of this one.
        log_blocks=log_blocks if log else 0,
        unfit=_whole_elsewhere(log, realtime)
        or ("its mkfs did not finish" if unfinished else "")
        or _unknown(head, version & _VERSION, block_size),
    )


def _whole_elsewhere(log: int, realtime: int) -> str:
    if not log:
        return (
            "its XFS has its log on another device (an external log), without which no kernel "
            "mounts it"
        )
    if realtime:
        return "its XFS has a realtime section on another device, without which no kernel mounts it"
    return ""


def _unknown(head: bytes, version: int, block_size: int) -> str:
    if block_size > _PAGE:
        return (
            f"its XFS has blocks of {block_size} bytes, and this machine's kernels mount up to "
            f"{_PAGE}"
        )
    # Older versions have no feature words, and Linux 6.1 mounts them.
    if version < _LATEST:
        return ""
    ro_compat, incompat = _FEATURES.unpack_from(head)
    if incompat & _NEEDS_REPAIR:
        return "its XFS is marked as damaged (needsrepair): xfs_repair has to mend it first"
    if unknown := (ro_compat & ~_KNOWN_RO_COMPAT) << 32 | incompat & ~_KNOWN_INCOMPAT:
        return f"its XFS has features ({unknown:#x}) that Linux 6.1 does not know"
    return ""


def grown_xfs(content: XfsContent, device_size: int) -> int:
    """Its size in bytes after xfs_growfs, which leaves out a last group that is too small.

    Source: kernel, xfs_growfs_data_private.
    """
    blocks = device_size // content.block_size
    rest = blocks % content.ag_blocks
    if 0 < rest < _LEAST_GROUP_BLOCKS:
        blocks -= rest
    return max(blocks, content.block_count) * content.block_size


def group_count(content: XfsContent, size: int) -> int:
    return -(-size // (content.ag_blocks * content.block_size))
