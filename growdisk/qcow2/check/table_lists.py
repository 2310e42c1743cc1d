"""The snapshot table and the bitmap directory, read only for the tables that their entries name.

Both are lists of entries of different length, padded to 8 bytes; a list that is cut off or absurd
is a corruption, and nothing after that point is believed. Follows QEMU's docs/interop/qcow2
("Snapshots", "Bitmaps").
"""

from __future__ import annotations

import struct

from growdisk.block.device import BlockDevice, read_padded
from growdisk.qcow2.check.check_errors import CheckErrors
from growdisk.qcow2.header import Header

BITMAP_RESERVED = 0xFF000000000001FE
# l1 offset, l1 size, id size, name size, dates, clock, state, extra size
_SNAPSHOT = struct.Struct(">QIHHIIQII")
# table offset, table size, flags, type, granularity, name size, extra size
_BITMAP = struct.Struct(">QIIBBHI")
_MAX_L1_ENTRIES = (32 << 20) // 8
_MAX_EXTRA = 1024
_MAX_BITMAP = 512 << 20
_SECTOR = 512
_IN_USE = 1
_V3_EXTRA = 16  # vm_state_size and disk_size, which version 3 demands


def snapshot_tables(
    file: BlockDevice, header: Header, findings: CheckErrors
) -> tuple[list[tuple[str, int, int]], int]:
    """([(label, offset, entries) of each L1 table], how long their list is), as far as it goes.

    Those that cannot be true are reported and left out.
    """
    found: list[tuple[str, int, int]] = []
    offset = header.snapshots_offset
    for index in range(header.snapshot_count):
        # Where an entry ends is only known once it is read: what follows a broken one is not found.
        if offset + _SNAPSHOT.size > file.size:
            findings.broken_structure(f"the snapshot table ends after entry {index}")
            break
        fields = _SNAPSHOT.unpack(file.read(offset, _SNAPSHOT.size))
        l1_offset, l1_size, id_size, name_size, *_, extra_size = fields
        text = read_padded(file, offset + _SNAPSHOT.size + extra_size, id_size + name_size)
        label = (
            f"snapshot {text[:id_size].decode(errors='replace')} "
            f"({text[id_size:].decode(errors='replace')})"
        )
        # Entries begin at multiples of 8.
        offset += -(-(_SNAPSHOT.size + extra_size + id_size + name_size) // 8) * 8
        if extra_size > _MAX_EXTRA:
            findings.broken_structure(f"{label} has {extra_size} bytes of extra data")
        elif header.version >= 3 and extra_size < _V3_EXTRA:
            findings.incomplete_snapshot(f"the snapshot table entry of {label} is incomplete")
        if l1_offset % header.cluster_size or l1_size > _MAX_L1_ENTRIES:
            findings.broken_structure(
                f"the L1 table of {label} at {l1_offset:#x} ({l1_size} entries) cannot be true"
            )
        else:
            found.append((label, l1_offset, l1_size))
    return found, offset - header.snapshots_offset


def bitmap_tables(
    file: BlockDevice, header: Header, extension: bytes, findings: CheckErrors
) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """((offset, bytes) of the bitmap directory, [(offset, entries) of each bitmap table]).

    QEMU does not open an image with a bitmap that it cannot read; so each of these is an error.
    """
    count, _, size, offset = struct.unpack(">IIQQ", extension)
    if not size or offset + size > file.size:
        findings.broken_structure(f"the bitmap directory at {offset:#x} lies outside the file")
        return (0, 0), []
    # header.py has refused one of more than 64 MiB.
    directory = file.read(offset, size)
    tables: list[tuple[int, int]] = []
    position, names = 0, set[bytes]()
    for index in range(count):
        if position + _BITMAP.size > size:
            break
        entry = _BITMAP.unpack_from(directory, position)
        *_, name_size, extra_size = entry
        name = directory[position + _BITMAP.size + extra_size :][:name_size]
        position += -(-(_BITMAP.size + name_size + extra_size) // 8) * 8
        if not _is_possible(entry, name, header, file.size) or position > size:
            findings.broken_structure(f"entry {index} of the bitmap directory cannot be true")
            return (offset, size), tables
        # QEMU finds a bitmap by its name.
        if name in names:
            findings.broken_structure(f"two bitmaps have the name of entry {index}")
        names.add(name)
        tables.append((entry[0], entry[1]))
    if len(tables) != count or position != size:
        findings.broken_structure(
            f"the bitmap directory does not have {count} entries in {size} bytes"
        )
    return (offset, size), tables


def _is_possible(entry: tuple[int, ...], name: bytes, header: Header, file_size: int) -> bool:
    """What QEMU demands of an entry, and that its table lies in the file."""
    table_offset, table_size, flags, kind, granularity, _, extra_size = entry
    if not table_offset or table_offset % header.cluster_size or not table_size:
        return False
    if table_size * header.cluster_size > _MAX_BITMAP or table_offset + 8 * table_size > file_size:
        return False
    if (
        flags & ~3
        or kind != 1
        or not 9 <= granularity <= 31
        or extra_size
        or not 0 < len(name) <= 1023
    ):
        return False
    # One bit for each 2^granularity guest bytes, and a cluster of bits for each table entry.
    covered = header.cluster_size * 8 << granularity  # by one entry of the table
    size = header.size // _SECTOR * _SECTOR  # QEMU opens no bitmap on a disk without a sector
    # A bitmap in use was not put away: the disk may have got another size since.
    return bool(flags & _IN_USE) or table_size == -(-size // covered)
