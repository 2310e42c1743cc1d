"""The features of ext file systems: their names, who knows them, which deserve a kernel's check.

Names and bits: e2fsprogs, lib/e2p/feature.c and lib/ext2fs/ext2_fs.h; the kernel's: Linux
fs/ext4/ext4.h.
"""

from __future__ import annotations

from collections.abc import Mapping

from growdisk.filesystems.content import ExtContent

# The place in each list is the number of the bit; "" is a bit that has no name there.
_COMPAT = (
    "dir_prealloc", "imagic_inodes", "has_journal", "ext_attr", "resize_inode", "dir_index",
    "lazy_bg", "", "snapshot_bitmap", "sparse_super2", "fast_commit", "stable_inodes",
    "orphan_file",
)  # fmt: skip
_INCOMPAT = (
    "compression", "filetype", "needs_recovery", "journal_dev", "meta_bg", "", "extent", "64bit",
    "mmp", "flex_bg", "ea_inode", "", "dirdata", "metadata_csum_seed", "large_dir", "inline_data",
    "encrypt", "casefold",
)  # fmt: skip
_RO_COMPAT = (
    "sparse_super", "large_file", "btree_dir", "huge_file", "uninit_bg", "dir_nlink", "extra_isize",
    "snapshot", "quota", "bigalloc", "metadata_csum", "replica", "read-only", "project",
    "shared_blocks", "verity", "orphan_present",
)  # fmt: skip
# Since when e2fsprogs works on them; those that are not named have been known for ten years.
_SINCE: Mapping[str, tuple[int, int]] = {
    "shared_blocks": (1, 45),
    "verity": (1, 45),
    "casefold": (1, 45),
    "fast_commit": (1, 46),
    "stable_inodes": (1, 46),
    "orphan_file": (1, 47),
    "orphan_present": (1, 47),
}
# The newest e2fsprogs that the table above describes.
_TABLE_IS_OF = (1, 47)
# Bits that have a name and nobody who works on them: e2fsck and resize2fs refuse them in every
# version.
_NOBODYS = frozenset(
    {"compression", "dirdata", "snapshot", "replica", "btree_dir", "imagic_inodes", "lazy_bg"}
)
# What mke2fs has made by default in the last ten years, and what of older systems is still met
# every day.
_EVERYDAY = frozenset(
    (
        "has_journal", "ext_attr", "resize_inode", "dir_index", "filetype", "needs_recovery",
        "extent", "64bit", "flex_bg", "sparse_super", "large_file", "huge_file", "uninit_bg",
        "dir_nlink", "extra_isize", "metadata_csum", "metadata_csum_seed",
    )
)  # fmt: skip
# casefold needs CONFIG_UNICODE, which the kernel of Debian's user-mode-linux is built without. A
# kernel without fs-verity mounts a file system with verity: only sealed files cannot be opened.
_NOT_FOR_KERNELS = _NOBODYS | {"casefold", "snapshot_bitmap", "shared_blocks"}
# What says nothing of where files lie, or what ext_tree.py reads.
_READ = frozenset(
    (
        "filetype", "needs_recovery", "meta_bg", "extent", "64bit", "mmp", "flex_bg", "ea_inode",
        "metadata_csum_seed", "large_dir", "inline_data", "encrypt", "casefold",
    )
)  # fmt: skip
# What a program has to know before it writes; debugfs knows it, or none of our writes concerns it.
_WRITTEN = frozenset(
    (
        "sparse_super", "large_file", "huge_file", "uninit_bg", "dir_nlink", "extra_isize", "quota",
        "bigalloc", "metadata_csum", "project", "verity", "orphan_present",
    )
)  # fmt: skip
_KERNEL_PAGE = 4096
_EVERYDAY_FACTOR = 64


def feature_names(content: ExtContent) -> tuple[str, ...]:
    """All features, as dumpe2fs names them; FEATURE_I20 is a bit without a name."""
    return (
        *_named(content.compat, _COMPAT, "C"),
        *_named(content.incompat, _INCOMPAT, "I"),
        *_named(content.ro_compat, _RO_COMPAT, "R"),
    )


def has_feature(content: ExtContent, name: str) -> bool:
    return name in feature_names(content)


def unknown_to_tools(content: ExtContent, version: tuple[int, int]) -> tuple[str, ...]:
    """The features that e2fsprogs of that version does not work on."""
    names = feature_names(content)
    if version > _TABLE_IS_OF:
        return ()  # it may know more than this table: e2fsck will say
    return tuple(
        name
        for name in names
        if name in _NOBODYS or name.startswith("FEATURE_") or version < _SINCE.get(name, (0, 0))
    )


def unknown_layout(content: ExtContent) -> tuple[str, ...]:
    """The features with which files may lie elsewhere than where growdisk looks for them."""
    return tuple(name for name in _named(content.incompat, _INCOMPAT, "I") if name not in _READ)


def unknown_to_writers(content: ExtContent) -> tuple[str, ...]:
    """The features with which growdisk must not write into the blocks of a file."""
    names = _named(content.ro_compat, _RO_COMPAT, "R")
    return tuple(name for name in names if name not in _WRITTEN)


def is_unusual(content: ExtContent) -> bool:
    """Whether it is worth asking which e2fsprogs this machine has: that starts a program."""
    return not _EVERYDAY.issuperset(feature_names(content))


def kernel_can_mount(content: ExtContent) -> bool:
    """Whether the kernels that growdisk starts (Debian's, 6.1 and later) mount such a file system.

    A journal on a device of its own is not considered.
    """
    names = feature_names(content)
    known = _NOT_FOR_KERNELS.isdisjoint(names) and not any(
        name.startswith("FEATURE_") for name in names
    )
    fits = (
        content.block_size == _KERNEL_PAGE
        if "verity" in names
        else content.block_size <= _KERNEL_PAGE
    )
    return known and fits  # since Linux 6.3, verity goes with smaller blocks too


def grows_far(content: ExtContent, new_size: int, old_size: int | None = None) -> bool:
    return new_size > _EVERYDAY_FACTOR * (old_size or content.size or 1)


def doubt(content: ExtContent, new_size: int, old_size: int | None = None) -> str:
    """Why e2fsck alone is not judge enough of its growth; "" for the everyday case.

    The rule: a kernel must mount what has a feature that is not met every day, and what becomes
    more than 64 times as large. resize2fs 1.47 leaves the checksums of an orphan_file stale, and
    cannot make room for the group descriptors of a tiny file system that becomes huge; so such a
    one is best grown mounted.
    """
    if rare := [name for name in feature_names(content) if name not in _EVERYDAY]:
        return f"it has {' and '.join(rare)}"
    if grows_far(content, new_size, old_size):
        return f"it becomes more than {_EVERYDAY_FACTOR} times as large"
    return ""


def _named(bits: int, names: tuple[str, ...], letter: str) -> list[str]:
    """Each bit that is set by its name."""
    return [
        (names[bit] if bit < len(names) else "") or f"FEATURE_{letter}{bit}"
        for bit in range(bits.bit_length())
        if bits >> bit & 1
    ]
