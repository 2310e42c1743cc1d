"""The superblock of ext2, ext3 and ext4 (kernel documentation: filesystems/ext4, "Super Block").

It is at byte 1024 for all block sizes. ext2 and ext3 differ from ext4 only by the features
they may have; blkid's rule is followed. One whose checksum is wrong is not an ext superblock,
as it is none for the kernel and blkid.
"""

from __future__ import annotations

import struct
from typing import TypedDict

from growdisk.fast_dataclass import dataclass, replace
from growdisk.filesystems.content import Content, ExtContent, JournalContent, dashed, text
from growdisk.filesystems.ext_growth import groups_with_superblock

SUPERBLOCK_OFFSET = 1024
SUPERBLOCK_SIZE = 1024
_SMALL_DESCRIPTOR, _LARGE_DESCRIPTOR = 32, 64
_CHECKSUM_AT = 1020
_MAGIC = 0xEF53
_STATE_CLEAN = 1
_COMPAT_JOURNAL = 0x4
_INCOMPAT_RECOVER, _INCOMPAT_JOURNAL_DEVICE, _INCOMPAT_64BIT = 0x4, 0x8, 0x80
_INCOMPAT_FLEX_BG = 0x200
_RO_COMPAT_CHECKSUM = 0x400
_EXT2_INCOMPAT = 0x2 | 0x10  # filetype, meta_bg
_EXT3_INCOMPAT = _EXT2_INCOMPAT | _INCOMPAT_RECOVER
_EXT2_RO_COMPAT = 0x1 | 0x2 | 0x4  # sparse_super, large_file, btree_dir

# The UUID of an external journal, and the inode of an internal one (0 if there is none).
_JOURNAL = struct.Struct("<208x16sI")
# The fields of _Superblock, in its order; _HIGH: the upper 32 bits of the first three.
_LOW = struct.Struct("<4xIII8xI28xHH32xIII16s16s")
_HIGH = struct.Struct("<III")
_HIGH_AT = 0x150
_BACKUP_GROUPS, _BACKUP_GROUPS_AT = struct.Struct("<II"), 0x24C
_LOG_GROUPS_PER_FLEX_AT = 0x174
# The image may lie: this bounds what is shifted by its numbers. 1024 << 20 is 1 GiB.
_MOST_LOG_CLUSTER = 20
# First data block, log cluster size, blocks and inodes per group, inode size, reserved descriptor
# blocks, descriptor size.
_GEOMETRY = struct.Struct("<20xI4xII4xI44xH116xH46xH")


@dataclass(frozen=True)
class _Superblock:
    blocks: int
    reserved: int
    free: int
    log_block_size: int
    magic: int
    state: int
    compat: int
    incompat: int
    ro_compat: int
    uuid: bytes
    label: bytes


def read_ext(head: bytes) -> Content | None:
    """`head` is the beginning of the device."""
    raw = head[SUPERBLOCK_OFFSET : SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE]
    if len(raw) < SUPERBLOCK_SIZE:
        return None
    block = _Superblock(*_LOW.unpack_from(raw))
    if not _is_sound(block, raw):
        return None
    if block.incompat & _INCOMPAT_JOURNAL_DEVICE:
        # The superblock of an external journal (mke2fs -O journal_dev) is there only for its UUID
        # and size.
        return JournalContent(
            "jbd",
            dashed(block.uuid),
            text(block.label),
            (1024 << block.log_block_size) * block.blocks,
        )
    blocks, reserved, free = _with_high_halves(block, raw)
    size = 1024 << block.log_block_size
    content = ExtContent(
        _kind(block),
        dashed(block.uuid),
        text(block.label),
        size * blocks,
        size * (blocks - free),
        block_size=size,
        block_count=blocks,
        reserved_blocks=reserved,
        clean=bool(block.state & _STATE_CLEAN),
        needs_recovery=bool(block.incompat & _INCOMPAT_RECOVER),
        compat=block.compat,
        incompat=block.incompat,
        ro_compat=block.ro_compat,
        external_journal=_external_journal(block, raw),
        **_geometry(raw, size, block.incompat),
        backup_groups=_BACKUP_GROUPS.unpack_from(raw, _BACKUP_GROUPS_AT),
    )
    # Both are computed from the other fields, so the value must exist before they can be filled in.
    return replace(
        content, kept_blocks=kept_blocks(content), overhead_blocks=overhead_blocks(content, raw)
    )


