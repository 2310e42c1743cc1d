"""Runs in L2 tables: whatever the table, the runs name exactly its entries."""

from __future__ import annotations

import random
import struct

from growdisk.qcow2.check.l2_tables import RunFinder

STEP = 1 << 16
COPIED, COMPRESSED = 1 << 63, 1 << 62


def runs_of(entries: list[int]) -> list[tuple[int, int]]:
    return list(RunFinder(STEP).runs(struct.pack(f">{len(entries)}Q", *entries)))


def test_a_contiguous_table_is_one_run():
    assert runs_of([COPIED | 5 * STEP + i * STEP for i in range(8192)]) == [
        (COPIED | 5 * STEP, 8192)
    ]


def test_an_empty_table_and_one_of_zero_clusters_have_no_runs():
    assert runs_of([0] * 8192) == []
    assert runs_of([1] * 8192) == []


def test_one_entry_out_of_place_splits_the_run():
    entries = [COPIED | i * STEP for i in range(1, 513)]
    entries[200] = COPIED | 9999 * STEP
    named = [entry + i * STEP for entry, length in runs_of(entries) for i in range(length)]
    assert named == entries


def test_compressed_entries_never_join_a_run():
    assert runs_of([COMPRESSED | i * STEP for i in range(1, 65)]) == [
        (COMPRESSED | i * STEP, 1) for i in range(1, 65)
    ]


def test_a_run_does_not_reach_from_the_offset_into_the_flags():
    entries = [(1 << 56) - STEP * 32 + i * STEP for i in range(64)]
    assert all(length < 64 for _, length in runs_of(entries))


def test_random_tables_are_named_entry_for_entry():
    chance = random.Random(1)
    for _ in range(100):
        entries: list[int] = []
        while len(entries) < 1024:
            first = chance.choice((0, 1, COPIED, COMPRESSED, 0)) | chance.choice(
                (0, chance.randrange(1 << 30) * STEP)
            )
            step = chance.choice((STEP, STEP, 0, 7 * STEP))
            entries += [first + i * step for i in range(chance.choice((1, 3, 40, 500)))]
        entries = entries[:1024]
        named = [entry + i * STEP for entry, length in runs_of(entries) for i in range(length)]
        assert named == [entry for entry in entries if entry not in (0, 1)]
