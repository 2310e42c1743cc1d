"""Which table a growing partition leads to; no disk is needed for that."""

from __future__ import annotations

import pytest

from growdisk.fast_dataclass import replace
from growdisk.partitions.blocks import BlockerPolicy, blockers
from growdisk.partitions.growth import (
    Grown,
    Growth,
    NothingToDo,
    NotPossible,
    plan_growth,
)
from growdisk.partitions.table import Partition, PartitionTable, Role
from growdisk.units import GiB, MiB, TiB

CLASSIC = PartitionTable(
    "mbr",
    "0x12345678",
    512,
    2 * GiB,
    (
        Partition(1, MiB, 1900 * MiB, bootable=True),
        Partition(2, 1901 * MiB - 1024, 2047 * MiB, Role.EXTENDED, "5"),
        Partition(5, 1901 * MiB, 2047 * MiB, Role.LOGICAL, "82"),
    ),
)
SWAP_IS_5 = {1: "ext4", 5: "swap"}


def planned(
    table: PartitionTable, number: int, size: int, policy: BlockerPolicy | None = None
) -> Growth:
    return plan_growth(table, number, size, policy or BlockerPolicy(kinds=SWAP_IS_5))


def grown(growth: Growth) -> Grown:
    assert isinstance(growth, Grown), growth
    return growth


def mbr(size: int, *parts: Partition) -> PartitionTable:
    return PartitionTable("mbr", "0x1", 512, size, parts)


def gpt(size: int, *parts: Partition) -> PartitionTable:
    return PartitionTable("gpt", "A", 512, size, parts)


def test_dropped_swap_leaves_the_whole_disk_to_the_root() -> None:
    growth = grown(planned(CLASSIC, 1, 12 * GiB, BlockerPolicy(SWAP_IS_5)))
    assert growth.table.partitions == (Partition(1, MiB, 12 * GiB, bootable=True),)
    assert [p.number for p in growth.removed] == [2, 5]
    assert growth.table.disk_id == CLASSIC.disk_id


def test_moved_swap_keeps_size_number_type_and_its_two_sectors() -> None:
    growth = grown(planned(CLASSIC, 1, 12 * GiB, BlockerPolicy(SWAP_IS_5, swap_moves=True)))
    one, two, five = growth.table.partitions
    assert (two.end, five.end) == (12 * GiB, 12 * GiB)
    assert (five.size, five.start - two.start, five.type_code) == (146 * MiB, 1024, "82")
    assert two.type_code == "5"
    assert one == Partition(1, MiB, 12 * GiB - 147 * MiB, bootable=True)
    assert growth.moved == (two, five)


def test_an_untouched_debian_disk_keeps_its_swap() -> None:
    for swap_moves in (False, True):
        growth = planned(
            CLASSIC, 1, CLASSIC.disk_size, BlockerPolicy(SWAP_IS_5, swap_moves=swap_moves)
        )
        assert isinstance(growth, NothingToDo)


@pytest.mark.parametrize("swap_moves", [False, True])
def test_what_has_been_grown_has_nothing_left_to_do(swap_moves: bool) -> None:
    policy = BlockerPolicy(SWAP_IS_5, swap_moves=swap_moves)
    table = grown(planned(CLASSIC, 1, 12 * GiB, policy)).table
    assert isinstance(planned(table, 1, 12 * GiB, policy), NothingToDo)
    assert isinstance(planned(table, 1, 12 * GiB + 511 * 1024, policy), NothingToDo)


def test_free_space_between_root_and_swap_is_taken_without_touching_swap() -> None:
    table = mbr(10 * GiB, Partition(1, MiB, GiB), Partition(2, 9 * GiB, 10 * GiB, type_code="82"))
    growth = grown(planned(table, 1, 10 * GiB, BlockerPolicy(kinds={2: "swap"})))
    assert (growth.target.end, growth.removed) == (9 * GiB, ())


def test_only_swap_with_free_space_behind_it_gives_way() -> None:
    parts = [Partition(1, MiB, GiB), Partition(2, GiB, 2 * GiB), Partition(3, 9 * GiB, 10 * GiB)]
    policy = BlockerPolicy({2: "swap", 3: "swap"}, swap_moves=True)
    growth = grown(planned(mbr(10 * GiB, *parts), 1, 10 * GiB, policy))
    assert growth.table.partitions == (
        Partition(1, MiB, 8 * GiB),
        parts[1].moved_by(7 * GiB),
        parts[2],
    )


def test_an_unaligned_end_of_the_disk_is_left_alone() -> None:
    growth = grown(planned(mbr(GiB, Partition(1, MiB, GiB)), 1, 2 * GiB + 7 * 512))
    assert growth.target.end == 2 * GiB


