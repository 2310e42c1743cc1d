"""Makes a new MBR of the old one by libparted, on a sparse scratch copy in memory.

The sole importer of pyparted. (A GPT is changed in its own sectors: rewriting.py.) The image itself
is never opened by libparted. The scratch file has the disk's full size but holds only the sectors
of the table; libparted edits it, our own reader checks the outcome against the plan, and only
sectors that differ from the image are returned. What libparted would spoil is restored before that:
boot code and disk signature (both are replaced when the boot sector begins with zeros), the type
byte of an entry (5 may become f), flags, entries of type 0 or of no size.

pyparted's C module is used, not its Python classes: those form reference cycles, and an object that
is collected after its device has been freed ends the process with SIGFPE.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import _ped

from growdisk.block.device import BlockDevice
from growdisk.block.raw import RawFile
from growdisk.partitions.located import LocatedTable, SectorChange, table_rewrite_failed
from growdisk.partitions.mbr import BOOT_FLAG, ENTRIES_OFFSET, ENTRY_SIZE, TYPE_IN_ENTRY
from growdisk.partitions.sectors import SECTOR_SIZE, locate_table
from growdisk.partitions.table import Partition, PartitionTable, Role

# Stands for any boot code and signature, so that libparted's doings do not depend on what a boot
# loader left there.
_NEUTRAL_BOOT_CODE = b"\xfa" + bytes(439) + b"disk" + bytes(2)

_SLOTS = 4
_SECTOR_SIZE_VARIABLE = "PARTED_SECTOR_SIZE"
# libparted has one size of sectors and one answer to its questions for all threads: to set and
# clear that in two of them at once frees it twice, and the process dies when it ends.
_ALONE = threading.Lock()
# They have no base of their own.
_LIBPARTED_ERRORS = tuple(kind for name, kind in vars(_ped).items() if name.endswith("Exception"))


def rewrite_mbr(device: BlockDevice, path: Path, new: PartitionTable) -> tuple[SectorChange, ...]:
    """As rewrite() in rewriting.py, for an MBR.

    table-rewrite-failed if libparted refuses, or makes something else than `new`.
    """
    old = locate_table(device, path, new.sector_size)
    if old is None or old.table.kind != "mbr":
        raise table_rewrite_failed(
            path, reason="it no longer holds the MBR that the plan was made for"
        )
    try:
        with _scratch_copy(device, old, new.disk_size) as file:
            with _ALONE, _sectors_of(new.sector_size):
                _edit(file, path, old.table, new)
            return _outcome(file, device, path, old, new)
    except OSError as error:
        raise table_rewrite_failed(path, reason=f"no scratch copy of its table: {error}") from error


@contextmanager
def _scratch_copy(device: BlockDevice, old: LocatedTable, size: int) -> Iterator[Path]:
    """The name of a sparse file in memory: no crash leaves it, no file system limits its size."""
    fd = os.memfd_create("growdisk-table")
    try:
        os.ftruncate(fd, size)
        file = Path(f"/proc/self/fd/{fd}")
        with closing(RawFile.open(file, writable=True, lock=False)) as copy:
            for part in old.ranges:
                copy.write(part.start, device.read(part.start, part.length))
            copy.write(0, _NEUTRAL_BOOT_CODE)
        yield file
    finally:
        os.close(fd)


@contextmanager
def _sectors_of(size: int) -> Iterator[None]:
    """libparted takes a file's sectors for 512 bytes, unless the environment says otherwise."""
    if size == SECTOR_SIZE:
        yield
        return
    os.environ[_SECTOR_SIZE_VARIABLE] = str(size)
    try:
        yield
    finally:
        del os.environ[_SECTOR_SIZE_VARIABLE]


def _edit(file: Path, path: Path, old: PartitionTable, new: PartitionTable) -> None:
    _ped.register_exn_handler(_answer)
    device = _ped.device_get(str(file))
    try:
        _edit_with_libparted(_ped.Disk(device), old, new)
    except _LIBPARTED_ERRORS as error:
        raise table_rewrite_failed(path, reason=f"libparted says: {str(error).strip()}") from error
    finally:
        # libparted knows devices by name, and the next scratch copy will have the same one.
        device.cache_remove()
        _ped.clear_exn_handler()


def _answer(_kind: int, options: int, _message: str) -> int:
    """libparted asks where something is unusual: let it go on."""
    answers = (_ped.EXCEPTION_RESOLVE_FIX, _ped.EXCEPTION_RESOLVE_OK, _ped.EXCEPTION_RESOLVE_IGNORE)
    return next((int(w) for w in answers if options & w), int(_ped.EXCEPTION_RESOLVE_CANCEL))


