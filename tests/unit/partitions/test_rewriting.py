"""Tables written through libparted and our own sectors, judged by sfdisk and sgdisk."""

from __future__ import annotations

import gc
import random
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from growdisk.errors import OperationFailed
from growdisk.partitions.blocks import BlockerPolicy
from growdisk.partitions.growth import Grown, plan_growth
from growdisk.partitions.located import SectorChange
from growdisk.partitions.sectors import apply_changes
from growdisk.partitions.table import Partition, PartitionTable, Role
from growdisk.units import GiB, MiB, TiB
from tests.refusals import raises
from tests.unit.partitions.disks import (
    classic_disk,
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
from tests.unit.partitions.layouts import write_random_mbr


def plan(
    path: Path, number: int, kinds: dict[int, str], *, swap_moves: bool = False
) -> PartitionTable:
    growth = plan_growth(
        table_of(path), number, path.stat().st_size, BlockerPolicy(kinds, swap_moves=swap_moves)
    )
    assert isinstance(growth, Grown), growth
    return growth.table


@pytest.mark.parametrize("swap_moves", [False, True])
@pytest.mark.parametrize("boot_code", ["zeros", "random"])
def test_the_classic_guest_grows_and_keeps_boot_code_signature_and_gap(
    tmp_path: Path, swap_moves: bool, boot_code: str
) -> None:
    disk = classic_disk(tmp_path / "disk.img")
    gap = scribble(disk, 512, MiB, seed=1)
    if boot_code == "random":
        scribble(disk, 0, 440, seed=2)
    scribble(disk, 444, 446, seed=3)
    head = read_at(disk, 0, 446)
    grow(disk, 12 * GiB)
    new = plan(disk, 1, {5: "swap"}, swap_moves=swap_moves)
    rewritten(disk, new)
    assert read_at(disk, 0, 446) == head
    assert read_at(disk, 512, MiB - 512) == gap
    assert sfdisk_table(disk) == table_of(disk) == new


def test_dropping_swap_changes_one_sector_only(tmp_path: Path) -> None:
    disk = classic_disk(tmp_path / "disk.img")
    grow(disk, 12 * GiB)
    changes = rewritten(disk, plan(disk, 1, {5: "swap"}))
    assert [c.offset for c in changes] == [0]


def test_moving_swap_changes_its_new_boot_record_and_sector_0(tmp_path: Path) -> None:
    disk = classic_disk(tmp_path / "disk.img")
    grow(disk, 12 * GiB)
    new = plan(disk, 1, {5: "swap"}, swap_moves=True)
    assert new.extended is not None
    assert [c.offset for c in rewritten(disk, new)] == [0, new.extended.start]


def test_a_table_that_is_as_planned_changes_nothing(tmp_path: Path) -> None:
    disk = classic_disk(tmp_path / "disk.img")
    assert rewritten(disk, table_of(disk)) == ()


def test_the_change_can_be_made_before_the_disk_has_grown(tmp_path: Path) -> None:
    disk = classic_disk(tmp_path / "disk.img")
    growth = plan_growth(table_of(disk), 1, 12 * GiB, BlockerPolicy({5: "swap"}, swap_moves=True))
    assert isinstance(growth, Grown)
    from growdisk.partitions.rewriting import rewrite

    with opened(disk) as device:
        changes = rewrite(device, disk, growth.table)
    grow(disk, 12 * GiB)
    with opened(disk, writable=True) as device:
        apply_changes(device, changes)
    assert sfdisk_table(disk) == growth.table


def test_swap_in_primary_slot_3_moves_without_becoming_number_2(tmp_path: Path) -> None:
    script = (
        "label: dos\n/dev/x1: start=2048,size=20480,type=83,bootable\n/dev/x3: "
        "start=22528,size=20480,type=82\n"
    )
    disk = make_disk(tmp_path / "disk.img", 100 * MiB, script)
    new = plan(disk, 1, {3: "swap"}, swap_moves=True)
    rewritten(disk, new)
    assert [p.number for p in new.partitions] == [1, 3]
    assert sfdisk_table(disk) == new


@pytest.mark.parametrize("code", ["5", "f", "85"])
def test_the_type_of_the_extended_partition_stays(tmp_path: Path, code: str) -> None:
    script = f"label: dos\n2048,18432,7\n22526,40962,{code}\n22528,20480,82\n45056,18432,1b\n"
    disk = make_disk(tmp_path / "disk.img", 100 * MiB, script)
    new = plan(disk, 1, {5: "swap", 6: "swap"}, swap_moves=True)
    rewritten(disk, new)
    assert [p.type_code for p in new.partitions] == ["7", code, "82", "1b"]
    assert sfdisk_table(disk) == new


def test_an_mbr_signature_of_zero_stays_zero(tmp_path: Path) -> None:
    disk = classic_disk(tmp_path / "disk.img")
    write_at(disk, 440, bytes(4))
    grow(disk, 12 * GiB)
    rewritten(disk, plan(disk, 1, {5: "swap"}))
    assert read_at(disk, 0, 446) == bytes(446)
    assert table_of(disk).disk_id == "0x00000000"


def test_a_disk_of_two_tib_is_rewritten_as_fast_as_a_small_one(tmp_path: Path) -> None:
    disk = classic_disk(tmp_path / "disk.img")
    grow(disk, 2 * TiB)
    began = time.process_time()
    new = plan(disk, 1, {5: "swap"}, swap_moves=True)
    rewritten(disk, new)
    assert time.process_time() - began < 1
    assert sfdisk_table(disk) == new


def test_what_libparted_cannot_make_is_a_failure_that_wrote_nothing(tmp_path: Path) -> None:
    disk = classic_disk(tmp_path / "disk.img")
    table = table_of(disk)
    over_the_swap = table.replaced(replace(table.partitions[0], end=2000 * MiB))
    with raises("table-rewrite-failed", match="libparted"):
        rewritten(disk, over_the_swap)
    with raises("table-rewrite-failed"):
        rewritten(
            disk, table.with_partitions([*table.partitions, Partition(3, 2047 * MiB, 2048 * MiB)])
        )
    assert table_of(disk) == table


def test_a_failed_rewrite_leaves_the_next_one_unharmed(tmp_path: Path) -> None:
    test_what_libparted_cannot_make_is_a_failure_that_wrote_nothing(tmp_path)
    test_dropping_swap_changes_one_sector_only(tmp_path)


CLOUD = """label: gpt
/dev/x1: start=227328, size=2G, type=L, name="rüt", attrs="LegacyBIOSBootable GUID:59"
/dev/x14: start=2048, size=8192, type=21686148-6449-6E6F-744E-656564454649
/dev/x15: start=10240, size=217088, type=C12A7328-F81F-11D2-BA4B-00C93EC93B3B, name="ESP", attrs="RequiredPartition"
"""  # noqa: E501


@pytest.mark.parametrize("size", [10 * GiB, 10 * GiB + 512 * 77, 3 * TiB])
def test_a_cloud_gpt_grows_with_numbers_guids_and_names_kept(tmp_path: Path, size: int) -> None:
    disk = make_disk(tmp_path / "disk.img", 3 * GiB, CLOUD)
    boot_code = scribble(disk, 0, 440, seed=5)
    grow(disk, size)
    # what lies where the backup goes must not shine through
    scribble(disk, size - 20000, size, seed=6)
    new = plan(disk, 1, {})
    rewritten(disk, new)
    assert sfdisk_table(disk) == table_of(disk) == new
    assert "No problems found" in run("sgdisk", "-v", disk)
    assert read_at(disk, 0, 440) == boot_code
    assert [p.number for p in new.partitions] == [1, 14, 15]


@pytest.mark.parametrize("swap_moves", [False, True])
def test_swap_behind_the_root_on_gpt(tmp_path: Path, swap_moves: bool) -> None:
    script = (
        "label: "
        "gpt\nsize=100M,name=root\nsize=50M,type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F,name=swap\n"
    )
    disk = make_disk(tmp_path / "disk.img", 200 * MiB, script)
    grow(disk, 500 * MiB)
    new = plan(disk, 1, {2: "swap"}, swap_moves=swap_moves)
    rewritten(disk, new)
    assert sfdisk_table(disk) == new
    assert "No problems found" in run("sgdisk", "-v", disk)


def test_a_gpt_that_claims_a_smaller_disk_than_it_is_on(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", 256 * MiB, "label: gpt\nlast-lba: 409600\nsize=100M\n")
    new = plan(disk, 1, {})
    rewritten(disk, new)
    assert sfdisk_table(disk) == new
    assert "No problems found" in run("sgdisk", "-v", disk)


class _Recorder:
    """Notes the order of writes and flushes of a device."""

    def __init__(self) -> None:
        self.log: list[int | str] = []

    def write(self, offset: int, _data: bytes) -> None:
        self.log.append(offset // 512)

    def flush(self) -> None:
        self.log.append("flush")


def test_sector_0_is_written_last_and_all_else_is_durable_before() -> None:
    recorder = _Recorder()
    apply_changes(recorder, [SectorChange(n * 512, bytes(512)) for n in (0, 1, 2, 3, 800, 801)])  # type: ignore[arg-type]
    assert recorder.log == [801, 800, "flush", 3, 2, "flush", 1, "flush", 0, "flush"]


@pytest.mark.parametrize("seed", range(60))
def test_random_layouts_become_exactly_what_was_planned(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    disk = tmp_path / "disk.img"
    write_random_mbr(disk, 512 * MiB, dice)
    table = table_of(disk)
    assert table == sfdisk_table(disk)
    grow(disk, dice.choice((512 * MiB, 600 * MiB + 512, GiB)))
    kinds = {p.number: "swap" for p in table.partitions if p.role is not Role.EXTENDED}
    target = dice.choice([p for p in table.partitions if p.role is Role.PRIMARY])
    growth = plan_growth(
        table,
        target.number,
        disk.stat().st_size,
        BlockerPolicy(kinds, swap_moves=dice.choice((False, True, False))),
    )
    new = (
        growth.table
        if isinstance(growth, Grown)
        else table.with_disk_size(disk.stat().st_size - disk.stat().st_size % 512)
    )
    changes = rewritten(disk, new)
    assert sfdisk_table(disk) == table_of(disk) == new
    for change in changes:
        sector = change.offset
        assert not any(
            p.start <= sector < p.end for p in new.partitions if p.role is not Role.EXTENDED
        )


@pytest.mark.parametrize("seed", range(8))
def test_nothing_but_table_sectors_changes_on_a_disk_full_of_noise(
    tmp_path: Path, seed: int
) -> None:
    dice = random.Random(100 + seed)
    disk = classic_disk(tmp_path / "disk.img")
    places = [
        3893246 * 512 + 512,
        3893246 * 512 - 4096,
        3 * GiB - 147 * MiB - 8192,
        3 * GiB - 4096,
        MiB,
        512,
    ]
    grow(disk, 3 * GiB)
    noise = {at: scribble(disk, at, at + dice.choice((512, 3072)), seed=at) for at in places}
    new = plan(disk, 1, {5: "swap"}, swap_moves=dice.choice((False, True, False)))
    rewritten(disk, new)
    assert all(read_at(disk, at, len(data)) == data for at, data in noise.items())


@pytest.mark.parametrize("seed", range(30))
def test_random_gpt_layouts_become_exactly_what_was_planned(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    script, cursor = "label: gpt\n", 2048
    numbers = dice.sample(range(1, 129), dice.randint(1, 6))
    for number in numbers:
        start = cursor + dice.choice((0, 1, 2048))
        size = dice.randrange(2000, 60_000)
        kind = dice.choice("LSU")
        attributes = f'name="p{number} é", attrs="GUID:{dice.randrange(48, 64)}"'
        script += f"/dev/x{number}: start={start}, size={size}, type={kind}, {attributes}\n"
        cursor = start + size
    smallest = (cursor + 40) * 512
    disk = make_disk(tmp_path / "disk.img", smallest, script)
    grow(disk, smallest + dice.choice((0, 512, MiB, 100 * MiB, GiB)))
    policy = BlockerPolicy(
        dict.fromkeys(numbers, "swap"), swap_moves=dice.choice((False, True, False))
    )
    growth = plan_growth(table_of(disk), dice.choice(numbers), disk.stat().st_size, policy)
    new = (
        growth.table
        if isinstance(growth, Grown)
        else table_of(disk).with_disk_size(disk.stat().st_size)
    )
    rewritten(disk, new)
    assert sfdisk_table(disk) == table_of(disk) == new
    assert "No problems found" in run("sgdisk", "-v", disk)


def test_many_disks_of_different_sizes_in_one_process(tmp_path: Path) -> None:
    """libparted caches devices by name, pyparted's objects may outlive them: SIGFPE, once."""
    gc.freeze()  # what is collected each time is of this test, and not all that pytest holds
    for seed in range(40):
        dice = random.Random(1000 + seed)
        disk = tmp_path / "disk.img"
        write_random_mbr(disk, 512 * MiB, dice)
        grow(disk, 512 * MiB + dice.randrange(1 << 20) * 512)
        new = table_of(disk)
        part = dice.choice(new.partitions)
        with suppress(OperationFailed):
            rewritten(disk, new.replaced(replace(part, end=part.end + 300 * MiB)))
        rewritten(disk, new)
        gc.collect()
    gc.unfreeze()
