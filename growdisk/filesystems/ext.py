"""The superblock of ext2, ext3 and ext4 (kernel documentation: filesystems/ext4, "Super Block").

It is at byte 1024 for all block sizes. ext2 and ext3 differ from ext4 only by the features
they may have; blkid's rule is followed. One whose checksum is wrong is not an ext superblock,
as it is none for the kernel and blkid.
"""

from __future__ import annotations

import struct

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import NamedTuple, replace
from growdisk.filesystems.content import Content, ExtContent, JournalContent, dashed, text
from growdisk.filesystems.ext_growth import groups_with_superblock

SUPERBLOCK_OFFSET = 1024
SUPERBLOCK_SIZE = 1024
_BOOT_CODE = 440
_SMALL_DESCRIPTOR, _LARGE_DESCRIPTOR = 32, 64
_MAGIC = 0xEF53
_STATE_CLEAN = 1
# In the superblock, the number of the MMP block; its magic, and what e2fsck writes after it.
_MMP_BLOCK_AT, _MMP_MAGIC, _MMP_CHECKED = 0x168, 0x004D4D50, 0xE24D4D50
_COMPAT_JOURNAL = 0x4
_INCOMPAT_RECOVER, _INCOMPAT_JOURNAL_DEVICE, _INCOMPAT_64BIT = 0x4, 0x8, 0x80
_INCOMPAT_FLEX_BG = 0x200
_RO_COMPAT_CHECKSUM = 0x400
_EXT2_INCOMPAT = 0x2 | 0x10  # filetype, meta_bg
_EXT3_INCOMPAT = _EXT2_INCOMPAT | _INCOMPAT_RECOVER
_EXT2_RO_COMPAT = 0x1 | 0x2 | 0x4  # sparse_super, large_file, btree_dir
# The fields of Superblock, in its order.
_SUPERBLOCK = struct.Struct(
    "<4xIII4xIIII4xI12xHH28xH2xIII16s16s70xH16sI25xBH4xI64xIIIII24xB211xIII424xI"
)
# The image may lie: this bounds what is shifted by its numbers. 1024 << 20 is 1 GiB.
_MOST_LOG_CLUSTER = 20


class Superblock(NamedTuple):
    """What is read of it, as it is written; `high_…` are upper 32 bits, which count with 64bit."""

    low_blocks: int
    low_reserved: int
    low_free: int
    first_data_block: int
    log_block_size: int
    log_cluster_size: int
    blocks_per_group: int
    inodes_per_group: int
    magic: int
    state: int
    inode_size: int
    compat: int
    incompat: int
    ro_compat: int
    uuid: bytes
    label: bytes
    reserved_gdt_blocks: int
    journal_uuid: bytes
    journal_inode: int
    journal_backed_up: int
    descriptor_size: int
    first_meta_group: int
    journal_size_high: int
    journal_size_low: int
    high_blocks: int
    high_reserved: int
    high_free: int
    log_groups_per_flex: int
    overhead_clusters: int
    first_backup: int
    second_backup: int
    checksum: int

    @property
    def block_size(self) -> int:
        return 1024 << self.log_block_size

    @property
    def real_inode_size(self) -> int:
        """Revision 0 has no field for the size of an inode: it is 128."""
        return self.inode_size or 128


def read_superblock(head: bytes) -> Superblock | None:
    """`head` is the beginning of the device; None unless there is a sound one."""
    raw = head[SUPERBLOCK_OFFSET : SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE]
    if len(raw) < SUPERBLOCK_SIZE:
        return None
    block = Superblock(*_SUPERBLOCK.unpack(raw))
    if block.magic != _MAGIC or block.log_block_size > 6 or block.low_blocks == 0:
        return None
    # The checksum is the last field, and of all before it.
    if block.ro_compat & _RO_COMPAT_CHECKSUM and crc32c(raw[:-4]) != block.checksum:
        return None
    return block


