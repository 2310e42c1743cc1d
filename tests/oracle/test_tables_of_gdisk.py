"""Hybrid MBRs and entries elsewhere, made by gdisk (which sleeps a second each time)."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.unit.in_memory import tmp_path
from tests.unit.partitions.disks import (
    grow,
    grown,
    make_disk,
    read_at,
    refused,
    rewritten,
    run,
    scribble,
    sfdisk_table,
    sound_for_sgdisk,
    table_of,
)

__all__ = ["tmp_path"]

_SIZE, _LARGER = 64 * MiB, 164 * MiB
_ENTRY = 446
_ROOMY_GPT = (
    "label: gpt\nfirst-lba: 8192\nstart=8192,size=16384\nstart=24576,size=65536,name=root\n"
)
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


def test_no_consent_is_advised_for_what_the_mbr_names_as_well(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", _SIZE, _THREE)
    run("sgdisk", "-h", "3", disk)
    grow(disk, _LARGER)
    refusal = refused(disk, 2)
    assert "stands between" in refusal.reason and "hybrid" in refusal.reason
    assert "--move" not in refusal.hint and "--delete" not in refusal.hint


def test_the_advice_to_make_the_mbr_protective_again_helps(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", _SIZE, _THREE)
    run("sgdisk", "-h", "3", disk)
    run("gdisk", disk, stdin="x\nn\nw\ny\n")
    grow(disk, _LARGER)
    rewritten(disk, grown(disk, 3))
    assert sound_for_sgdisk(disk)


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
