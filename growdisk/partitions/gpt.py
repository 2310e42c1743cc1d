"""Reads a GUID partition table (UEFI specification, chapter 5.3).

    LBA 0 protective MBR | LBA 1 header | LBA 2.. entries | ...
    | entries of the backup | last LBA: header of the backup

Either copy alone is enough: the header's and the entries' CRC tell which is whole. After the image
has grown the backup lies where the disk used to end, and the header's "alternate LBA" still says
where. GUIDs have their first three fields in little-endian order.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from pathlib import Path

from growdisk.block.device import BlockDevice, data_in
from growdisk.errors import FOR_TABLE_TOOLS, TableDamaged
from growdisk.fast_dataclass import dataclass, replace
from growdisk.partitions.located import (
    LocatedTable,
    check_inside,
    check_no_overlap,
    table_unsupported,
)
from growdisk.partitions.mbr import PROTECTIVE_TYPE, MbrEntry
from growdisk.partitions.table import GPT_ENTRY_SIZE, Claim, Partition, PartitionTable
from growdisk.units import ByteRange, MiB, align_up, split_range

SIGNATURE = b"EFI PART"
# Signature, revision, size, CRC, and then the fields of GptHeader in its order.
HEADER = struct.Struct("<8s4sII4xQQQQ16sQIII")
_SIZE, _SIZE_AT, CRC_AT = struct.Struct("<I"), 12, 16
# Type, own GUID, first and last sector (inclusive), attributes, name (UTF-16).
ENTRY = struct.Struct("<16s16sQQQ72s")
_MAX_ENTRIES = 4096


@dataclass(frozen=True)
class GptHeader:
    """One copy of the header whose own CRC is right. LBAs in sectors, the usable ones inclusive."""

    my_lba: int
    alternate_lba: int
    first_usable_lba: int
    last_usable_lba: int
    disk_guid: bytes
    entries_lba: int
    entry_count: int
    entry_size: int
    entries_crc: int

    @property
    def entries_length(self) -> int:
        return self.entry_count * self.entry_size


@dataclass(frozen=True)
class GptCopy:
    """A header and its entries, both with the right CRC."""

    header: GptHeader
    entries: bytes


def parse_header(sector: bytes) -> GptHeader | None:
    """None unless the sector is a GPT header with a right CRC."""
    signature, _revision, size, crc, *rest = HEADER.unpack_from(sector)
    if signature != SIGNATURE or not HEADER.size <= size <= len(sector):
        return None
    return GptHeader(*rest) if header_crc(sector) == crc else None


def header_crc(sector: bytes | bytearray) -> int:
    """The CRC is taken over the header's own size, with its own field as zeros (UEFI 5.3.2)."""
    (size,) = _SIZE.unpack_from(sector, _SIZE_AT)
    return zlib.crc32(sector[:CRC_AT] + bytes(4) + sector[CRC_AT + 4 : size])


def read_copies(
    device: BlockDevice, path: Path, sector_size: int
) -> tuple[GptCopy | None, GptCopy | None]:
    """The primary one and the backup; None for one that is damaged or not there."""
    primary = _read_copy(device, path, sector_size, 1)
    # Without a primary header nobody knows where the backup is: UEFI puts it into the last sector.
    backup_lba = primary.header.alternate_lba if primary else device.size // sector_size - 1
    return primary, _read_copy(device, path, sector_size, backup_lba)


def read_gpt(
    device: BlockDevice, path: Path, sector_size: int, entries: tuple[MbrEntry, ...] = ()
) -> LocatedTable:
    """The GPT of a disk whose protective MBR, with `entries`, announces one."""
    primary, backup = read_copies(device, path, sector_size)
    # Either copy alone is enough to read; with the primary one damaged nothing may grow (`damage`).
    copy = primary or backup
    if copy is None:
        raise TableDamaged(
            path,
            reason="neither the GPT at the start nor the backup at the end of the disk has a "
            "right checksum",
            hint=f"try gdisk's recovery menu on a copy ({FOR_TABLE_TOOLS})",
        )
    table = _table(path, sector_size, device.size, copy)
    claims = (
        *_named_by_mbr(table, entries),
        *_own_entries(copy.header, sector_size),
        *(_kept_free(device, sector_size, primary, backup) if primary and backup else ()),
    )
    table = replace(table, claims=claims)
    # Sector 0 (the MBR) and sector 1 (the primary header), then the entries of the copy that was
    # used.
    ranges = [ByteRange(0, 2 * sector_size), _entries_range(copy.header, sector_size)]
    if primary and backup:
        at = backup.header.my_lba * sector_size
        ranges += [_entries_range(backup.header, sector_size), ByteRange(at, at + sector_size)]
    if primary is None:
        table = replace(
            table,
            damage="the GPT at the start of the disk is damaged; its backup at the end is sound",
        )
    return LocatedTable(table, tuple(ranges))


