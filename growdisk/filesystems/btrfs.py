"""The first superblock of btrfs (btrfs documentation, "On-disk format"): at 64 KiB."""

from __future__ import annotations

import struct

from growdisk.filesystems.content import BtrfsContent, Content, dashed, text
from growdisk.units import align_down

SUPERBLOCK_OFFSET = 64 << 10
#  uuid, magic, total bytes, used bytes, devices, sector size, this device: id, bytes; label
_SUPERBLOCK = struct.Struct("<32x16s16x8s40xQQ8xQI53xQQ82x256s")


def read_btrfs(head: bytes) -> Content | None:
    if len(head) < SUPERBLOCK_OFFSET + _SUPERBLOCK.size:
        return None
    uuid, magic, size, used, devices, sector_size, device_id, device_size, label = _SUPERBLOCK.unpack_from(
        head, SUPERBLOCK_OFFSET
    )
    if magic != b"_BHRfS_M":
        return None
    return BtrfsContent(
        "btrfs", dashed(uuid), text(label), size, used,
        sector_size=sector_size, devices=devices, device_id=device_id, device_size=device_size,
    )  # fmt: skip


def grown_btrfs(content: BtrfsContent, device_size: int) -> int:
    """Bytes of a file system on one device after `btrfs filesystem resize max`."""
    return max(align_down(device_size, content.sector_size or 4096), content.size or 0)
