"""Numbers by cluster, small and large, across segments."""

from __future__ import annotations

import random

from growdisk.qcow2.check.cluster_counts import SEGMENT, ClusterCounts


def test_a_run_across_segments_raises_every_cluster_once():
    tally = ClusterCounts()
    tally.add_run(SEGMENT - 3, SEGMENT + 6)
    assert (tally[SEGMENT - 4], tally[SEGMENT - 3], tally[2 * SEGMENT + 2]) == (0, 1, 1)
    assert tally[2 * SEGMENT + 3] == 0
    assert tally.ones(0, 3 * SEGMENT) == SEGMENT + 6
    assert tally.last_used(10 * SEGMENT) == 2 * SEGMENT + 2
    assert tally.last_used(SEGMENT) == SEGMENT - 1


def test_numbers_beyond_a_byte_are_exact():
    tally = ClusterCounts()
    for _ in range(1000):
        tally.add(7)
    tally.add_run(5, 4, 70000)
    assert [tally[cluster] for cluster in range(4, 10)] == [0, 70000, 70000, 71000, 70000, 0]
    assert list(tally.above(70000)) == [(7, 71000)]
    assert list(tally.get(5, 3)) == [70000, 70000, 71000]


def test_a_run_that_takes_a_full_byte_one_further_loses_nothing():
    tally = ClusterCounts()
    tally.add_run(0, 10, 254)
    tally.add_run(5, 10, 1)
    assert list(tally.get(4, 3)) == [254, 255, 255]
    assert tally[14] == 1


def test_large_numbers_can_be_put_over_small_ones():
    tally = ClusterCounts()
    tally.put(0, b"\1\2\3")
    tally.put(1, (1 << 60, 2))
    assert list(tally.get(0, 4)) == [1, 1 << 60, 2, 0]


def test_differences_are_found_where_segments_are_missing_or_wide():
    one, other = ClusterCounts(), ClusterCounts()
    one.add(3)
    other.add(3, 300)
    other.add(3 * SEGMENT + 1)
    other.add(5 * SEGMENT)
    assert list(one.differing(other, 5 * SEGMENT)) == [(3, 1, 300), (3 * SEGMENT + 1, 0, 1)]


def test_random_changes_agree_with_a_dictionary():
    chance, tally, expected = random.Random(5), ClusterCounts(), [0] * (3 * SEGMENT)
    for _ in range(300):
        first, length = chance.randrange(2 * SEGMENT), chance.choice((1, 2, 100, 3000, SEGMENT))
        times = chance.choice((1, 2, 90))
        tally.add_run(first, length, times)
        expected[first : first + length] = [
            value + times for value in expected[first : first + length]
        ]
    assert list(tally.get(0, 3 * SEGMENT)) == expected
