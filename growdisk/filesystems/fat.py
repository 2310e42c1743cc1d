"""The boot sector of FAT12, FAT16 and FAT32 (Microsoft's fatgen103). blkid calls all of them vfat.

There is no reliable magic: several fields must make sense together. The label is the boot
sector's copy.
"""

from __future__ import annotations

import struct

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import NamedTuple, replace
from growdisk.filesystems.content import Content, FixedContent
from growdisk.units import align_up

# Bytes per sector, sectors per cluster, reserved sectors, FATs, root entries, sectors (16 bits),
# medium, sectors per FAT (16 bits), sectors (32 bits).
_BOOT_SECTOR = struct.Struct("<11xHBHBHHBH8xI")
_FAT16_FIELDS = 39  # volume id, label, type
_FAT32_FIELDS = 67
_FIELDS = struct.Struct("<I11s8s")
_SHORT_FAT_AT = slice(22, 24)
_SECTORS_PER_FAT32_AT, _FSINFO_AT = slice(36, 40), slice(48, 50)
_FSINFO = struct.Struct("<484x4sI")  # of FAT32: a signature, free clusters
_UNKNOWN = 0xFFFFFFFF
_EXFAT_PERCENT_AT, _PERCENT_UNKNOWN = 112, 0xFF


class FatLayout(NamedTuple):
    """Where its parts lie, in bytes. FAT12 and FAT16 have the root directory before the data."""

    sector_size: int
    cluster_size: int
    fat_at: int
    fat_size: int
    root_at: int
    root_size: int
    data_at: int
    clusters: int

    @property
    def bits(self) -> int:
        """fatgen103: nothing but the number of clusters tells FAT12, FAT16 and FAT32 apart."""
        return 12 if self.clusters < 4085 else 16 if self.clusters < 65525 else 32


def layout_of(head: bytes) -> FatLayout:
    """Of a boot sector for which read_fat() has found a content."""
    sector, per_cluster, reserved, fats, root_entries, short_count, _media, short_fat, count = (
        _BOOT_SECTOR.unpack_from(head)
    )
    fat_size = sector * (short_fat or int.from_bytes(head[_SECTORS_PER_FAT32_AT], "little"))
    root_at, root_size = reserved * sector + fats * fat_size, root_entries * 32
    data_at = root_at + align_up(root_size, sector)
    cluster = sector * per_cluster
    # What is left for clusters: without reserved sectors, FATs and the fixed root directory.
    clusters = ((short_count or count) * sector - data_at) // cluster
    return FatLayout(
        sector, cluster, reserved * sector, fat_size, root_at, root_size, data_at, clusters
    )


def read_fat(head: bytes) -> Content | None:
    if len(head) < 512 or head[510:512] != b"\x55\xaa":
        return None
    sector_size, per_cluster, reserved, fats, _root, short_count, media, short_fat, count = (
        _BOOT_SECTOR.unpack_from(head)
    )
    if (
        sector_size not in (512, 1024, 2048, 4096)
        or per_cluster == 0
        or per_cluster & (per_cluster - 1)
    ):
        return None
    # fatgen103: 0xF0 is a removable medium, 0xF8 a fixed one; 0xF9 to 0xFF are allowed, too.
    if reserved == 0 or fats not in (1, 2) or not (media == 0xF0 or media >= 0xF8):
        return None
    # FAT32 has no 16-bit number of sectors per FAT; its fields come 28 bytes later.
    serial, label, kind = _FIELDS.unpack_from(head, _FAT16_FIELDS if short_fat else _FAT32_FIELDS)
    if not kind.startswith(b"FAT"):
        return None
    uuid = f"{serial >> 16:04X}-{serial & 0xFFFF:04X}"
    name = label.decode("latin-1").rstrip()
    size = (short_count or count) * sector_size
    return FixedContent("vfat", uuid, "" if name == "NO NAME" else name, size)


def read_exfat(head: bytes) -> Content | None:
    """exFAT has a real signature (Microsoft's exFAT specification, "Main Boot Sector")."""
    if (
        len(head) < 512
        or head[3:11] != b"EXFAT   "
        or head[510:512] != b"\x55\xaa"
        or not 9 <= head[108] <= 12
    ):
        return None
    sectors, serial = int.from_bytes(head[72:80], "little"), int.from_bytes(head[100:104], "little")
    return FixedContent(
        "exfat", f"{serial >> 16:04X}-{serial & 0xFFFF:04X}", size=sectors << head[108]
    )


def with_usage(device: BlockDevice, content: FixedContent) -> FixedContent:
    """`content` with its usage: counted for FAT12 and FAT16, stored (if known) for FAT32, exFAT."""
    head = device.read(0, 512)
    size = content.size or 0
    if content.kind == "exfat":
        percent = head[_EXFAT_PERCENT_AT]
        if percent == _PERCENT_UNKNOWN:
            return content
        return replace(content, used=size * min(percent, 100) // 100)
    free = _free_bytes(device, head)
    return content if free is None else replace(content, used=max(size - free, 0))


def _free_bytes(device: BlockDevice, head: bytes) -> int | None:
    layout = layout_of(head)
    clusters, has_fsinfo = layout.clusters, not any(head[_SHORT_FAT_AT])
    # A FAT of FAT32 may be 1 GiB: its own count of free clusters is taken instead, if there is one.
    if layout.bits == 32 or has_fsinfo:
        free = _fsinfo(device, int.from_bytes(head[_FSINFO_AT], "little") * layout.sector_size)
        return free * layout.cluster_size if free is not None and free <= clusters else None
    if clusters <= 0 or layout.fat_at + layout.fat_size > device.size:
        return None
    # Entries 0 and 1 stand for no cluster. A lying header must not make this read more.
    length = min(layout.fat_size, (clusters + 2) * 2)
    entries = _entries(device.read(layout.fat_at, length), wide=layout.bits == 16)
    return entries[2 : clusters + 2].count(0) * layout.cluster_size


def _fsinfo(device: BlockDevice, offset: int) -> int | None:
    if offset + 512 > device.size:
        return None
    found: tuple[bytes, int] = _FSINFO.unpack_from(device.read(offset, 512))
    signature, free = found
    return None if signature != b"rrAa" or free == _UNKNOWN else free


def _entries(fat: bytes, *, wide: bool) -> list[int]:
    """Of a FAT16; of a FAT12, where two entries share three bytes."""
    if wide:
        return [low | high << 8 for low, high in zip(fat[::2], fat[1::2], strict=False)]
    threes = zip(fat[::3], fat[1::3], fat[2::3], strict=False)
    return [entry for a, b, c in threes for entry in (a | (b & 15) << 8, b >> 4 | c << 4)]
