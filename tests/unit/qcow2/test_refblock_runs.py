"""Which clusters of a run have a count: by slices if neighbours are alike, else one by one."""

from __future__ import annotations

import random
from array import array

import pytest

from growdisk.qcow2.refblock import runs_of


@pytest.mark.parametrize("typecode", ["B", "H", "Q"])
def test_the_runs_of_a_count_are_all_of_them_and_nothing_else(typecode: str) -> None:
    numbers = random.Random(typecode)
    for _ in range(300):
        block = array(
            typecode, [numbers.choice((0, 1, 1, 2)) for _ in range(numbers.randint(1, 40))]
        )
        if numbers.random() < 0.3:
            block = array(typecode, [block[0]]) * len(block)
        first = numbers.randrange(len(block))
        count = numbers.randint(1, len(block) - first)
        found = [
            index for start, end in runs_of(block, first, count, 1) for index in range(start, end)
        ]
        assert found == [index for index in range(count) if block[first + index] == 1]


def test_runs_are_whole() -> None:
    assert list(runs_of(array("H", [1, 1, 2, 1, 1, 1, 0, 1]), 1, 7, 1)) == [(0, 1), (2, 5), (6, 7)]
    assert list(runs_of(array("H", [2, 2, 2]), 0, 3, 1)) == []
