"""Disks with logical sectors of 4096 bytes: parted and fdisk make the tables and judge them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from growdisk.partitions.blocks import BlockerPolicy
from growdisk.partitions.growth import Grown, plan_growth
from growdisk.partitions.rewriting import rewrite
from growdisk.partitions.sectors import apply_changes, read_table
from growdisk.units import GiB, MiB
from tests.refusals import raises
from tests.unit.partitions.disks import grow, make_disk, opened
from tests.unit.partitions.large_disks import SECTOR, make, places, table_of

LAYOUTS = {
    "gpt": ("root 1MiB 300MiB", "swap 300MiB 400MiB"),
    "msdos": ("primary 1MiB 300MiB", "extended 301MiB 400MiB", "logical 302MiB 400MiB"),
}


@pytest.mark.parametrize("label", LAYOUTS)
@pytest.mark.parametrize("swap_moves", [False, True])
def test_the_root_grows_past_swap(tmp_path: Path, label: str, swap_moves: bool) -> None:
    disk = tmp_path / "disk.img"
    table = make(disk, label, *LAYOUTS[label])
    assert {p.number: (p.start, p.end) for p in table.partitions} == places(disk)
    grow(disk, GiB)
    last = table.partitions[-1].number
    growth = plan_growth(
        table_of(disk), 1, GiB, BlockerPolicy({last: "swap"}, swap_moves=swap_moves)
    )
    assert isinstance(growth, Grown)
    with opened(disk, writable=True) as device:
        apply_changes(device, rewrite(device, disk, growth.table))
    assert {p.number: (p.start, p.end) for p in growth.table.partitions} == places(disk)
    assert table_of(disk) == growth.table
    assert "PARTED_SECTOR_SIZE" not in os.environ
    fdisk = subprocess.run(
        ["/sbin/fdisk", "-b", "4096", "-l", disk], capture_output=True, text=True, check=True
    )
    assert len(re.findall(rf"^{disk}\d+ ", fdisk.stdout, re.MULTILINE)) == len(
        growth.table.partitions
    )
    assert "error" not in fdisk.stderr.lower() and "corrupt" not in fdisk.stderr.lower()


def test_a_gpt_for_large_sectors_says_which_option_is_missing(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    make(disk, "gpt", *LAYOUTS["gpt"])
    with opened(disk) as device, raises("table-unsupported") as refusal:
        read_table(device, disk)
    assert "--sector-size 4096" in refusal.value.what_to_do


def test_a_gpt_for_small_sectors_says_so_too(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", 100 * MiB, "label: gpt\nsize=50M\n")
    with opened(disk) as device, raises("table-unsupported") as refusal:
        read_table(device, disk, SECTOR)
    assert "--sector-size 512" in refusal.value.what_to_do
