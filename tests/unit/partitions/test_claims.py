"""Space that is somebody's though no partition has it: type-0 entries, hybrid MBRs, tables in unusual places."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pytest

from growdisk.errors import TableUnsupported
from growdisk.partitions.growth import BlockerPolicy, Grown, Growth, NothingToDo, NotPossible, plan_growth
from growdisk.partitions.table import PartitionTable
from growdisk.units import MiB
from tests.unit.partitions.disks import (
    grow,
    make_disk,
    opened,
    read_at,
    rewritten,
    run,
    scribble,
    sfdisk_table,
    table_of,
    write_at,
)

_SIZE, _LARGER = 64 * MiB, 164 * MiB
_ENTRY = 446
_ROOMY_GPT = "label: gpt\nfirst-lba: 8192\nstart=8192,size=16384\nstart=24576,size=65536,name=root\n"


def growth_of(disk: Path, number: int, *, delete: int = 0, move: int = 0) -> Growth:
    policy = BlockerPolicy(delete=frozenset({delete} - {0}), move=frozenset({move} - {0}))
    return plan_growth(table_of(disk), number, disk.stat().st_size, policy)


def grown(disk: Path, number: int, **consents: int) -> PartitionTable:
    growth = growth_of(disk, number, **consents)
    assert isinstance(growth, Grown), growth
    return growth.table


def refused(disk: Path, number: int, **consents: int) -> NotPossible:
    growth = growth_of(disk, number, **consents)
    assert isinstance(growth, NotPossible), growth
    return growth


def sound_for_sgdisk(disk: Path) -> bool:
    return "No problems found" in run("sgdisk", "-v", disk)


def set_entry(disk: Path, number: int, kind: int, first: int, count: int) -> bytes:
    raw = struct.pack("<B3sB3sII", 0, b"\x01\x02\x03", kind, b"\x04\x05\x06", first, count)
    write_at(disk, _ENTRY + 16 * (number - 1), raw)
    return raw


# --- an MBR's entries of type 0 -----------------------------------------------------------------


def test_an_entry_of_type_0_keeps_its_bytes_and_its_number(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", _SIZE, "label: dos\n/dev/x3: start=32768,size=32768,type=83\n")
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
    assert [(free.start // MiB, free.end // MiB) for free in table.free_ranges()] == [(9, 16), (20, 64)]
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


def test_a_logical_partition_of_type_0_is_refused(tmp_path: Path) -> None:
    script = "label: dos\nstart=2048,size=100000,type=5\nstart=4096,size=8192,type=83\n"
    disk = make_disk(tmp_path / "disk.img", _SIZE, script)
    write_at(disk, MiB + _ENTRY + 4, b"\0")
    with opened(disk) as device, pytest.raises(TableUnsupported, match="type 0"):
        from growdisk.partitions.sectors import read_table

        read_table(device, disk)


# --- a GPT and an MBR at once -------------------------------------------------------------------

_THREE = "label: gpt\nstart=2048,size=16384\nstart=18432,size=8192\nstart=26624,size=65536\n"


@pytest.mark.parametrize("hybrid", ["1", "1:EE", "1:2", "2:1:EE"])
def test_what_only_the_gpt_names_grows_beside_a_hybrid_mbr(tmp_path: Path, hybrid: str) -> None:
    disk = make_disk(tmp_path / "disk.img", _SIZE, _THREE)
    run("sgdisk", "-h", hybrid, disk)
    before = read_at(disk, _ENTRY, 64)
    grow(disk, _LARGER)
    rewritten(disk, grown(disk, 3))
    kept = [at for at in range(0, 64, 16) if before[at + 4] != 0xEE]
    assert [read_at(disk, _ENTRY + at, 16) for at in kept] == [before[at : at + 16] for at in kept]
    assert sound_for_sgdisk(disk)
    assert table_of(disk).partitions[2].end > 160 * MiB


@pytest.mark.parametrize(("number", "consent"), [(3, {}), (2, {"delete": 3}), (2, {"move": 3})])
def test_what_the_mbr_names_as_well_is_neither_grown_nor_moved_nor_removed(
    tmp_path: Path, number: int, consent: dict[str, int]
) -> None:
    disk = make_disk(tmp_path / "disk.img", _SIZE, _THREE)
    run("sgdisk", "-h", "3", disk)
    grow(disk, _LARGER)
    refusal = refused(disk, number, **consent)
    assert "hybrid" in refusal.reason and "gdisk" in refusal.hint


def test_the_advice_to_make_the_mbr_protective_again_helps(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", _SIZE, _THREE)
    run("sgdisk", "-h", "3", disk)
    run("gdisk", disk, stdin="x\nn\nw\ny\n")
    grow(disk, _LARGER)
    rewritten(disk, grown(disk, 3))
    assert sound_for_sgdisk(disk)


def test_an_mbr_entry_for_space_that_the_gpt_calls_free_is_not_grown_into(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", _SIZE, "label: gpt\nstart=2048,size=16384\n")
    set_entry(disk, 2, 0x0C, 20480, 16384)
    assert "entry 2 of the MBR" in refused(disk, 1).reason


# --- a GPT in unusual places --------------------------------------------------------------------


@pytest.mark.parametrize("entries_at", [34, 4096, 6000])
def test_entries_that_were_moved_stay_where_they_are_and_so_does_what_is_in_their_place(
    tmp_path: Path, entries_at: int
) -> None:
    disk = make_disk(tmp_path / "disk.img", _SIZE, _ROOMY_GPT)
    run("sgdisk", "-j", str(entries_at), disk)
    loader = scribble(disk, 1024, min(entries_at, 4000) * 512, seed=1)
    grow(disk, _LARGER)
    rewritten(disk, grown(disk, 2))
    assert read_at(disk, 1024, len(loader)) == loader
    assert f"Main partition table begins at sector {entries_at}" in run("sgdisk", "-p", disk)
    assert sound_for_sgdisk(disk)
    assert sfdisk_table(disk).partitions == table_of(disk).partitions


@pytest.mark.parametrize("count", [4, 56, 60, 248])
def test_an_unusual_number_of_entries_stays(tmp_path: Path, count: int) -> None:
    disk = make_disk(tmp_path / "disk.img", _SIZE, f"label: gpt\ntable-length: {count}\nstart=8192,size=16384\n")
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


def test_what_the_header_keeps_out_of_use_behind_the_last_usable_sector_is_somebodys(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", _SIZE, "label: gpt\nlast-lba: 98303\nstart=2048,size=16384\n")
    empty = table_of(disk)
    scribble(disk, 50 * MiB, 51 * MiB, seed=3)
    grow(disk, _LARGER)
    assert empty.claims == ()
    assert "keeps out of use" in refused(disk, 1).reason


def test_a_disk_that_was_cut_off_behind_its_last_partition_needs_room_for_the_backup(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", _SIZE, "label: gpt\nstart=2048,size=16384\nstart=18432,size=81920\n")
    os.truncate(disk, (18432 + 81920) * 512)
    assert isinstance(growth_of(disk, 1), NothingToDo)
    growth = plan_growth(table_of(disk), 1, disk.stat().st_size, BlockerPolicy(delete=frozenset({2})))
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
