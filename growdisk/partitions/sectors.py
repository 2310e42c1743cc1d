"""Finds, reads and changes the sectors of a partition table, on any device, without libparted.

This is the fast path of `show` and `plan`, and the second way by which a written table is verified.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.block.window import Window
from growdisk.errors import Refused
from growdisk.partitions.gpt import SIGNATURE, read_gpt
from growdisk.partitions.located import LocatedTable, SectorChange, table_unsupported
from growdisk.partitions.mbr import PROTECTIVE_TYPE, parse_entries, read_mbr
from growdisk.partitions.table import Partition, PartitionTable, Role

SECTOR_SIZE = 512
LARGE_SECTORS = 4096
_BOOT_SECTORS_OF_FILESYSTEMS = (
    (3, b"NTFS    "),
    (3, b"EXFAT   "),
    (3, b"-FVE-FS-"),
    (3, b"ReFS\0"),
    (0x36, b"FAT"),
    (0x52, b"FAT32"),
)


def read_table(
    device: BlockDevice, path: Path, sector_size: int = SECTOR_SIZE
) -> PartitionTable | None:
    """The disk's table; None when it has none (a file system on the whole disk, or nothing at all).

    Raises TableDamaged or table-unsupported, which name `path`.
    """
    located = locate_table(device, path, sector_size)
    return located.table if located else None


def locate_table(
    device: BlockDevice, path: Path, sector_size: int = SECTOR_SIZE
) -> LocatedTable | None:
    """As read_table, with the places where the table's bytes lie."""
    if device.size < 3 * sector_size:
        return None
    # As far as the header of a GPT whose sectors have 4096 bytes.
    head = device.read(0, min(device.size, 4096 + 512))
    # First of all: boot sectors of file systems end in 55 aa as well, and their code looks like
    # entries.
    if any(head[at : at + len(magic)] == magic for at, magic in _BOOT_SECTORS_OF_FILESYSTEMS):
        return None
    entries = parse_entries(head)
    # A GPT counts if the MBR announces it, even if its header at the start is damaged.
    if entries is not None and any(entry.type == PROTECTIVE_TYPE for entry in entries):
        _check_sector_size(path, head, sector_size)
        return read_gpt(device, path, sector_size, entries)
    if entries is None:
        return None
    return read_mbr(device, path, sector_size, entries)


def parts_of(
    disk: BlockDevice, table: PartitionTable | None
) -> Iterable[tuple[Partition | None, BlockDevice]]:
    """The same; the disk as a whole, which has content of its own, if it has no table."""
    return windows_of(disk, table) if table else [(None, disk)]


def windows_of(disk: BlockDevice, table: PartitionTable) -> Iterator[tuple[Partition, Window]]:
    """The partitions that can hold something, as devices."""
    for part in table.partitions:
        if part.role is not Role.EXTENDED and part.end <= disk.size:
            yield part, Window(disk, part.start, part.size)


def apply_changes(device: BlockDevice, changes: Iterable[SectorChange]) -> None:
    """Write the sectors, the last of the disk first, each group durable before the next.

    Sector 0 comes last. It is the switch: until it is written the old MBR stands, and new EBRs that
    it will point to are in place. Of a GPT the backup comes first, so that one of the two copies is
    whole at any instant.
    """
    previous: int | None = None
    for change in sorted(changes, key=lambda c: c.offset, reverse=True):
        end = change.offset + len(change.data)
        # A new group begins after a gap. Sectors 1 and 0 (the header of a GPT, the MBR) are always
        # groups of their own, although nothing lies between them and what comes before.
        if previous is not None and (end != previous or change.offset < 2 * len(change.data)):
            device.flush()
        device.write(change.offset, change.data)
        previous = change.offset
    device.flush()


def _check_sector_size(path: Path, head: bytes, sector_size: int) -> None:
    other = LARGE_SECTORS if sector_size == SECTOR_SIZE else SECTOR_SIZE
    has_gpt, has_gpt_of_other = (
        head[at : at + len(SIGNATURE)] == SIGNATURE for at in (sector_size, other)
    )
    if has_gpt_of_other and not has_gpt:
        raise made_for_sectors(path, "GPT", other)


def made_for_sectors(path: Path, kind: str, size: int) -> Refused:
    reason = f"its {kind} was made for sectors of {size} bytes"
    return table_unsupported(path, reason, hint=f"say so with --sector-size {size}")
