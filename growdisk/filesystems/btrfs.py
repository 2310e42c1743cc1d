"""The first superblock of btrfs (btrfs documentation, "On-disk format"): at 64 KiB."""

from __future__ import annotations

import struct

from growdisk.filesystems.content import BtrfsContent, Content, dashed, text
from growdisk.units import align_down

SUPERBLOCK_OFFSET = 64 << 10
# UUID, flags, magic, total bytes, used bytes, number of devices, sector size, ro_compat and
# incompat features; of the device that this copy is on: its id and size; label.
_SUPERBLOCK = struct.Struct("<32x16s8xQ8s40xQQ8xQI32xQQ5xQQ82x256s")
# BTRFS_SUPER_FLAG_SEEDING; METADUMP and METADUMP_V2; CHANGING_FSID and its V2
# (uapi/linux/btrfs_tree.h).
_SEED, _DUMPS, _CHANGING = 1 << 32, 3 << 33, 3 << 35
_ZONED = 1 << 12
# free space trees, verity, block group trees; up to raid1c34
_KNOWN_RO_COMPAT, _KNOWN_INCOMPAT = 0xF, 0xFFF
_PAGE = 4096


def read_btrfs(head: bytes) -> Content | None:
    if len(head) < SUPERBLOCK_OFFSET + _SUPERBLOCK.size:
        return None
    fields = _SUPERBLOCK.unpack_from(head, SUPERBLOCK_OFFSET)
    uuid, flags, magic, size, used, devices, sector_size, *rest = fields
    ro_compat, incompat, device_id, device_size, label = rest
    if magic != b"_BHRfS_M":
        return None
    return BtrfsContent(
        "btrfs",
        dashed(uuid),
        text(label),
        size,
        used,
        sector_size=sector_size,
        devices=devices,
        device_id=device_id,
        device_size=device_size,
        unfit=_unfit(flags, sector_size, ro_compat, incompat),
    )


def _unfit(flags: int, sector_size: int, ro_compat: int, incompat: int) -> str:
    if flags & _SEED:
        return (
            "its btrfs is a seed, which nobody may write to (btrfstune -S 0 makes it an "
            "ordinary one)"
        )
    if flags & (_DUMPS | _CHANGING):
        return "its btrfs is a mere dump of metadata, or its UUID is just being changed (btrfstune)"
    if incompat & _ZONED:
        return "its btrfs is made for zoned devices, which this disk is not"
    if sector_size != _PAGE:
        return (
            f"its btrfs has sectors of {sector_size} bytes, and this machine's kernels mount "
            f"those of {_PAGE}"
        )
    # One number for the message: unknown ro_compat bits shifted by 32, incompat bits as they are.
    if unknown := (ro_compat & ~_KNOWN_RO_COMPAT) << 32 | incompat & ~_KNOWN_INCOMPAT:
        return f"its btrfs has features ({unknown:#x}) that Linux 6.1 does not know"
    return ""


def grown_btrfs(content: BtrfsContent, device_size: int) -> int:
    """Bytes of a file system on one device after `btrfs filesystem resize max`."""
    # The kernel rounds the size of the device down to whole sectors.
    return max(align_down(device_size, content.sector_size or 4096), content.size or 0)
