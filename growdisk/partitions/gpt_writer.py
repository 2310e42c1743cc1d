"""The sectors of a new GPT, where there was none: protective MBR, both headers, both arrays of entries.

A GPT that is there is changed by libparted (parted_disk.py); this one is made for a table that had been an MBR. Spec:
UEFI, chapter 5.3; last LBA of the protective MBR capped at 32 bits.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Iterator

from growdisk.partitions.gpt import SIGNATURE
from growdisk.partitions.mbr import ENTRIES_OFFSET, PROTECTIVE_TYPE
from growdisk.partitions.sectors import SectorChange
from growdisk.partitions.table import GPT_ENTRY_SIZE, Partition, PartitionTable
from growdisk.units import align_up

_HEADER_SIZE, _REVISION = 92, 0x00010000
_MAX_LBA = 0xFFFFFFFF
_NAME_UNITS = 36


def gpt_sectors(table: PartitionTable, boot_code: bytes) -> tuple[SectorChange, ...]:
    """All of a GPT for `table`; `boot_code`, up to the MBR's entries, stays in sector 0."""
    sector, last = table.sector_size, table.disk_size // table.sector_size - 1
    entries = _entries(table)
    padded = entries.ljust(align_up(len(entries), sector), b"\0")
    count = len(padded) // sector
    protective = _protective(boot_code[:ENTRIES_OFFSET], last).ljust(sector, b"\0")
    headers = {
        1: _header(table, entries, my_lba=1, other=last, entries_lba=2),
        last: _header(table, entries, my_lba=last, other=1, entries_lba=last - count),
    }
    changes = [SectorChange(0, protective)]
    changes += [SectorChange(lba * sector, header.ljust(sector, b"\0")) for lba, header in headers.items()]
    for start in (2, last - count):
        changes += _split(padded, start * sector, sector)
    return tuple(sorted(changes, key=lambda change: change.offset))


def _split(data: bytes, at: int, sector: int) -> Iterator[SectorChange]:
    for offset in range(0, len(data), sector):
        yield SectorChange(at + offset, data[offset : offset + sector])


def _protective(boot_code: bytes, last: int) -> bytes:
    start = bytes((0, 0, 2, 0, PROTECTIVE_TYPE, 0xFF, 0xFF, 0xFF))
    entry = start + struct.pack("<II", 1, min(last, _MAX_LBA))
    return boot_code + entry + bytes(48) + b"\x55\xaa"


def _entries(table: PartitionTable) -> bytes:
    slots = bytearray(table.gpt_entries * GPT_ENTRY_SIZE)
    for part in table.partitions:
        at = (part.number - 1) * GPT_ENTRY_SIZE
        slots[at : at + GPT_ENTRY_SIZE] = _entry(part, table.sector_size)
    return bytes(slots)


def _entry(part: Partition, sector: int) -> bytes:
    name = part.name.encode("utf-16-le")[: 2 * _NAME_UNITS].ljust(2 * _NAME_UNITS, b"\0")
    kind, own = uuid.UUID(part.type_code).bytes_le, uuid.UUID(part.guid or "").bytes_le
    return struct.pack("<16s16sQQQ72s", kind, own, part.start // sector, part.end // sector - 1, part.attributes, name)


def _header(table: PartitionTable, entries: bytes, *, my_lba: int, other: int, entries_lba: int) -> bytes:
    count = align_up(len(entries), table.sector_size) // table.sector_size
    last = max(my_lba, other)
    fields = (
        my_lba, other, 2 + count, last - count - 1, uuid.UUID(table.disk_id).bytes_le, entries_lba, table.gpt_entries,
        GPT_ENTRY_SIZE, zlib.crc32(entries),
    )  # fmt: skip
    head = struct.pack("<8sIII4xQQQQ16sQIII", SIGNATURE, _REVISION, _HEADER_SIZE, 0, *fields)
    return head[:16] + struct.pack("<I", zlib.crc32(head)) + head[20:]
