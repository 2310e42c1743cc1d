"""Makes a new table of the old one: an MBR by libparted on a copy, a GPT in its own sectors.

A GPT may be new as well.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.partitions.gpt import (
    CRC_AT,
    ENTRY,
    HEADER,
    SIGNATURE,
    GptCopy,
    GptHeader,
    header_crc,
    read_copies,
)
from growdisk.partitions.located import SectorChange, table_rewrite_failed
from growdisk.partitions.mbr import ENTRIES_OFFSET, PROTECTIVE_TYPE, parse_entries
from growdisk.partitions.table import GPT_ENTRY_SIZE, PartitionTable
from growdisk.units import align_up


def rewrite(device: BlockDevice, path: Path, new: PartitionTable) -> tuple[SectorChange, ...]:
    """The sectors to change on `device` so that its table becomes `new`; writes nothing there.

    `new` may be larger than the device, which then has yet to grow. Partitions keep their numbers,
    and none may be new. Raises table-rewrite-failed, which names `path`.
    """
    if new.kind == "gpt":
        return rewrite_gpt(device, path, new)
    from growdisk.partitions.parted_disk import rewrite_mbr  # libparted is loaded when it is needed

    return rewrite_mbr(device, path, new)


# --- a GPT, changed where it lies, and nothing in it that need not change ------------------------

# Entries that were moved away from sector 2 stay where the header says; a boot loader may stand in
# their usual place. A header of another size, with its reserved bytes, stays what it is; so do
# unused entries, and what follows them in their last sector. New are the places of partitions, the
# checksums, and the backup, which goes to the end of the disk. What lies in its old place stays
# there: nobody looks at it any more.

# UEFI 5.2.3: this count stands for a disk with more sectors than 32 bits can say.
_MAX_COUNT = 0xFFFFFFFF
_NO_CHS = b"\xff\xff\xff"
_PLACES_AT, _LAST_USABLE_AT, _ENTRIES_LBA_AT, _ENTRIES_CRC_AT = 24, 48, 72, 88
_LBAS_IN_ENTRY = 32


def rewrite_gpt(device: BlockDevice, path: Path, new: PartitionTable) -> tuple[SectorChange, ...]:
    """The sectors to change so that the GPT on `device` becomes `new`, which may be larger.

    Writes nothing.
    """
    sector, (primary, spare_copy) = new.sector_size, read_copies(device, path, new.sector_size)
    if primary is None:
        raise table_rewrite_failed(path, reason="the GPT at the start of the disk is damaged")
    entries, header = _entries(path, primary, new), primary.header
    last = new.disk_size // sector - 1
    # LBA of the backup's entries: right before its header in the last sector.
    spare = last - align_up(len(entries), sector) // sector
    if any(part.end > spare * sector for part in new.partitions):
        raise table_rewrite_failed(
            path, reason="a partition lies where the backup of its GPT has to be"
        )
    # Each header keeps what its vendor put into it; a damaged backup is made of the primary one.
    backup = device.read((header.alternate_lba if spare_copy else 1) * sector, sector)
    wanted: dict[int, bytes] = {}
    # All is collected first, and only what differs is returned: an unchanged table costs no write.
    wanted |= _in_sectors(device, header.entries_lba * sector, entries, sector)
    wanted |= _in_sectors(None, spare * sector, entries, sector)
    wanted[sector] = _header(
        device.read(sector, sector), entries, (1, last), spare - 1, header.entries_lba
    )
    wanted[last * sector] = _header(backup, entries, (last, 1), spare - 1, spare)
    wanted[0] = _protective(device.read(0, sector), header, last)
    changes = (SectorChange(offset, data) for offset, data in sorted(wanted.items()))
    return tuple(change for change in changes if change.differs_from(device))


def _entries(path: Path, copy: GptCopy, new: PartitionTable) -> bytes:
    slots = bytearray(copy.entries)
    planned = {part.number: part for part in new.partitions}
    for number in range(1, copy.header.entry_count + 1):
        at = (number - 1) * GPT_ENTRY_SIZE
        if (part := planned.pop(number, None)) is None:
            if any(slots[at : at + 16]):
                slots[at : at + GPT_ENTRY_SIZE] = bytes(GPT_ENTRY_SIZE)
        elif any(slots[at : at + 16]):
            first, end = part.start // new.sector_size, part.end // new.sector_size
            struct.pack_into("<QQ", slots, at + _LBAS_IN_ENTRY, first, end - 1)
        else:
            # Put back, so that it is reported below: this writer never makes an entry.
            planned[number] = part
    if planned:
        raise table_rewrite_failed(path, reason=f"its table has no partition {min(planned)}")
    return bytes(slots)


def _in_sectors(
    device: BlockDevice | None, at: int, entries: bytes, sector: int
) -> dict[int, bytes]:
    """The entries sector by sector; after the last of them stays what `device` has there."""
    missing = -len(entries) % sector
    data = entries + (device.read(at + len(entries), missing) if device else bytes(missing))
    return {at + start: data[start : start + sector] for start in range(0, len(data), sector)}


def _header(
    raw: bytes, entries: bytes, places: tuple[int, int], last_usable: int, entries_lba: int
) -> bytes:
    """`raw` with other places; its own size says what the checksum is of."""
    changed = bytearray(raw)
    # my LBA and alternate LBA
    struct.pack_into("<QQ", changed, _PLACES_AT, *places)
    struct.pack_into("<Q", changed, _LAST_USABLE_AT, last_usable)
    struct.pack_into("<Q", changed, _ENTRIES_LBA_AT, entries_lba)
    struct.pack_into("<I", changed, _ENTRIES_CRC_AT, zlib.crc32(entries))
    struct.pack_into("<I", changed, CRC_AT, header_crc(changed))
    return bytes(changed)


def _protective(sector_0: bytes, header: GptHeader, last: int) -> bytes:
    """A protective entry covers the disk. Beside real ones it only does where it did before."""
    changed, entries = bytearray(sector_0), parse_entries(sector_0) or ()
    alone = not any(entry.count for entry in entries if entry.type != PROTECTIVE_TYPE)
    for entry in entries:
        if (
            entry.type == PROTECTIVE_TYPE
            and entry.count != _MAX_COUNT
            and (alone or entry.first + entry.count > header.alternate_lba)
        ):
            count = min(last + 1 - entry.first, _MAX_COUNT)
            if count != entry.count:
                # The CHS of the end cannot say so far; ff ff ff stands for that.
                changed[entry.offset + 5 : entry.offset + 8] = _NO_CHS
                struct.pack_into("<I", changed, entry.offset + 12, count)
    return bytes(changed)


# --- a new GPT, for a table that had been an MBR -------------------------------------------------

# Protective MBR, both headers, both arrays of entries. Spec: UEFI, chapter 5.3; the last LBA of the
# protective MBR is capped at 32 bits.

_REVISION = b"\0\0\1\0"  # 1.0
_NAME_UNITS = 36


def gpt_sectors(table: PartitionTable, boot_code: bytes) -> tuple[SectorChange, ...]:
    """All of a GPT for `table`; `boot_code`, up to the MBR's entries, stays in sector 0."""
    sector, last = table.sector_size, table.disk_size // table.sector_size - 1
    entries = _new_entries(table)
    spare = last - align_up(len(entries), sector) // sector
    blank = _blank_header(table, first_usable=2 + last - spare)
    # Not bootable, CHS 0/0/2 (sector 1), type 0xEE, end in CHS as far as it can say.
    entry = bytes((0, 0, 2, 0, PROTECTIVE_TYPE, 0xFF, 0xFF, 0xFF))
    entry += struct.pack("<II", 1, min(last, _MAX_COUNT))
    sectors = {
        0: boot_code[:ENTRIES_OFFSET] + entry + bytes(48) + b"\x55\xaa",
        sector: _header(blank, entries, (1, last), spare - 1, 2),
        last * sector: _header(blank, entries, (last, 1), spare - 1, spare),
    }
    for lba in (2, spare):
        sectors |= _in_sectors(None, lba * sector, entries, sector)
    return tuple(
        SectorChange(at, data.ljust(sector, b"\0")) for at, data in sorted(sectors.items())
    )


def _new_entries(table: PartitionTable) -> bytes:
    slots = bytearray(table.gpt_entries * GPT_ENTRY_SIZE)
    for part in table.partitions:
        name = part.name.encode("utf-16-le")[: 2 * _NAME_UNITS]
        kind, own = uuid.UUID(part.type_code).bytes_le, uuid.UUID(part.guid or "").bytes_le
        first, end = part.start // table.sector_size, part.end // table.sector_size
        at = (part.number - 1) * GPT_ENTRY_SIZE
        ENTRY.pack_into(slots, at, kind, own, first, end - 1, part.attributes, name)
    return bytes(slots)


def _blank_header(table: PartitionTable, first_usable: int) -> bytes:
    """What both headers have in common; _header() puts in the rest."""
    guid = uuid.UUID(table.disk_id).bytes_le
    fields = (0, 0, first_usable, 0, guid, 0, table.gpt_entries, GPT_ENTRY_SIZE, 0)
    return HEADER.pack(SIGNATURE, _REVISION, HEADER.size, 0, *fields)
