"""Changes a GPT where it lies, and nothing in it that need not change.

Entries that were moved away from sector 2 stay where the header says; a boot loader may stand in their usual place. A
header of another size, with its reserved bytes, stays what it is; so do unused entries, and what follows them in their
last sector. New are the places of partitions, the checksums, and the backup, which goes to the end of the disk. What
lies in its old place stays there: nobody looks at it any more.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.errors import TableRewriteFailed
from growdisk.partitions.gpt import GptCopy, GptHeader, read_copies
from growdisk.partitions.mbr import PROTECTIVE_TYPE, MbrEntry, parse_entries
from growdisk.partitions.sector_change import SectorChange
from growdisk.partitions.table import GPT_ENTRY_SIZE, Partition, PartitionTable
from growdisk.units import align_up

_MAX_COUNT = 0xFFFFFFFF
_NO_CHS = b"\xff\xff\xff"
_CRC_AT, _PLACES_AT, _LAST_USABLE_AT, _ENTRIES_LBA_AT, _ENTRIES_CRC_AT = 16, 24, 48, 72, 88
_LBAS_IN_ENTRY = 32


def rewrite_gpt(device: BlockDevice, path: Path, new: PartitionTable) -> tuple[SectorChange, ...]:
    """The sectors to change so that the GPT on `device` becomes `new`, which may be larger. Writes nothing."""
    sector, copies = new.sector_size, read_copies(device, path, new.sector_size)
    if copies.primary is None:
        raise TableRewriteFailed(path, reason="the GPT at the start of the disk is damaged")
    entries, header = _entries(path, copies.primary, new), copies.primary.header
    last = new.disk_size // sector - 1
    spare = last - align_up(len(entries), sector) // sector
    if any(part.end > spare * sector for part in new.partitions):
        raise TableRewriteFailed(path, reason="a partition lies where the backup of its GPT has to be")
    backup = device.read(header.alternate_lba * sector, sector) if copies.backup else device.read(sector, sector)
    wanted: dict[int, bytes] = {}
    wanted |= _in_sectors(device, header.entries_lba * sector, entries, sector)
    wanted |= _in_sectors(None, spare * sector, entries, sector)
    wanted[sector] = _header(device.read(sector, sector), entries, (1, last), spare - 1, header.entries_lba)
    wanted[last * sector] = _header(backup, entries, (last, 1), spare - 1, spare)
    wanted[0] = _protective(device.read(0, sector), header, last)
    changes = (SectorChange(offset, data) for offset, data in sorted(wanted.items()))
    return tuple(change for change in changes if _on_disk(device, change) != change.data)


def _entries(path: Path, copy: GptCopy, new: PartitionTable) -> bytes:
    slots = bytearray(copy.entries)
    planned = {part.number: part for part in new.partitions}
    for number in range(1, copy.header.entry_count + 1):
        at = (number - 1) * GPT_ENTRY_SIZE
        if (part := planned.pop(number, None)) is None:
            if any(slots[at : at + 16]):
                slots[at : at + GPT_ENTRY_SIZE] = bytes(GPT_ENTRY_SIZE)
        elif any(slots[at : at + 16]):
            slots[at + _LBAS_IN_ENTRY : at + _LBAS_IN_ENTRY + 16] = _place(part, new.sector_size)
        else:
            planned[number] = part
    if planned:
        raise TableRewriteFailed(path, reason=f"its table has no partition {min(planned)}")
    return bytes(slots)


def _place(part: Partition, sector: int) -> bytes:
    return struct.pack("<QQ", part.start // sector, part.end // sector - 1)


def _in_sectors(device: BlockDevice | None, at: int, entries: bytes, sector: int) -> dict[int, bytes]:
    """The entries sector by sector; behind the last of them stays what `device` has there."""
    size = align_up(len(entries), sector)
    rest = device.read(at + len(entries), size - len(entries)) if device else bytes(size - len(entries))
    data = entries + rest
    return {at + start: data[start : start + sector] for start in range(0, size, sector)}


def _header(raw: bytes, entries: bytes, places: tuple[int, int], last_usable: int, entries_lba: int) -> bytes:
    """`raw` with other places; its own size says what the checksum is of."""
    changed = bytearray(raw)
    struct.pack_into("<QQ", changed, _PLACES_AT, *places)
    struct.pack_into("<Q", changed, _LAST_USABLE_AT, last_usable)
    struct.pack_into("<Q", changed, _ENTRIES_LBA_AT, entries_lba)
    struct.pack_into("<I", changed, _ENTRIES_CRC_AT, zlib.crc32(entries))
    size = struct.unpack_from("<I", changed, 12)[0]
    struct.pack_into("<I", changed, _CRC_AT, 0)
    struct.pack_into("<I", changed, _CRC_AT, zlib.crc32(changed[:size]))
    return bytes(changed)


def _protective(sector_0: bytes, header: GptHeader, last: int) -> bytes:
    """A protective entry covers the disk. ExtraDiskPlan real ones it only does where it did before."""
    changed, entries = bytearray(sector_0), parse_entries(sector_0) or ()
    alone = not any(entry.count for entry in entries if entry.type != PROTECTIVE_TYPE)
    for entry in entries:
        if entry.type == PROTECTIVE_TYPE and entry.count != _MAX_COUNT and (alone or _reaches_end(entry, header)):
            count = min(last + 1 - entry.first, _MAX_COUNT)
            if count != entry.count:
                changed[entry.offset + 5 : entry.offset + 8] = _NO_CHS
                struct.pack_into("<I", changed, entry.offset + 12, count)
    return bytes(changed)


def _reaches_end(entry: MbrEntry, header: GptHeader) -> bool:
    return entry.first + entry.count > header.alternate_lba


def _on_disk(device: BlockDevice, change: SectorChange) -> bytes | None:
    end = change.offset + len(change.data)
    return device.read(change.offset, len(change.data)) if end <= device.size else None
