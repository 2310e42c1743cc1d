"""Makes a new MBR of the old one, in its own sectors: sector 0, and the extended boot records.

What need not change stays: boot code, disk signature, entries that are not a partition's, the CHS
of an end that stays where it is. A boot record keeps its distance to its partition; the first is
where the extended partition begins. Our own reader looks at the outcome before it is written.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from growdisk.block.device import BlockDevice, read_padded
from growdisk.block.window import ReadOnlyDevice
from growdisk.errors import Refused
from growdisk.partitions.located import LocatedTable, SectorChange, table_rewrite_failed
from growdisk.partitions.mbr import BOOT_FLAG, ENTRIES_OFFSET, ENTRY_SIZE
from growdisk.partitions.sectors import locate_table
from growdisk.partitions.table import Partition, PartitionTable

# Boot flag, CHS of the first sector, type, CHS of the last; first sector and their number.
_ENTRY = struct.Struct("<B3sB3sII")
_LINK_TYPE = "5"  # of the entry that leads to the next boot record, as sfdisk and parted write it
_HEADS, _SECTORS, _CYLINDERS = 255, 63, 1024
_MAX = 0xFFFFFFFF


def rewrite_mbr(device: BlockDevice, path: Path, new: PartitionTable) -> tuple[SectorChange, ...]:
    """As rewrite() in rewriting.py, for an MBR."""
    old = locate_table(device, path, new.sector_size)
    if old is None or old.table.kind != "mbr":
        raise table_rewrite_failed(
            path, reason="it no longer holds the MBR that the plan was made for"
        )
    sectors = {0: _boot_sector(device, old.table, new)}
    if new.extended is not None and not _same_chain(old.table, new):
        sectors |= _boot_records(device, old, new, new.extended)
    _check(_Changed(device, new.disk_size, sectors), path, new)
    changes = (SectorChange(at, data) for at, data in sorted(sectors.items()))
    return tuple(change for change in changes if change.differs_from(device))


def _boot_sector(device: BlockDevice, old: PartitionTable, new: PartitionTable) -> bytes:
    sector = bytearray(device.read(0, new.sector_size))
    for number in range(1, 5):
        before, after = old.by_number(number), new.by_number(number)
        # An entry of type 0, or without a size, is not a partition's, and stays.
        if before is not None and after != before:
            at = ENTRIES_OFFSET + (number - 1) * ENTRY_SIZE
            entry = bytes(sector[at : at + ENTRY_SIZE])
            sector[at : at + ENTRY_SIZE] = (
                _entry(after, 0, new.sector_size, before, entry) if after else bytes(ENTRY_SIZE)
            )
    return bytes(sector)


def _same_chain(old: PartitionTable, new: PartitionTable) -> bool:
    """Whether no logical partition changes, nor where the first boot record is."""
    starts = {table.extended.start for table in (old, new) if table.extended}
    return old.logicals == new.logicals and len(starts) == 1


def _boot_records(
    device: BlockDevice, old: LocatedTable, new: PartitionTable, extended: Partition
) -> dict[int, bytes]:
    """The sectors of the chain, by their places."""
    size, known = new.sector_size, {part.number: part for part in old.table.logicals}
    chain = [part for part in new.logicals if part.number in known]
    if not chain:
        return {extended.start: (bytes(510) + b"\x55\xaa").ljust(size, b"\0")}
    places, records = list(_places(old, chain, extended, size)), dict[int, bytes]()
    following = [*zip(places[1:], chain[1:], strict=True), None]
    for place, part, after in zip(places, chain, following, strict=True):
        at = old.entry_offsets[part.number]
        record, entry = bytearray(device.read(at - at % size, size)), device.read(at, ENTRY_SIZE)
        entries = _entry(part, place, size, known[part.number], entry)
        if after is not None:
            # It spans the next boot record with its partition, and counts from the extended one.
            link = Partition(0, after[0], after[1].end, type_code=_LINK_TYPE)
            entries += _entry(link, extended.start, size)
        record[ENTRIES_OFFSET:510] = entries.ljust(4 * ENTRY_SIZE, b"\0")
        records[place] = bytes(record)
    return records


def _places(
    old: LocatedTable, chain: list[Partition], extended: Partition, size: int
) -> Iterator[int]:
    """Where the boot records of the logical partitions in `chain` are to be."""
    yield extended.start
    used = {extended.start}
    for part in chain[1:]:
        before, at = old.table.by_number(part.number), old.entry_offsets[part.number]
        assert before is not None
        place = part.start - (before.start - (at - at % size))
        # After its partition, or where another one grows: then it goes right before its own.
        is_taken = any(other.start < place + size and place < other.end for other in chain)
        if is_taken or place in used or not extended.start < place < part.start:
            place = part.start - size
        used.add(place)
        yield place


def _entry(
    part: Partition, base: int, size: int, before: Partition | None = None, raw: bytes = b""
) -> bytes:
    """The entry that counts from the byte `base`; `raw` is what it was for `before`."""
    first, end = part.start // size, part.end // size
    return _ENTRY.pack(
        BOOT_FLAG if part.bootable else 0,
        raw[1:4] if before and before.start == part.start else _chs(first),
        int(part.type_code, 16),
        raw[5:8] if before and before.end == part.end else _chs(end - 1),
        min(first - base // size, _MAX),
        min(end - first, _MAX),
    )


def _chs(sector: int) -> bytes:
    """Head, sector and cylinder, as far as they can say: the highest stand for all beyond."""
    track, number = divmod(sector, _SECTORS)
    cylinder, head = divmod(track, _HEADS)
    if cylinder >= _CYLINDERS:
        cylinder, head, number = _CYLINDERS - 1, _HEADS - 1, _SECTORS - 1
    return bytes((head, number + 1 | cylinder >> 8 << 6, cylinder & 0xFF))


class _Changed(ReadOnlyDevice):
    """The disk as it will be."""

    def __init__(self, device: BlockDevice, size: int, sectors: Mapping[int, bytes]) -> None:
        self._device, self.size, self._sectors = device, size, sectors

    def read(self, offset: int, length: int) -> bytes:
        data = bytearray(read_padded(self._device, offset, length))
        for at, sector in self._sectors.items():
            first, last = max(at, offset), min(at + len(sector), offset + length)
            if first < last:
                data[first - offset : last - offset] = sector[first - at : last - at]
        return bytes(data)


def _check(disk: BlockDevice, path: Path, new: PartitionTable) -> None:
    try:
        written = locate_table(disk, path, new.sector_size)
    except Refused as error:
        raise table_rewrite_failed(path, reason=error.why) from error
    if written is None or written.table != new:
        raise table_rewrite_failed(path, reason="the new table would not be the planned one")
