"""Space that is used though no partition has it: type-0 entries, hybrid MBRs, moved tables."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.partitions.blocks import BlockerPolicy
from growdisk.partitions.growth import Grown, NothingToDo, plan_growth
from growdisk.partitions.sectors import read_table
from growdisk.partitions.table import BIOS_BOOT
from growdisk.units import MiB
from tests.refusals import raises
from tests.unit.partitions.disks import (
    grow,
    grown,
    growth_of,
    make_disk,
    opened,
    read_at,
    refused,
    rewritten,
    run,
    scribble,
    sfdisk_table,
    table_of,
    write_at,
)

_SIZE, _LARGER = 64 * MiB, 164 * MiB
_ENTRY = 446
_ROOMY_GPT = (
    "label: gpt\nfirst-lba: 8192\nstart=8192,size=16384\nstart=24576,size=65536,name=root\n"
)


def set_entry(disk: Path, number: int, kind: int, first: int, count: int) -> bytes:
    raw = struct.pack("<B3sB3sII", 0, b"\x01\x02\x03", kind, b"\x04\x05\x06", first, count)
    write_at(disk, _ENTRY + 16 * (number - 1), raw)
    return raw


# --- an MBR's entries of type 0 -----------------------------------------------------------------


def test_an_entry_of_type_0_keeps_its_bytes_and_its_number(tmp_path: Path) -> None:
    disk = make_disk(
        tmp_path / "disk.img", _SIZE, "label: dos\n/dev/x3: start=32768,size=32768,type=83\n"
    )
    entry = set_entry(disk, 2, 0, 2048, 16384)
    grow(disk, _LARGER)
    rewritten(disk, grown(disk, 3))
    assert read_at(disk, _ENTRY + 16, 16) == entry
    assert [(p.number, p.start) for p in table_of(disk).partitions] == [(3, 16 * MiB)]
    assert {p.number for p in sfdisk_table(disk).partitions} == {2, 3}


def test_what_an_entry_of_type_0_speaks_of_is_not_free(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", _SIZE, "label: dos\nstart=2048,size=16384,type=83\n")
    set_entry(disk, 4, 0, 32768, 8192)
    table = table_of(disk)
    assert [(free.start // MiB, free.end // MiB) for free in table.free_ranges()] == [
        (9, 16),
        (20, 64),
    ]
    refusal = refused(disk, 1)
    assert "entry 4 of the MBR" in refusal.reason and "--move" not in refusal.hint


def test_a_partition_grows_up_to_an_entry_of_type_0_at_the_end(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", _SIZE, "label: dos\nstart=2048,size=16384,type=83\n")
    set_entry(disk, 2, 0, 98304, 32768)
    rewritten(disk, grown(disk, 1))
    assert [p.end // MiB for p in table_of(disk).partitions] == [48]


def test_a_claim_around_the_partition_itself_lets_it_grow_no_further(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", _SIZE, "label: dos\nstart=2048,size=16384,type=83\n")
    set_entry(disk, 2, 0, 0, 131072)
    assert isinstance(growth_of(disk, 1), NothingToDo)
    grow(disk, _LARGER)
    assert "entry 2 of the MBR" in refused(disk, 1).reason


@pytest.mark.parametrize("first", [0, 131072])
def test_an_entry_of_type_0_speaks_of_what_lies_beyond_the_disk_too(
    tmp_path: Path, first: int
) -> None:
    disk = make_disk(tmp_path / "disk.img", _SIZE, "label: dos\nstart=2048,size=129024,type=83\n")
    set_entry(disk, 2, 0, first, 4_000_000)
    grow(disk, _LARGER)
    assert "all that lies after it" in refused(disk, 1).reason


@pytest.mark.parametrize("raw", [
    b"\0\1\2\3\x83\4\5\6" + struct.pack("<II", 65536, 0), b"\x80" + bytes(15),
    b"\0\1\2\3\0\4\5\6" + bytes(8),
])  # fmt: skip
def test_an_entry_without_a_size_keeps_its_bytes_and_is_in_nobodys_way(
    tmp_path: Path, raw: bytes
) -> None:
    disk = make_disk(tmp_path / "disk.img", _SIZE, "label: dos\nstart=2048,size=16384,type=83\n")
    write_at(disk, _ENTRY + 32, raw)
    grow(disk, _LARGER)
    rewritten(disk, grown(disk, 1))
    assert read_at(disk, _ENTRY + 32, 16) == raw
    assert table_of(disk).partitions[0].end == _LARGER


def test_two_partitions_in_one_extended_boot_record_are_refused(tmp_path: Path) -> None:
    script = "label: dos\nstart=2048,size=100000,type=5\nstart=4096,size=8192,type=83\n"
    disk = make_disk(tmp_path / "disk.img", _SIZE, script)
    write_at(disk, MiB + _ENTRY + 32, struct.pack("<B3xB3xII", 0, 0x83, 40000, 2048))
    with opened(disk) as device, raises("table-unsupported", match="more than one partition"):
        read_table(device, disk)


def test_a_logical_partition_of_type_0_is_refused(tmp_path: Path) -> None:
    script = "label: dos\nstart=2048,size=100000,type=5\nstart=4096,size=8192,type=83\n"
    disk = make_disk(tmp_path / "disk.img", _SIZE, script)
    write_at(disk, MiB + _ENTRY + 4, b"\0")
    with opened(disk) as device, raises("table-unsupported", match="type 0"):
        read_table(device, disk)


# --- a GPT and an MBR at once -------------------------------------------------------------------


def test_no_move_is_advised_for_a_bios_boot_partition(tmp_path: Path) -> None:
    script = f"label: gpt\nstart=2048,size=16384\nstart=18432,size=2048,type={BIOS_BOOT}\n"
    disk = make_disk(tmp_path / "disk.img", _SIZE, script)
    hint = refused(disk, 1).hint
    assert "--move" not in hint and "--delete 2" in hint


def test_an_mbr_entry_for_space_that_the_gpt_calls_free_is_not_grown_into(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", _SIZE, "label: gpt\nstart=2048,size=16384\n")
    set_entry(disk, 2, 0x0C, 20480, 16384)
    assert "entry 2 of the MBR" in refused(disk, 1).reason


# --- a GPT in unusual places --------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, 56, 60, 248])
def test_an_unusual_number_of_entries_stays(tmp_path: Path, count: int) -> None:
    disk = make_disk(
        tmp_path / "disk.img", _SIZE, f"label: gpt\ntable-length: {count}\nstart=8192,size=16384\n"
    )
    behind = scribble(disk, 1024 + 128 * count, 4 * MiB, seed=2)
    grow(disk, _LARGER)
    rewritten(disk, grown(disk, 1))
    assert read_at(disk, 1024 + 128 * count, len(behind)) == behind
    assert table_of(disk).gpt_entries == count
    assert table_of(disk).damage == ""
    assert "errors" not in run("sfdisk", "--verify", disk).replace("No errors", "")


def test_a_header_of_unusual_size_keeps_all_its_bytes(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", _SIZE, _ROOMY_GPT)
    vendor = _set_header_size(disk, 200)
    grow(disk, _LARGER)
    rewritten(disk, grown(disk, 2))
    for header in (512, _LARGER - 512):
        raw = read_at(disk, header, 512)
        assert raw[92:200] == vendor
        assert raw[16:20] == struct.pack("<I", zlib.crc32(raw[:16] + bytes(4) + raw[20:200]))
    assert table_of(disk).damage == ""
    assert len(sfdisk_table(disk).partitions) == 2


def test_what_the_header_keeps_out_of_use_behind_the_last_usable_sector_is_somebodys(
    tmp_path: Path,
) -> None:
    disk = make_disk(
        tmp_path / "disk.img", _SIZE, "label: gpt\nlast-lba: 98303\nstart=2048,size=16384\n"
    )
    empty = table_of(disk)
    scribble(disk, 50 * MiB, 51 * MiB, seed=3)
    grow(disk, _LARGER)
    assert empty.claims == ()
    assert "keeps out of use" in refused(disk, 1).reason


def test_a_partition_does_not_grow_over_the_entries_of_its_own_table(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", 128 * MiB, "label: gpt\nstart=2048,size=100000\n")
    entries, elsewhere = read_at(disk, 1024, 16384), 80 * MiB
    write_at(disk, elsewhere, entries)
    write_at(disk, 1024, bytes(16384))
    header = bytearray(read_at(disk, 512, 512))
    struct.pack_into("<Q", header, 72, elsewhere // 512)
    struct.pack_into("<I", header, 16, 0)
    struct.pack_into("<I", header, 16, zlib.crc32(header[:92]))
    write_at(disk, 512, bytes(header))
    assert sfdisk_table(disk) == table_of(disk)
    grow(disk, 192 * MiB)
    assert "the table's own entries" in refused(disk, 1).reason


def test_of_what_the_header_keeps_out_of_use_no_holes_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a disk of some terabytes they would take hours."""
    script = "label: gpt\nlast-lba: 409600\nsize=100M\n"
    disk = make_disk(tmp_path / "disk.img", 1024 * MiB, script)
    read, lengths = RawFile.read, []

    def counted(file: RawFile, offset: int, length: int) -> bytes:
        lengths.append(length)
        return read(file, offset, length)

    monkeypatch.setattr(RawFile, "read", counted)
    assert table_of(disk).claims == ()
    assert sum(lengths) < MiB


def test_a_disk_that_was_cut_off_behind_its_last_partition_needs_room_for_the_backup(
    tmp_path: Path,
) -> None:
    disk = make_disk(
        tmp_path / "disk.img", _SIZE, "label: gpt\nstart=2048,size=16384\nstart=18432,size=81920\n"
    )
    os.truncate(disk, (18432 + 81920) * 512)
    assert isinstance(growth_of(disk, 1), NothingToDo)
    growth = plan_growth(
        table_of(disk), 1, disk.stat().st_size, BlockerPolicy(delete=frozenset({2}))
    )
    assert isinstance(growth, Grown | NothingToDo)


def _set_header_size(disk: Path, size: int) -> bytes:
    """Both headers say that they are `size` bytes long; returns what their vendor has put there."""
    vendor = scribble(disk, 512 + 92, 512 + size, seed=9)
    for at in (512, _SIZE - 512):
        raw = bytearray(read_at(disk, at, 512))
        raw[92:size] = vendor
        struct.pack_into("<II", raw, 12, size, 0)
        struct.pack_into("<I", raw, 16, zlib.crc32(raw[:size]))
        write_at(disk, at, bytes(raw))
    return vendor
