"""The boot sector of FAT12, FAT16 and FAT32 (Microsoft's fatgen103). blkid calls all of them vfat.

There is no magic worth the name: several fields must make sense together. The label is the boot sector's copy.
"""

from __future__ import annotations

import struct

from growdisk.filesystems.content import Content, FixedContent

_BOOT_SECTOR = struct.Struct("<11xHBHBHHBH8xI")
_FAT16_FIELDS = 39  # volume id, label, type
_FAT32_FIELDS = 67
_FIELDS = struct.Struct("<I11s8s")


def read_fat(head: bytes) -> Content | None:
    if len(head) < 512 or head[510:512] != b"\x55\xaa":
        return None
    sector_size, per_cluster, reserved, fats, _root, short_count, media, short_fat, count = _BOOT_SECTOR.unpack_from(
        head
    )
    if sector_size not in (512, 1024, 2048, 4096) or per_cluster == 0 or per_cluster & (per_cluster - 1):
        return None
    if reserved == 0 or fats not in (1, 2) or not (media == 0xF0 or media >= 0xF8):
        return None
    serial, label, kind = _FIELDS.unpack_from(head, _FAT16_FIELDS if short_fat else _FAT32_FIELDS)
    if not kind.startswith(b"FAT"):
        return None
    uuid = f"{serial >> 16:04X}-{serial & 0xFFFF:04X}"
    return FixedContent("vfat", uuid, _label(label), (short_count or count) * sector_size)


def read_exfat(head: bytes) -> Content | None:
    """exFAT has a real signature (Microsoft's exFAT specification, "Main Boot Sector")."""
    if len(head) < 512 or head[3:11] != b"EXFAT   " or head[510:512] != b"\x55\xaa" or not 9 <= head[108] <= 12:
        return None
    sectors, serial = int.from_bytes(head[72:80], "little"), int.from_bytes(head[100:104], "little")
    return FixedContent("exfat", f"{serial >> 16:04X}-{serial & 0xFFFF:04X}", size=sectors << head[108])


def _label(raw: bytes) -> str:
    label = raw.decode("latin-1").rstrip()
    return "" if label == "NO NAME" else label
