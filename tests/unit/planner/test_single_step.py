"""One step alone: what a user gives for it is held against what is on the disk."""

from __future__ import annotations

import pytest

from growdisk import api
from growdisk.fast_dataclass import replace
from growdisk.planner.goal import Goal
from growdisk.planner.proposal import Proposal
from growdisk.planner.single_step import remake_swap
from growdisk.steps.worker import SwapSpace
from growdisk.units import MiB
from tests.conftest import DiskMaker
from tests.refusals import raises


def test_swap_is_made_again_where_the_table_has_it(small_disk: DiskMaker) -> None:
    facts = api.inspect(small_disk())
    part = facts.table.by_number(5)
    swap = SwapSpace(5, part.start, part.size, "uuid", "")
    assert isinstance(remake_swap((swap,))(facts, Goal()), Proposal)


@pytest.mark.parametrize(("number", "moved"), [(1, 0), (5, MiB), (9, 0)])
def test_swap_is_not_made_over_anything_else(
    small_disk: DiskMaker, number: int, moved: int
) -> None:
    """A file system, a part of a partition, no partition at all."""
    facts = api.inspect(small_disk())
    part = facts.table.by_number(number) or facts.table.by_number(1)
    swap = SwapSpace(number, part.start + moved, part.size - moved, "uuid", "")
    with raises("belongs-to-others"):
        remake_swap((swap,))(facts, Goal())


def test_swap_with_the_memory_of_a_guest_is_not_made_again(small_disk: DiskMaker) -> None:
    facts = api.inspect(small_disk())
    part = facts.table.by_number(5)
    asleep = replace(facts.contents[5], hibernated="S1SUSPEND")
    swap = SwapSpace(5, part.start, part.size, "uuid", "")
    with raises("hibernated"):
        remake_swap((swap,))(replace(facts, contents={**facts.contents, 5: asleep}), Goal())