def read_ext(head: bytes) -> Content | None:
    """`head` is the beginning of the device."""
    block = read_superblock(head)
    if block is None:
        return None
    size, uuid, label = block.block_size, dashed(block.uuid), text(block.label)
    if block.incompat & _INCOMPAT_JOURNAL_DEVICE:
        # The superblock of an external journal (mke2fs -O journal_dev) is there only for its UUID
        # and size.
        return JournalContent("jbd", uuid, label, size * block.low_blocks)
    blocks, reserved, free = block.low_blocks, block.low_reserved, block.low_free
    if block.incompat & _INCOMPAT_64BIT:
        blocks |= block.high_blocks << 32
        reserved |= block.high_reserved << 32
        free |= block.high_free << 32
    has_journal, is_flexible = block.compat & _COMPAT_JOURNAL, block.incompat & _INCOMPAT_FLEX_BG
    content = ExtContent(
        _kind(block),
        uuid,
        label,
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
        first_data_block=block.first_data_block,
        cluster_size=1024 << min(block.log_cluster_size, _MOST_LOG_CLUSTER),
        # Others divide by it, and the superblock may lie.
        blocks_per_group=max(block.blocks_per_group, 1),
        inode_blocks_per_group=-(-block.inodes_per_group * block.real_inode_size // size),
        inodes_per_group=block.inodes_per_group,
        reserved_gdt_blocks=block.reserved_gdt_blocks,
        descriptor_size=_descriptor_size(block),
        external_journal=dashed(block.journal_uuid)
        if has_journal and not block.journal_inode
        else "",
        groups_per_flex=1 << min(block.log_groups_per_flex, 31) if is_flexible else 1,
        backup_groups=(block.first_backup, block.second_backup),
        starts=any(head[:_BOOT_CODE]),
    )
    # Both are computed from the other fields, so the value must exist before they can be filled in.
    return replace(
        content, kept_blocks=_kept_blocks(content), overhead_blocks=_overhead_blocks(content, block)
    )


def is_in_check(device: BlockDevice, content: ExtContent) -> bool:
    """Whether an e2fsck has marked it in its block of multiple mount protection (MMP)."""
    (number,) = struct.unpack("<Q", device.read(SUPERBLOCK_OFFSET + _MMP_BLOCK_AT, 8))
    at = number * content.block_size
    marked = device.read(at, 8) if at + 8 <= device.size else b""
    return marked == struct.pack("<II", _MMP_MAGIC, _MMP_CHECKED)


def _descriptor_size(block: Superblock) -> int:
    # Without 64bit the field means nothing (EXT4_DESC_SIZE).
    if not block.incompat & _INCOMPAT_64BIT:
        return _SMALL_DESCRIPTOR
    # No kernel mounts one with another size; others divide by it.
    said = block.descriptor_size
    possible = _LARGE_DESCRIPTOR <= said <= block.block_size and said.bit_count() == 1
    return said if possible else _LARGE_DESCRIPTOR


def _kind(block: Superblock) -> str:
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
_BACKED_UP = 1


def _kept_blocks(content: ExtContent) -> int:
    """What the kernel reserves beside root's blocks (ext4_set_resv_clusters)."""
    # They are for new metadata of extents that have to be split: without extents there are none.
    if not content.incompat & _EXTENTS:
        return 0
    per_cluster = _blocks_per_cluster(content)
    return per_cluster * min(content.block_count // per_cluster // _KEPT_SHARE, _MOST_KEPT)


def _overhead_blocks(content: ExtContent, block: Superblock) -> int:
    # s_overhead_clusters counts clusters; everything here counts blocks.
    counted = block.overhead_clusters * _blocks_per_cluster(content)
    if content.ro_compat & _BIGALLOC and 0 < counted <= content.block_count:
        return counted
    tables = content.groups * (_BITMAPS + content.inode_blocks_per_group)
    found = content.first_data_block + tables + _copies(content, block.first_meta_group)
    return min(found + _journal_blocks(content, block), content.block_count)


def _blocks_per_cluster(content: ExtContent) -> int:
    """One without bigalloc, whatever the superblock says then."""
    return (
        max(content.cluster_size // content.block_size, 1) if content.ro_compat & _BIGALLOC else 1
    )


def _copies(content: ExtContent, first_meta_group: int) -> int:
    """Blocks of superblock and group descriptors, with all copies and what is reserved for more."""
    groups, in_a_block = content.groups, content.block_size // content.descriptor_size
    descriptors = -(-groups // in_a_block)
    # With meta_bg, only the first s_first_meta_bg blocks of descriptors are copied to each group
    # with a superblock; each later block has two copies near the groups that it describes.
    elsewhere = 0
    if content.incompat & _META_BG:
        # A block for in_a_block groups, in the first, the second and the last of them.
        old = min(first_meta_group, descriptors)
        elsewhere = 3 * (descriptors - old)
        # The last meta group may not have all three.
        if elsewhere and (rest := groups % in_a_block):
            elsewhere -= 3 - min(rest, 2)
        descriptors = old
    return (
        groups_with_superblock(content, groups) * (1 + descriptors + content.reserved_gdt_blocks)
        + elsewhere
    )


def _journal_blocks(content: ExtContent, block: Superblock) -> int:
    if not content.compat & _COMPAT_JOURNAL or content.external_journal:
        return 0
    if block.journal_backed_up != _BACKED_UP:
        return 0  # made before 2003, and not checked since
    # The last two of s_jnl_blocks: a copy of the journal inode's i_size, the upper half first.
    return (block.journal_size_high << 32 | block.journal_size_low) // content.block_size
