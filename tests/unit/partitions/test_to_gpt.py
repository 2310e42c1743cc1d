"""An MBR that becomes a GPT: judged by sgdisk and sfdisk, refused if something boots from it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from growdisk.partitions.rewriting import gpt_sectors
from growdisk.partitions.sectors import apply_changes
from growdisk.partitions.table import PartitionTable, Role
from growdisk.partitions.to_gpt import as_gpt, starts_something
from growdisk.units import GiB, MiB, TiB
from tests.unit.partitions.disks import (
    grow,
    make_disk,
    opened,
    read_at,
    run,
    sfdisk_table,
    table_of,
    write_at,
)
from tests.unit.partitions.layouts import write_random_mbr

DATA = "label: dos\nlabel-id: 0x5ca1ab1e\n1: start=2048, size=40960, type=83\n"


def converted(table: PartitionTable, size: int) -> PartitionTable:
    gpt = as_gpt(table, size, boot_code=False)
    assert isinstance(gpt, PartitionTable), gpt
    return gpt


@pytest.mark.parametrize("seed", range(20))
def test_places_and_numbers_stay_and_foreign_tools_find_no_fault(tmp_path: Path, seed: int) -> None:
    disk, dice = tmp_path / "disk.img", random.Random(seed)
    write_random_mbr(disk, GiB, dice, most_logicals=8)
    read = table_of(disk)
    old = read.with_partitions(
        replace(
            p,
            bootable=False,
            type_code="83" if p.type_code not in ("5", "f", "85", "82") else p.type_code,
        )
        for p in read.partitions
    )
    size = dice.choice((2 * GiB, 3 * TiB + 5 * 512))
    gpt = converted(old, size)
    grow(disk, size)
    with opened(disk, writable=True) as device:
        apply_changes(device, gpt_sectors(gpt, device.read(0, 512)))
    assert table_of(disk) == sfdisk_table(disk) == gpt
    assert "No problems found" in run("sgdisk", "-v", disk)
    places = {p.number: (p.start, p.end) for p in old.partitions if p.role is not Role.EXTENDED}
    assert {p.number: (p.start, p.end) for p in gpt.partitions} == places
    assert converted(old, size) == gpt, "the same plan is made twice"


def test_until_sector_0_is_written_it_is_still_the_old_disk(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", 64 * MiB, DATA)
    old, boot = table_of(disk), read_at(disk, 0, 440)
    changes = gpt_sectors(converted(old, 64 * MiB), read_at(disk, 0, 512))
    with opened(disk, writable=True) as device:
        apply_changes(device, [change for change in changes if change.offset])
    assert table_of(disk) == old
    with opened(disk, writable=True) as device:
        apply_changes(device, [change for change in changes if not change.offset])
    assert table_of(disk).kind == "gpt"
    assert read_at(disk, 0, 440) == boot


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (DATA.replace("83", "83, bootable"), "boot flag"),
        (DATA.replace("83", "ef"), "EFI system partition"),
        (DATA.replace("83", "da"), "has no GPT type"),
        (DATA.replace("2048", "10"), "has its own sectors"),
        (DATA.replace("size=40960", "size=129024"), "has its own sectors"),
    ],
)
def test_what_would_not_work_afterwards_is_refused_with_the_reason(
    tmp_path: Path, script: str, why: str
) -> None:
    table = table_of(make_disk(tmp_path / "disk.img", 64 * MiB, script))
    refused = as_gpt(table, 64 * MiB, boot_code=False)
    assert isinstance(refused, str)
    assert why in refused


def test_a_boot_loader_is_told_from_the_code_that_libparted_leaves(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", 64 * MiB, DATA)
    table = table_of(disk)
    assert not starts_something(read_at(disk, 0, 512))
    write_at(disk, 0, b"\xeb\x63\x90" + random.Random(1).randbytes(437))  # as GRUB's begins
    assert starts_something(read_at(disk, 0, 512))
    refused = as_gpt(table, 64 * MiB, boot_code=True)
    assert isinstance(refused, str)
    assert "boot loader" in refused
    fresh = tmp_path / "parted.img"
    fresh.touch()
    grow(fresh, 64 * MiB)
    run("parted", "-s", fresh, "mklabel", "msdos", "mkpart", "primary", "1MiB", "20MiB")
    assert any(read_at(fresh, 0, 440))
    assert not starts_something(read_at(fresh, 0, 512))
