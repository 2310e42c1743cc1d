"""Random layouts and goals: plans are sound, and libparted does exactly these."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from growdisk.partitions.growth import Grown, NotPossible
from growdisk.partitions.shares import Rest
from growdisk.partitions.table import Role
from tests.layouts.requests import assert_nothing_left, assert_sound, random_disk, random_request
from tests.unit.partitions.disks import grow, rewritten, run, sfdisk_table, table_of

DISKS, WISHES = 60, 60


@pytest.mark.parametrize("seed", range(DISKS))
def test_any_request_for_any_layout_leads_to_a_sound_plan(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    table = random_disk(tmp_path / "disk.img", dice)
    for _ in range(WISHES):
        request = random_request(table, dice)
        growth = request.plan(table)
        if isinstance(growth, NotPossible):
            assert growth.reason and growth.hint
        elif isinstance(growth, Grown):
            assert_sound(table, request, growth)
            if list(request.shares.values()) == [Rest()]:
                assert_nothing_left(table, request, growth)


@pytest.mark.parametrize("seed", range(100))
def test_a_plan_becomes_the_table_that_was_planned(tmp_path: Path, seed: int) -> None:
    dice = random.Random(10_000 + seed)
    disk = tmp_path / "disk.img"
    table = random_disk(disk, dice)
    for _ in range(200):
        request = random_request(table, dice)
        growth = request.plan(table)
        if isinstance(growth, Grown):
            break
    else:
        pytest.fail("no request could be fulfilled")
    grow(disk, request.size)
    changes = rewritten(disk, growth.table.with_disk_size(request.size - request.size % 512))
    assert (
        sfdisk_table(disk)
        == table_of(disk)
        == growth.table.with_disk_size(request.size - request.size % 512)
    )
    if table.kind == "gpt":
        assert "No problems found" in run("sgdisk", "-v", disk)
    content = [p for p in growth.table.partitions if p.role is not Role.EXTENDED]
    assert not [c for c in changes for p in content if p.start <= c.offset < p.end], (
        "a table's sector in a partition"
    )


def test_the_dice_fall_on_every_side(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for seed in range(25):
        dice = random.Random(seed)
        table = random_disk(tmp_path / "disk.img", dice)
        for _ in range(40):
            growth = random_request(table, dice).plan(table)
            seen[f"{table.kind} {type(growth).__name__}"] += 1
            if isinstance(growth, Grown):
                target = table.by_number(growth.target.number)
                assert target is not None
                seen[f"{target.role.value} grows"] += 1
                seen[f"moved {bool(growth.moved)}"] += 1
                seen[f"removed {bool(growth.removed)}"] += 1
                seen[f"others {bool(growth.others)}"] += 1
    assert min(seen.values()) >= 5, seen
    assert len(seen) >= 13, seen  # an MBR disk here always has free space