def _read_copy(device: BlockDevice, path: Path, sector_size: int, lba: int) -> GptCopy | None:
    """The copy whose header is at `lba`; None if it is damaged or not there."""
    if not 0 < lba < device.size // sector_size:
        return None
    header = parse_header(device.read(lba * sector_size, sector_size))
    # UEFI 5.3.2: a header that does not name its own place is not valid.
    if header is None or header.my_lba != lba:
        return None
    if header.entry_size != GPT_ENTRY_SIZE or not 0 < header.entry_count <= _MAX_ENTRIES:
        reason = f"its GPT has {header.entry_count} entries of {header.entry_size} bytes"
        raise table_unsupported(path, reason, "growdisk knows entries of 128 bytes only")
    start = header.entries_lba * sector_size
    if start + header.entries_length > device.size:
        return None
    entries = device.read(start, header.entries_length)
    return GptCopy(header, entries) if zlib.crc32(entries) == header.entries_crc else None


def _table(path: Path, sector_size: int, device_size: int, copy: GptCopy) -> PartitionTable:
    disk_size = device_size - device_size % sector_size
    raw = ENTRY.iter_unpack(copy.entries)
    parts = [
        _partition(number, fields, sector_size)
        for number, fields in enumerate(raw, 1)
        if any(fields[0])
    ]
    header = copy.header
    usable = ByteRange(
        header.first_usable_lba * sector_size, (header.last_usable_lba + 1) * sector_size
    )
    check_inside(path, parts, ByteRange(0, disk_size), "the disk")
    check_inside(path, parts, usable, "the area that the GPT's header leaves for partitions")
    check_no_overlap(path, parts)
    disk_guid = str(uuid.UUID(bytes_le=header.disk_guid)).upper()
    return PartitionTable(
        "gpt", disk_guid, sector_size, disk_size, tuple(parts), header.entry_count
    )


def _named_by_mbr(table: PartitionTable, entries: tuple[MbrEntry, ...]) -> tuple[Claim, ...]:
    """The real entries of a hybrid MBR: firmware that knows no GPT goes by them."""
    named = [(n, e) for n, e in enumerate(entries, 1) if e.count and e.type != PROTECTIVE_TYPE]
    return tuple(e.claim(n, table.sector_size, mirrors=True) for n, e in named)


def _own_entries(header: GptHeader, sector_size: int) -> tuple[Claim, ...]:
    """The table's entries, if they lie where partitions may: they stay where they are."""
    place = _entries_range(header, sector_size)
    if place.end <= header.first_usable_lba * sector_size:
        return ()
    return (Claim(place.start, place.end, "the GPT's header, for the table's own entries,"),)


def _kept_free(
    device: BlockDevice, sector_size: int, primary: GptCopy, backup: GptCopy
) -> tuple[Claim, ...]:
    """The space between last usable sector and backup, if the header keeps data there."""
    start = (primary.header.last_usable_lba + 1) * sector_size
    end = min(backup.header.entries_lba * sector_size, device.size)
    # Holes are not read: a header may keep terabytes of a sparse disk out of use.
    stored = (
        piece
        for first, last in data_in(device, start, max(start, end))
        for piece in split_range(first, last, MiB)
    )
    if any(device.read(at, stop - at).strip(b"\0") for at, stop in stored):
        what = "an area with data in it that the GPT's header keeps out of use"
        return (Claim(start, end, what),)
    return ()


def _partition(
    number: int, fields: tuple[bytes, bytes, int, int, int, bytes], sector_size: int
) -> Partition:
    type_guid, guid, first, last, attributes, name = fields
    return Partition(
        number,
        first * sector_size,
        # `last` is inclusive. An entry that ends before it starts must not get a negative size.
        max(first, last + 1) * sector_size,
        type_code=str(uuid.UUID(bytes_le=type_guid)).upper(),
        guid=str(uuid.UUID(bytes_le=guid)),
        name=name.decode("utf-16-le", "replace").split("\0")[0],
        attributes=attributes,
    )


def _entries_range(header: GptHeader, sector_size: int) -> ByteRange:
    start = header.entries_lba * sector_size
    return ByteRange(start, start + align_up(header.entries_length, sector_size))
