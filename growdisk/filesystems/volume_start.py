"""Where a volume of NTFS, FAT or exFAT says that it starts ("hidden sectors"), and its copies.

exFAT's field is PartitionOffset. A boot loader of such a volume reads its next part by that number:
a volume that is moved has to say its new start, as partition managers take care of. Sources:
Microsoft's fatgen103 and exFAT specification; NTFS has FAT's field, and its backup after the last
sector that it counts.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import Content
from growdisk.filesystems.fat import read_exfat, read_fat
from growdisk.filesystems.ntfs import read_ntfs

MOST_HIDDEN_SECTORS = 0xFFFFFFFF
"""What 32 bits can say; exFAT has 64."""
COUNTED = ("ntfs", "vfat")
NAMED = (*COUNTED, "exfat")

_SECTOR = 512
_HIDDEN = struct.Struct("<I")
_HIDDEN_AT, _SECTOR_SIZE_AT = 28, 11
_NTFS_SECTORS_AT = 40
_FAT32_MARK, _FAT_BACKUP_AT = slice(82, 87), 50
_EXFAT_OFFSET = struct.Struct("<Q")
_EXFAT_OFFSET_AT, _EXFAT_SHIFT_AT = 64, 108
_EXFAT_REGION = 12  # sectors: boot sector, ten more, checksum; the backup follows
_EXFAT_NOT_SUMMED = (106, 107, 112)  # volume flags, percentage in use


@dataclass(frozen=True)
class Stamp:
    """Bytes to be written at `offset` of the volume."""

    offset: int
    data: bytes

    @property
    def end(self) -> int:
        return self.offset + len(self.data)


def start_stamps(volume: BlockDevice, start: int) -> tuple[Stamp, ...]:
    """The changes that make `volume` say that it starts at sector `start` of its disk.

    There are none for other contents.
    """
    head = volume.read(0, min(volume.size, _SECTOR))
    for reader, stamps in ((read_ntfs, _ntfs), (read_exfat, _exfat), (read_fat, _fat)):
        content: Content | None = reader(head)
        if content is not None:
            return tuple(stamps(volume, head, start))
    return ()


def _ntfs(volume: BlockDevice, head: bytes, start: int) -> Iterator[Stamp]:
    """The backup is where the file system ends, or the partition."""
    (sectors,) = struct.unpack_from("<Q", head, _NTFS_SECTORS_AT)
    # Both places are tried: after the partition grew, the backup of a volume that did not is still
    # where the file system ends.
    ends = {sectors * _sector_size(head), volume.size // _SECTOR * _SECTOR - _SECTOR}
    yield from _hidden(0, start)
    for at in sorted(ends - {0}):
        if _boot_sector(volume, at)[3:11] == head[3:11]:
            yield from _hidden(at, start)


def _fat(volume: BlockDevice, head: bytes, start: int) -> Iterator[Stamp]:
    yield from _hidden(0, start)
    if head[_FAT32_MARK] == b"FAT32":
        (number,) = struct.unpack_from("<H", head, _FAT_BACKUP_AT)
        at = number * _sector_size(head)
        if at and _boot_sector(volume, at)[510:] == b"\x55\xaa":
            yield from _hidden(at, start)


def _exfat(volume: BlockDevice, head: bytes, start: int) -> Iterator[Stamp]:
    size = 1 << head[_EXFAT_SHIFT_AT]
    for region in (0, _EXFAT_REGION * size):
        if region + _EXFAT_REGION * size > volume.size:
            continue
        sectors = bytearray(volume.read(region, (_EXFAT_REGION - 1) * size))
        _EXFAT_OFFSET.pack_into(sectors, _EXFAT_OFFSET_AT, start)
        yield Stamp(region + _EXFAT_OFFSET_AT, _EXFAT_OFFSET.pack(start))
        # The twelfth sector repeats the checksum of the eleven before, so it changes with the
        # offset.
        yield Stamp(
            region + len(sectors), struct.pack("<I", _exfat_sum(bytes(sectors))) * (size // 4)
        )


def _exfat_sum(sectors: bytes) -> int:
    total = 0
    for at, byte in enumerate(sectors):
        if at not in _EXFAT_NOT_SUMMED:
            total = ((total & 1) << 31 | total >> 1) + byte & 0xFFFFFFFF
    return total


def _hidden(at: int, start: int) -> Iterator[Stamp]:
    yield Stamp(at + _HIDDEN_AT, _HIDDEN.pack(start))


def _sector_size(head: bytes) -> int:
    return int(struct.unpack_from("<H", head, _SECTOR_SIZE_AT)[0])


def _boot_sector(volume: BlockDevice, at: int) -> bytes:
    return volume.read(at, _SECTOR) if at + _SECTOR <= volume.size else b""