@pytest.mark.parametrize("start", [34 * 512, 63 * 512, 2049 * 512, MiB])
def test_what_is_whole_blocks_of_4_kib_long_stays_so_wherever_it_starts(start: int) -> None:
    table = mbr(GiB, Partition(1, start, start + 100 * MiB + 4096))
    size = grown(planned(table, 1, 2 * GiB)).target.size
    assert size % 4096 == 0
    assert 2 * GiB - start - 4096 < size <= 2 * GiB - start
    again = table.replaced(replace(table.partitions[0], end=start + size))
    assert isinstance(planned(again, 1, 2 * GiB), NothingToDo)
    assert isinstance(planned(again, 1, 2 * GiB + MiB), Grown)


def test_an_extended_partition_has_all_the_mib_that_its_logical_one_can_take() -> None:
    table = mbr(
        GiB,
        Partition(2, 53 * MiB - 1024, 400 * MiB - 1024, role=Role.EXTENDED, type_code="5"),
        Partition(5, 53 * MiB, 400 * MiB - 4096, role=Role.LOGICAL),
    )
    assert grown(planned(table, 5, 2 * GiB)).target.end == 2 * GiB


def test_less_than_one_mib_is_nothing_to_do() -> None:
    table = mbr(GiB, Partition(1, MiB, GiB))
    assert isinstance(planned(table, 1, GiB + MiB - 512), NothingToDo)
    assert isinstance(planned(table, 1, GiB + MiB), Grown)


def test_data_behind_the_root_is_refused_by_number_kind_and_size() -> None:
    table = mbr(3 * GiB, Partition(1, MiB, GiB), Partition(2, GiB, 3 * GiB))
    refusal = planned(table, 1, 10 * GiB, BlockerPolicy(kinds={2: "ext4"}))
    assert isinstance(refusal, NotPossible)
    assert (
        refusal.reason
        == "partition 2 (ext4, 2.0 GiB) stands between partition 1 and 7.0 GiB of free space"
    )
    assert "--delete 2" in refusal.hint
    assert [p.number for p in refusal.blockers] == [2]


def test_data_beside_swap_in_the_extended_partition_holds_both() -> None:
    six = Partition(6, 2047 * MiB, 2 * GiB, Role.LOGICAL)
    two = Partition(2, 1901 * MiB - 1024, 2 * GiB, Role.EXTENDED, "5")
    table = CLASSIC.replaced(two, six)
    refusal = planned(table, 1, 10 * GiB)
    assert isinstance(refusal, NotPossible)
    assert "partition 5 (swap" in refusal.reason
    assert "partition 6 (unknown content" in refusal.reason
    consent = BlockerPolicy(kinds=SWAP_IS_5, delete=frozenset({6}))
    assert grown(planned(table, 1, 10 * GiB, consent)).table.partitions == (
        Partition(1, MiB, 10 * GiB, bootable=True),
    )


def test_data_at_the_very_end_only_limits_the_growth() -> None:
    table = mbr(10 * GiB, Partition(1, MiB, GiB), Partition(2, 9 * GiB, 10 * GiB))
    assert grown(planned(table, 1, 10 * GiB)).target.end == 9 * GiB


def test_consent_removes_a_blocker() -> None:
    table = mbr(3 * GiB, Partition(1, MiB, GiB), Partition(2, GiB, 3 * GiB))
    growth = grown(planned(table, 1, 10 * GiB, BlockerPolicy(delete=frozenset({2}))))
    assert growth.table.partitions == (Partition(1, MiB, 10 * GiB),)


def test_an_mbr_partition_may_end_at_two_tib_and_not_beyond() -> None:
    assert grown(planned(CLASSIC, 1, 2 * TiB)).target.end == 2 * TiB
    refusal = planned(CLASSIC, 1, 2 * TiB + MiB)
    assert isinstance(refusal, NotPossible)
    assert "32 bits" in refusal.reason


def test_a_gpt_leaves_room_for_its_backup() -> None:
    table = gpt(GiB, Partition(14, MiB, 5 * MiB), Partition(1, 5 * MiB, GiB - MiB))
    growth = grown(planned(table, 1, 4 * TiB))
    assert growth.target.end == 4 * TiB - MiB
    assert isinstance(planned(growth.table, 1, 4 * TiB), NothingToDo)


def test_a_table_with_a_damaged_copy_is_refused() -> None:
    table = PartitionTable(
        "gpt",
        "A",
        512,
        GiB,
        (Partition(1, MiB, 9 * MiB),),
        damage="the GPT at the start is damaged",
    )
    refusal = planned(table, 1, 2 * GiB)
    assert isinstance(refusal, NotPossible)
    assert refusal.reason == "the GPT at the start is damaged"


def test_blockers_are_named_with_what_is_inside_them() -> None:
    assert [p.number for p in blockers(CLASSIC, 1)] == [2, 5]
    assert blockers(CLASSIC, 5) == ()