class _Geometry(TypedDict):
    first_data_block: int
    cluster_size: int
    blocks_per_group: int
    inode_blocks_per_group: int
    reserved_gdt_blocks: int
    descriptor_size: int
    inodes_per_group: int
    groups_per_flex: int


def _geometry(raw: bytes, block_size: int, incompat: int) -> _Geometry:
    first, log_cluster, per_group, inodes_per_group, inode_size, reserved_gdt, descriptor_size = (
        _GEOMETRY.unpack_from(raw)
    )
    return _Geometry(
        first_data_block=first,
        cluster_size=1024 << min(log_cluster, _MOST_LOG_CLUSTER),
        # Others divide by it, and the superblock may lie.
        blocks_per_group=max(per_group, 1),
        # Revision 0 has no field for the size of an inode: it is 128.
        inode_blocks_per_group=-(-inodes_per_group * (inode_size or 128) // block_size),
        inodes_per_group=inodes_per_group,
        reserved_gdt_blocks=reserved_gdt,
        descriptor_size=_descriptor_size(descriptor_size, block_size, incompat),
        groups_per_flex=1 << min(raw[_LOG_GROUPS_PER_FLEX_AT], 31)
        if incompat & _INCOMPAT_FLEX_BG
        else 1,
    )


def _descriptor_size(said: int, block_size: int, incompat: int) -> int:
    # Without 64bit the field means nothing (EXT4_DESC_SIZE).
    if not incompat & _INCOMPAT_64BIT:
        return _SMALL_DESCRIPTOR
    # No kernel mounts one with another size; others divide by it.
    possible = _LARGE_DESCRIPTOR <= said <= block_size and said.bit_count() == 1
    return said if possible else _LARGE_DESCRIPTOR


def _external_journal(block: _Superblock, raw: bytes) -> str:
    uuid, inode = _JOURNAL.unpack_from(raw)
    return dashed(uuid) if block.compat & _COMPAT_JOURNAL and not inode else ""


def _is_sound(block: _Superblock, raw: bytes) -> bool:
    if block.magic != _MAGIC or block.log_block_size > 6 or block.blocks == 0:
        return False
    if block.ro_compat & _RO_COMPAT_CHECKSUM:
        # The checksum is the last field, and of all before it.
        return crc32c(raw[:_CHECKSUM_AT]) == int.from_bytes(raw[_CHECKSUM_AT:], "little")
    return True


def _with_high_halves(block: _Superblock, raw: bytes) -> tuple[int, int, int]:
    if not block.incompat & _INCOMPAT_64BIT:
        return block.blocks, block.reserved, block.free
    blocks_high, reserved_high, free_high = _HIGH.unpack_from(raw, _HIGH_AT)
    return (
        block.blocks | blocks_high << 32,
        block.reserved | reserved_high << 32,
        block.free | free_high << 32,
    )


def _kind(block: _Superblock) -> str:
    # A feature that ext2 or ext3 cannot have makes it ext4, journal or not.
    old = not block.ro_compat & ~_EXT2_RO_COMPAT
    if block.compat & _COMPAT_JOURNAL:
        return "ext3" if old and not block.incompat & ~_EXT3_INCOMPAT else "ext4"
    return "ext2" if old and not block.incompat & ~_EXT2_INCOMPAT else "ext4"


# CRC-32C (Castagnoli), which ext4 uses for checksums and the standard library lacks. Fit for a
# superblock or so.

_REVERSED_POLYNOMIAL = 0x82F63B78


def _row(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_REVERSED_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = tuple(map(_row, range(256)))


def crc32c(data: bytes) -> int:
    """As the kernel's crc32c() from ~0: the result is not inverted."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc


# What of it is its own: tables and journal, which df counts neither as used nor as room.
#
# The kernel counts it again at each mount (fs/ext4/super.c, ext4_calculate_overhead). With
# bigalloc, where that takes long, it believes the number in the superblock if there is one.

_META_BG, _EXTENTS, _BIGALLOC = 0x10, 0x40, 0x200
_BITMAPS = 2
_KEPT_SHARE, _MOST_KEPT = 50, 4096
_FIRST_META_GROUP_AT, _JOURNAL_SIZE_AT, _COUNTED_AT = 0x104, 0x148, 0x248
_JOURNAL_BACKED_UP_AT, _BACKED_UP = 0xFD, 1


def kept_blocks(content: ExtContent) -> int:
    """Blocks that the kernel reserves beside root's: a 50th, at most 4096 clusters.

    Source: ext4_set_resv_clusters.
    """
    # They are for new metadata of extents that have to be split: without extents there are none.
    if not content.incompat & _EXTENTS:
        return 0
    per_cluster = _blocks_per_cluster(content)
    return per_cluster * min(content.block_count // per_cluster // _KEPT_SHARE, _MOST_KEPT)


def overhead_blocks(content: ExtContent, superblock: bytes) -> int:
    (counted,) = struct.unpack_from("<I", superblock, _COUNTED_AT)
    # s_overhead_clusters counts clusters; everything here counts blocks.
    counted *= _blocks_per_cluster(content)
    if content.ro_compat & _BIGALLOC and 0 < counted <= content.block_count:
        return int(counted)
    (first_meta_group,) = struct.unpack_from("<I", superblock, _FIRST_META_GROUP_AT)
    groups = -(-(content.block_count - content.first_data_block) // content.blocks_per_group)
    tables = groups * (_BITMAPS + content.inode_blocks_per_group)
    found = content.first_data_block + tables + _copies(content, groups, first_meta_group)
    return min(found + _journal_blocks(content, superblock), content.block_count)


def _blocks_per_cluster(content: ExtContent) -> int:
    """One without bigalloc, whatever the superblock says then."""
    return (
        max(content.cluster_size // content.block_size, 1) if content.ro_compat & _BIGALLOC else 1
    )


def _copies(content: ExtContent, groups: int, first_meta_group: int) -> int:
    """Blocks of superblock and group descriptors, with all copies and what is reserved for more."""
    in_a_block = content.block_size // content.descriptor_size
    descriptors = -(-groups // in_a_block)
    # With meta_bg, only the first s_first_meta_bg blocks of descriptors are copied to each group
    # with a superblock; each later block has two copies near the groups that it describes.
    elsewhere = 0
    if content.incompat & _META_BG:
        # A block for in_a_block groups, in the first, the second and the last of them.
        old = min(first_meta_group, descriptors)
        elsewhere = 3 * (descriptors - old) - _lacking(groups, in_a_block, descriptors - old)
        descriptors = old
    return (
        groups_with_superblock(content, groups) * (1 + descriptors + content.reserved_gdt_blocks)
        + elsewhere
    )


def _lacking(groups: int, in_a_block: int, meta_groups: int) -> int:
    """The last meta group may not have all three."""
    rest = groups % in_a_block
    return 3 - min(rest, 2) if rest and meta_groups else 0


def _journal_blocks(content: ExtContent, superblock: bytes) -> int:
    if not content.compat & _COMPAT_JOURNAL or content.external_journal:
        return 0
    if superblock[_JOURNAL_BACKED_UP_AT] != _BACKED_UP:
        return 0  # made before 2003, and not checked since
    # The last two of s_jnl_blocks: a copy of the journal inode's i_size, the upper half first.
    high, low = struct.unpack_from("<II", superblock, _JOURNAL_SIZE_AT)
    return int((high << 32 | low) // content.block_size)
