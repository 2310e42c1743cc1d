"""What an L1 table reaches, in the order of the file: by marks as by sorting."""

from __future__ import annotations

import random
from array import array
from collections import Counter

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
    assert by_marks.overlap is in_order.overlap is False


@pytest.mark.parametrize(
    ("singles", "runs", "counted"),
    [
        ([7, 9, 7], [], {7: 2, 9: 1}),
        ([7, 30], [(20, 11)], {7: 1, 30: 2} | dict.fromkeys(range(20, 30), 1)),
        ([1], [(20, 6), (23, 1)], {1: 1, 20: 1, 21: 1, 22: 1, 23: 2, 24: 1, 25: 1}),
        ([3] * 300, [], {3: 300}),
    ],
)
def test_a_cluster_that_is_named_several_times_is_so_often_in_the_runs(
    monkeypatch: pytest.MonkeyPatch,
    singles: list[int],
    runs: list[tuple[int, int]],
    counted: dict[int, int],
) -> None:
    for limit in (1 << 25, 0):
        monkeypatch.setattr(references, "_MAX_MARKS", limit)
        found = collected(singles, runs)
        joined = found.runs()
        assert found.overlap
        assert counted == Counter(
            cluster for first, count in joined for cluster in range(first, first + count)
        )


def test_clusters_far_behind_do_not_take_a_mark_each() -> None:
    found = collected([1 << 43, 5], [(1 << 42, 1)])
    assert found.runs() == [(5, 1), (1 << 42, 1), (1 << 43, 1)]
