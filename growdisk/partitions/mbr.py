"""Reads an MBR (DOS) table and its chain of extended boot records.

    sector 0: boot code 0..439 | disk signature 440..443 | 4 entries of 16 bytes from 446 | 55 aa
    entry:    boot flag | CHS | type | CHS | first sector (u32) | count (u32)

In an extended boot record (EBR) entry 0 is the logical partition, counted from this EBR, and entry
1 the link to the next EBR, counted from the start of the *extended partition*. Logical numbers
follow the chain, not the disk; that is what Linux and libparted do too. Linux takes an entry of
length 0 for an empty one, whatever its type.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.errors import FOR_TABLE_TOOLS, TableDamaged
from growdisk.fast_dataclass import dataclass
from growdisk.partitions.located import (
    LocatedTable,
    check_inside,
    check_no_overlap,
    table_unsupported,
)
from growdisk.partitions.table import Claim, Partition, PartitionTable, Role
from growdisk.units import ByteRange

SIGNATURE_OFFSET = 440
ENTRIES_OFFSET = 446
ENTRY_SIZE = 16
TYPE_IN_ENTRY = 4
BOOT_FLAG = 0x80
EXTENDED_TYPES = (0x05, 0x0F, 0x85)
PROTECTIVE_TYPE = 0xEE
# Linux numbers no more partitions of a disk (DISK_MAX_PARTS).
_MAX_LOGICALS = 256
_ENTRY = struct.Struct("<B3xB3xII")


@dataclass(frozen=True)
class MbrEntry:
    """One entry of sector 0 or of an EBR; its 16 bytes lie at `offset`.

    `first` and `count` are sectors.
    """

    offset: int
    flag: int
    type: int
    first: int
    count: int

    @property
    def in_use(self) -> bool:
        return self.type != 0 and self.count != 0

    @property
    def is_nameless(self) -> bool:
        """Of type 0, but with a size: isohybrid images say so that all of them is in use."""
        return self.type == 0 and self.count != 0

    @property
    def is_extended(self) -> bool:
        return self.type in EXTENDED_TYPES

    def claim(self, number: int, sector_size: int, *, mirrors: bool = False) -> Claim:
        """The space that an entry of sector 0 names, if it is not one of the table's partitions.

        It may reach beyond the disk's end.
        """
        start, end = self.first * sector_size, (self.first + self.count) * sector_size
        what = f"entry {number} of the MBR (type {self.type:x})"
        return Claim(start, end, what, number, mirrors)

    def partition(self, number: int, base: int, sector_size: int, role: Role) -> Partition:
        """`base` is the sector that `first` counts from."""
        start = (base + self.first) * sector_size
        return Partition(
            number,
            start,
            start + self.count * sector_size,
            role,
            f"{self.type:x}",
            self.flag == BOOT_FLAG,
        )


def parse_entries(sector: bytes, offset: int = 0) -> tuple[MbrEntry, ...] | None:
    """The four entries of a boot record at `offset`; None if it is none (no 55 aa, odd flags)."""
    if sector[510:512] != b"\x55\xaa":
        return None
    entries = tuple(
        MbrEntry(offset + at, *_ENTRY.unpack_from(sector, at))
        for at in range(ENTRIES_OFFSET, ENTRIES_OFFSET + 4 * ENTRY_SIZE, ENTRY_SIZE)
    )
    # As Linux does: the boot sector of a FAT ends with 55 aa, too, and has other bytes there.
    return entries if all(entry.flag in (0, BOOT_FLAG) for entry in entries) else None


def read_mbr(
    device: BlockDevice, path: Path, sector_size: int, entries: tuple[MbrEntry, ...]
) -> LocatedTable:
    """The table whose four primary entries are given.

    Raises TableDamaged if it contradicts itself or the disk.
    """
    disk_size = device.size - device.size % sector_size
    signature = int.from_bytes(device.read(SIGNATURE_OFFSET, 4), "little")
    used = {n: e for n, e in enumerate(entries, 1) if e.in_use}
    top = [
        e.partition(n, 0, sector_size, Role.EXTENDED if e.is_extended else Role.PRIMARY)
        for n, e in used.items()
    ]
    check_inside(path, top, ByteRange(sector_size, disk_size), "the disk")
    check_no_overlap(path, top)

    ranges, offsets = [ByteRange(0, sector_size)], {n: e.offset for n, e in used.items()}
    logicals = []
    if (extended := _the_extended(path, top)) is not None:
        # _chain() adds to `ranges` as it goes: only after this loop are all EBRs in it.
        for number, (ebr, entry) in enumerate(
            _chain(device, path, sector_size, extended, ranges), 5
        ):
            logicals.append(entry.partition(number, ebr // sector_size, sector_size, Role.LOGICAL))
            offsets[number] = entry.offset
        _check_logicals(path, extended, logicals, ranges[1:])
    claims = tuple(e.claim(n, sector_size) for n, e in enumerate(entries, 1) if e.is_nameless)
    table = PartitionTable(
        "mbr", f"0x{signature:08x}", sector_size, disk_size, (*top, *logicals), claims=claims
    )
    return LocatedTable(table, tuple(ranges), offsets)


def _the_extended(path: Path, top: list[Partition]) -> Partition | None:
    found = [p for p in top if p.role is Role.EXTENDED]
    if len(found) > 1:
        raise TableDamaged(
            path, reason=f"partitions {found[0].number} and {found[1].number} are both extended"
        )
    return found[0] if found else None


def _chain(
    device: BlockDevice, path: Path, sector_size: int, extended: Partition, ranges: list[ByteRange]
) -> Iterator[tuple[int, MbrEntry]]:
    """(offset of the EBR, logical partition's entry) along the chain; adds each EBR to `ranges`."""
    ebr: int | None = extended.start
    while ebr is not None:
        here = ByteRange(ebr, ebr + sector_size)
        # The link of a damaged chain may lead back, or on without end.
        if here in ranges or len(ranges) > _MAX_LOGICALS:
            raise TableDamaged(
                path, reason=f"the chain of logical partitions comes back to byte {ebr}"
            )
        if not extended.range.contains(here):
            reason = f"an extended boot record at byte {ebr} lies outside the extended partition"
            raise TableDamaged(path, reason=reason)
        entries = parse_entries(device.read(ebr, 512), ebr)
        if entries is None:
            raise TableDamaged(path, reason=f"there is no valid extended boot record at byte {ebr}")
        ranges.append(here)
        used = [entry for entry in entries if entry.in_use]
        # Readers differ: Linux numbers all of them, most others the first alone.
        if sum(not entry.is_extended for entry in used) > 1:
            raise table_unsupported(
                path,
                reason=f"the extended boot record at byte {ebr} names more than one partition, and "
                "most systems and tools see the first of them only",
                hint="remove the others from it",
            )
        if any(entry.is_nameless for entry in entries):
            reason = f"a logical partition of type 0 stands in its table, at byte {ebr}"
            hint = f"give it a type with fdisk, or remove it ({FOR_TABLE_TOOLS})"
            raise table_unsupported(path, reason, hint)
        yield from ((ebr, entry) for entry in used if not entry.is_extended)
        # A link counts from the start of the extended partition, not from this EBR.
        link = next((entry for entry in used if entry.is_extended), None)
        ebr = None if link is None else extended.start + link.first * sector_size


def _check_logicals(
    path: Path, extended: Partition, logicals: list[Partition], records: list[ByteRange]
) -> None:
    check_inside(path, logicals, extended.range, "the extended partition")
    check_no_overlap(path, logicals)
    for part in logicals:
        if any(part.range.overlaps(record) for record in records):
            raise TableDamaged(
                path, reason=f"logical partition {part.number} covers an extended boot record"
            )