def _edit_with_libparted(disk: _ped.Disk, old: PartitionTable, new: PartitionTable) -> None:
    removed = _to_remove(old, new)
    for part in removed:
        disk.delete_partition(disk.get_partition(part.number))
    gone = _numbers(removed)
    # From the end of the disk to its start: each makes room for the one before it. Logical ones
    # need their extended.
    outer = (part for part in new.partitions if part.role is not Role.LOGICAL)
    for part in sorted(outer, key=lambda p: p.start, reverse=True):
        _set_geometry(disk, part, new.sector_size)
    for part in sorted(new.logicals, key=lambda p: p.start, reverse=True):
        if part.number not in gone:
            _set_geometry(disk, part, new.sector_size)
    for part in new.logicals:
        if part.number in gone:
            geometry = _geometry(disk, part, new.sector_size)
            fresh = _ped.Partition(disk, _ped.PARTITION_LOGICAL, geometry.start, geometry.end)
            disk.add_partition(fresh, _ped.constraint_exact(geometry))
    disk.commit_to_dev()


def _to_remove(old: PartitionTable, new: PartitionTable) -> list[Partition]:
    """Those not in `new`, and logical ones that are added again; the highest number first."""
    again = _hinders_its_extended(old, new)
    gone = [
        p
        for p in old.partitions
        if new.by_number(p.number) is None or (again and p.role is Role.LOGICAL)
    ]
    # libparted renumbers the logical partitions above one that it deletes.
    return sorted(gone, key=lambda p: p.number, reverse=True)


def _hinders_its_extended(old: PartitionTable, new: PartitionTable) -> bool:
    """Whether the extended partition moves, or grows without the room libparted wants in front."""
    if old.extended is None or new.extended is None or old.extended == new.extended:
        return False
    # libparted wants more than a sector before the first logical partition.
    first = min((p.start for p in old.logicals), default=old.extended.end)
    return old.extended.start != new.extended.start or first - old.extended.start <= old.sector_size


def _numbers(partitions: Iterable[Partition]) -> set[int]:
    return {p.number for p in partitions}


def _set_geometry(disk: _ped.Disk, part: Partition, sector_size: int) -> None:
    current = disk.get_partition(part.number)
    wanted = _geometry(disk, part, sector_size)
    if (current.geom.start, current.geom.end) != (wanted.start, wanted.end):
        disk.set_partition_geom(current, _ped.constraint_exact(wanted), wanted.start, wanted.end)


def _geometry(disk: _ped.Disk, part: Partition, sector_size: int) -> _ped.Geometry:
    return _ped.Geometry(disk.dev, part.start // sector_size, part.size // sector_size)


def _outcome(
    file: Path, device: BlockDevice, path: Path, old: LocatedTable, new: PartitionTable
) -> tuple[SectorChange, ...]:
    with closing(RawFile.open(file, writable=True, lock=False)) as copy:
        # The neutral boot code goes before anything is compared: the disk's signature is part of
        # the table.
        copy.write(0, device.read(0, ENTRIES_OFFSET))
        _keep_entries(copy, device, path, old, new)
        written = locate_table(copy, path, new.sector_size)
        if written is None or written.table != new or written.table.damage:
            raise table_rewrite_failed(
                path, reason="libparted made a table that is not the planned one"
            )
        # The first range is sector 0, the others are EBRs. If no logical partition changes these
        # stay as they are, though libparted would place some again.
        ranges = written.ranges[:1] if _same_chain(old.table, new) else written.ranges
        sectors = [at for part in ranges for at in range(part.start, part.end, new.sector_size)]
        changes = (SectorChange(at, copy.read(at, new.sector_size)) for at in sectors)
        return tuple(change for change in changes if change.differs_from(device))


def _keep_entries(
    copy: BlockDevice, device: BlockDevice, path: Path, old: LocatedTable, new: PartitionTable
) -> None:
    """Set types and flags as planned; unchanged entries keep their bytes, CHS values too."""
    written = locate_table(copy, path, new.sector_size)
    if written is None or _numbers(written.table.partitions) != _numbers(new.partitions):
        raise table_rewrite_failed(path, reason="libparted gave the partitions other numbers")
    numbers = _numbers([*old.table.partitions, *new.partitions])
    # Entries of type 0 with a size, or with a type and no size: libparted takes them for empty, and
    # writes zeros.
    for slot in (slot for slot in range(_SLOTS) if slot + 1 not in numbers):
        at = ENTRIES_OFFSET + slot * ENTRY_SIZE
        copy.write(at, device.read(at, ENTRY_SIZE))
    for part in new.partitions:
        at = written.entries[part.number]
        if part.role is not Role.LOGICAL and part == old.table.by_number(part.number):
            copy.write(at, device.read(old.entries[part.number], ENTRY_SIZE))
        else:
            # Of changed entries only flag and type are set again: place and CHS are libparted's new
            # ones.
            copy.write(at, bytes([BOOT_FLAG if part.bootable else 0]))
            copy.write(at + TYPE_IN_ENTRY, bytes([int(part.type_code, 16)]))


def _same_chain(old: PartitionTable, new: PartitionTable) -> bool:
    """Whether no logical partition changes."""
    if old.logicals != new.logicals:
        return False
    if old.extended is None or new.extended is None:
        return True
    return old.extended.start == new.extended.start
