"""Numbers by cluster, small and large, across segments."""

from __future__ import annotations

import random

from growdisk.qcow2.check.cluster_counts import SEGMENT, ClusterCounts


def test_a_run_across_segments_raises_every_cluster_once():
    counts = ClusterCounts()
    counts.add_run(SEGMENT - 3, SEGMENT + 6)
    assert (counts[SEGMENT - 4], counts[SEGMENT - 3], counts[2 * SEGMENT + 2]) == (0, 1, 1)
    assert counts[2 * SEGMENT + 3] == 0
    assert counts.ones(0, 3 * SEGMENT) == SEGMENT + 6
    assert counts.last_used(10 * SEGMENT) == 2 * SEGMENT + 2
    assert counts.last_used(SEGMENT) == SEGMENT - 1


def test_numbers_beyond_a_byte_are_exact():
    counts = ClusterCounts()
    for _ in range(1000):
        counts.add(7)
    counts.add_run(5, 4, 70000)
    assert [counts[cluster] for cluster in range(4, 10)] == [0, 70000, 70000, 71000, 70000, 0]
    assert list(counts.above(70000)) == [(7, 71000)]
    assert list(counts.get(5, 3)) == [70000, 70000, 71000]


def test_a_run_that_takes_a_full_byte_one_further_loses_nothing():
    counts = ClusterCounts()
    counts.add_run(0, 10, 254)
    counts.add_run(5, 10, 1)
    assert list(counts.get(4, 3)) == [254, 255, 255]
    assert counts[14] == 1


def test_large_numbers_can_be_put_over_small_ones():
    counts = ClusterCounts()
    counts.put(0, b"\1\2\3")
    counts.put(1, (1 << 60, 2))
    assert list(counts.get(0, 4)) == [1, 1 << 60, 2, 0]


def test_differences_are_found_where_segments_are_missing_or_wide():
    one, other = ClusterCounts(), ClusterCounts()
    one.add(3)
    other.add(3, 300)
    other.add(3 * SEGMENT + 1)
    other.add(5 * SEGMENT)
    assert list(one.differing(other, 5 * SEGMENT)) == [
        (range(3, 4), 1, 300),
        (range(3 * SEGMENT + 1, 3 * SEGMENT + 2), 0, 1),
    ]


def test_random_changes_agree_with_a_dictionary():
    chance, counts, expected = random.Random(5), ClusterCounts(), [0] * (3 * SEGMENT)
    for _ in range(300):
        first, length = chance.randrange(2 * SEGMENT), chance.choice((1, 2, 100, 3000, SEGMENT))
        times = chance.choice((1, 2, 90))
        counts.add_run(first, length, times)
        expected[first : first + length] = [
            value + times for value in expected[first : first + length]
        ]
    assert list(counts.get(0, 3 * SEGMENT)) == expected
