"""Fragmented tables: taken whole, they are judged as by entry, and as qemu-img judges them."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from growdisk.api.images.checking import check_image
from growdisk.qcow2.check.cluster_counts import SEGMENT, ClusterCounts
from growdisk.qcow2.check.l2_tables import FragmentedTable, FragmentedTables
from tests.unit.qcow2.shuffled import Change, shuffled

COPIED = 1 << 63
MASK = 0x00FFFFFFFFFFFE00


def put(index: int, value: Callable[[list[int]], int]) -> Change:
    def change(entries: list[int]) -> None:
        entries[index] = value(entries)

    return change


CHANGES: dict[str, Change] = {
    "none": lambda entries: None,
    "COPIED is missing": put(700, lambda e: e[700] & ~COPIED),
    "a zero cluster with data": put(700, lambda e: e[700] | 1),
    "holes": lambda entries: entries.__setitem__(slice(600, 800, 3), [0] * 67),
    "a plain zero cluster": put(700, lambda e: 1),
    "a cluster twice": put(700, lambda e: e[1300]),
    "not aligned": put(700, lambda e: e[700] + 512),
    "beyond the end": put(700, lambda e: COPIED | 1 << 30),
    "a reserved bit": put(700, lambda e: e[700] | 2),
    "compressed": put(700, lambda e: (e[700] & MASK) | 1 << 62),
    "300 times the same": lambda entries: entries.__setitem__(slice(600, 900), [entries[0]] * 300),
}


@pytest.mark.parametrize("snapshot", [False, True], ids=["alone", "with a snapshot"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_check_finds_what_it_finds_entry_by_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, snapshot: bool
):
    image = tmp_path / "image.qcow2"
    shuffled(image, CHANGES[name], snapshot=snapshot)
    taken: list[bool] = []
    read = FragmentedTables.read

    def watched(self: FragmentedTables, table: bytes) -> FragmentedTable | None:
        found = read(self, table)
        taken.append(found is not None)
        return found

    monkeypatch.setattr(FragmentedTables, "read", watched)
    whole = check_image(image)
    # at most the changed table, in both passes, is looked at more closely
    assert sum(taken) >= len(taken) - 2
    monkeypatch.setattr(FragmentedTables, "read", lambda self, table: None)
    assert whole == check_image(image)
    assert whole is not None
    said = subprocess.run(
        ["qemu-img", "check", "--output=json", image], capture_output=True, text=True, check=False
    )
    theirs = json.loads(said.stdout)
    ours = whole.as_json()
    for key in (
        "corruptions",
        "leaks",
        "allocated-clusters",
        "fragmented-clusters",
        "total-clusters",
    ):
        assert ours[key] == theirs.get(key, 0), key


def test_numbers_of_many_clusters_are_those_of_each():
    numbers, one_by_one, picked = ClusterCounts(), ClusterCounts(), random.Random(3)
    for area, times in ((SEGMENT * 3, 1), (SEGMENT * 200, 2), (50, 1), (50, 9)):
        clusters = [picked.randrange(area) for _ in range(400)]
        numbers.add_each(clusters, max(clusters), times)
        for cluster in clusters:
            one_by_one.add(cluster, times)
        assert list(numbers.ones_among(clusters, max(clusters))) == [
            one_by_one[cluster] == 1 for cluster in clusters
        ]
    assert list(numbers.differing(one_by_one, SEGMENT * 200)) == []
    assert numbers.segments() == one_by_one.segments()
