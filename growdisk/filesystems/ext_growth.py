"""How large resize2fs makes an ext file system: whole pages of whole clusters, no tiny last group.

A last group that could not hold its own tables and 50 blocks more is left out (e2fsprogs,
resize2fs.c, adjust_fs_info). Knowing that beforehand, growdisk can tell a file system that is fully
grown from one that is not.
"""

from __future__ import annotations

from growdisk.filesystems.content import ExtContent
from growdisk.units import align_down, align_up

_PAGE = 4096
_CLUSTER = 64 << 10  # of most images: what lies alone takes one
_LEAST_DATA_BLOCKS = 50
_SPARSE_SUPER, _SPARSE_SUPER2 = 0x1, 0x200
_BIGALLOC = 0x200
_BITMAPS = 2


def grown_size(content: ExtContent, partition_size: int) -> int:
    """Bytes of the file system after resize2fs on a partition of `partition_size` bytes.

    Never less than now.
    """
    # Without bigalloc the field says nothing that resize2fs would heed.
    clusters = content.cluster_size if content.ro_compat & _BIGALLOC else 0
    whole = max(_PAGE, content.block_size, clusters)
    blocks = align_down(partition_size, whole) // content.block_size
    # What the last group would have; 0 is a full group.
    rest = (blocks - content.first_data_block) % content.blocks_per_group
    if rest and _is_too_small(content, blocks, rest):
        blocks -= rest
    return max(blocks, content.block_count) * content.block_size


def most_blocks(content: ExtContent) -> int:
    """The most blocks that resize2fs can grow it to without harm."""
    # All group descriptors must fit into one group, beside its superblock, bitmaps and inode table.
    # resize2fs refuses only if they do not fit alone (main.c): in between it destroys data.
    others = 1 + _BITMAPS + content.inode_blocks_per_group + _LEAST_DATA_BLOCKS
    descriptors = content.blocks_per_group - content.first_data_block - others
    groups = max(descriptors, 1) * (content.block_size // content.descriptor_size)
    # Inodes are counted in 32 bits: beyond that resize2fs refuses.
    groups = min(groups, ((1 << 32) - 1) // (content.inodes_per_group or 1))
    return max(groups * content.blocks_per_group + content.first_data_block, content.block_count)


def size_in_place(content: ExtContent) -> int:
    """Bytes that its blocks of group descriptors, and those reserved for them, are enough for.

    For more, resize2fs moves what is in the way.
    """
    descriptors = content.block_size // content.descriptor_size
    each = descriptors * content.blocks_per_group * content.block_size
    return (-(-(content.size or 0) // each) + content.reserved_gdt_blocks) * each


def written_by_growth(content: ExtContent, size: int) -> tuple[int, int]:
    """(places, bytes) that resize2fs writes where nothing was: bitmaps, and copies of descriptors.

    Copies of the superblock too. Inode tables are left for later, or are zeros.
    """
    per_group = content.blocks_per_group * content.block_size
    first, groups = -(-(content.size or 0) // per_group), -(-size // per_group)
    # A flexible group keeps the bitmaps of all its groups in one place: that is one place of the
    # image. With checksums, the bitmaps of a group with nothing in it are not even written.
    places = -(-max(groups - first, 0) // content.groups_per_flex)
    descriptors = align_up(groups * content.descriptor_size, content.block_size)
    # Without flexible groups a copy lies in the same cluster as its group's bitmaps, which `places`
    # has counted. With them it lies alone, and takes a cluster of the image at least.
    each = descriptors if content.groups_per_flex == 1 else align_up(descriptors, _CLUSTER)
    return places, _new_copies(content, first, groups) * each


def _new_copies(content: ExtContent, first: int, groups: int) -> int:
    """How many of the groups [first, groups) get a copy of the superblock."""
    if content.compat & _SPARSE_SUPER2:
        # resize2fs moves the last of its copies into the new last group.
        return int(groups > first and any(content.backup_groups))
    old, new = (groups_with_superblock(content, count) for count in (first, groups))
    return max(new - old, 0)


def groups_with_superblock(content: ExtContent, groups: int) -> int:
    """How many of so many groups have the superblock or a copy of it."""
    if content.compat & _SPARSE_SUPER2:
        return min(groups, 1 + sum(group > 0 for group in content.backup_groups))
    if not content.ro_compat & _SPARSE_SUPER:
        return groups
    # Group 0 has the superblock itself.
    return min(groups, 1) + len(_odd_powers(groups))


def _odd_powers(limit: int) -> list[int]:
    """1 and the powers of 3, 5 and 7 below `limit`."""
    return sorted({base**power for base in (3, 5, 7) for power in range(64) if base**power < limit})


def _is_too_small(content: ExtContent, blocks: int, rest: int) -> bool:
    groups = -(-(blocks - content.first_data_block) // content.blocks_per_group)
    overhead = _BITMAPS + content.inode_blocks_per_group
    if _last_has_superblock(content, groups):
        descriptors = (
            align_up(groups * content.descriptor_size, content.block_size) // content.block_size
        )
        overhead += 1 + descriptors + content.reserved_gdt_blocks
    return groups > 1 and rest < overhead + _LEAST_DATA_BLOCKS


def _last_has_superblock(content: ExtContent, groups: int) -> bool:
    """Whether resize2fs will put a copy of the superblock into the last of so many groups."""
    if content.compat & _SPARSE_SUPER2:
        # The second copy moves there, if there is one.
        return any(content.backup_groups[:1] if groups == 2 else content.backup_groups[1:])
    return has_superblock(content, groups - 1)


def has_superblock(content: ExtContent, group: int) -> bool:
    """Whether a group begins with the superblock or a copy of it (ext4_bg_has_super)."""
    # sparse_super2 counts more than sparse_super, if a file system has both.
    if content.compat & _SPARSE_SUPER2:
        return group == 0 or group in content.backup_groups
    if group <= 1 or not content.ro_compat & _SPARSE_SUPER:
        return True
    return group in _odd_powers(group + 1)
