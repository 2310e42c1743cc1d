"""What an L1 table reaches, in the order of the file: by marks as by sorting."""

from __future__ import annotations

import random
from array import array

import pytest

from growdisk.qcow2 import references
from growdisk.qcow2.references import References


def collected(singles: list[int], runs: list[tuple[int, int]]) -> References:
    found = References()
    found.singles.extend(array("Q", singles))
    for first, count in runs:
        found.add(first, count)
    return found


@pytest.mark.parametrize("chance", range(5))
def test_marks_join_what_sorting_joins(monkeypatch: pytest.MonkeyPatch, chance: int) -> None:
    picked = random.Random(chance)
    clusters = picked.sample(range(4000), 2500)
    singles, runs = clusters, [(5000, 30), (4990, 10), (6000, 4000)]
    by_marks = collected(singles, runs)
    joined = by_marks.runs()
    monkeypatch.setattr(references, "_MAX_MARKS", 0)
    in_order = collected(singles, runs)
    assert joined == in_order.runs()
    assert sum(count for _, count in joined) == 2500 + 4040
    assert by_marks.repeated is in_order.repeated is None


@pytest.mark.parametrize(
    ("singles", "runs", "twice"),
    [
        ([7, 9, 7], [], 7),
        ([7, 30], [(20, 11)], 30),
        ([1], [(20, 11), (25, 1)], 25),
        ([3] * 300, [], 3),
    ],
)
def test_a_cluster_that_is_claimed_twice_is_told(
    monkeypatch: pytest.MonkeyPatch, singles: list[int], runs: list[tuple[int, int]], twice: int
) -> None:
    for limit in (1 << 25, 0):
        monkeypatch.setattr(references, "_MAX_MARKS", limit)
        found = collected(singles, runs)
        found.runs()
        assert found.repeated == twice


def test_clusters_far_behind_do_not_take_a_mark_each() -> None:
    found = collected([1 << 43, 5], [(1 << 42, 1)])
    assert found.runs() == [(5, 1), (1 << 42, 1), (1 << 43, 1)]
