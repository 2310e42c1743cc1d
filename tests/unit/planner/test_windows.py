"""Windows on an MBR disk starts by the places of its volumes: they grow, and are not moved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from growdisk.errors import Refused
from growdisk.filesystems.content import NtfsContent
from growdisk.partitions.table import Partition, PartitionTable, TableKind
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal
from growdisk.planner.layout import layout_of
from growdisk.planner.planner import propose
from growdisk.planner.proposal import Proposal
from growdisk.units import GiB, MiB, parse_size
from tests.unit.planner.volume_facts import EXT, facts


def disk_with(kind: TableKind, *, system: bool) -> Facts:
    """ext4 in sda1, NTFS in sda2."""
    found = facts(EXT)
    parts = (Partition(1, MiB, 3 * GiB), Partition(2, 3 * GiB, 5 * GiB))
    table = PartitionTable(kind, "0x5ca1ab1e", 512, 6 * GiB, parts)
    ntfs = NtfsContent("ntfs", size=2 * GiB - 512, system=system)
    image = replace(found.image, virtual_size=6 * GiB)
    return replace(found, image=image, table=table, contents={1: EXT, 2: ntfs})


@pytest.mark.parametrize(
    ("kind", "system", "moves"),
    [("mbr", True, False), ("mbr", False, True), ("gpt", True, True)],
)
def test_windows_is_moved_only_where_it_is_known_by_a_name(
    kind: TableKind, system: bool, moves: bool
) -> None:
    found = disk_with(kind, system=system)
    (blocker,) = layout_of(found).blockers
    assert ("--move 2" in blocker.options, "--delete 2" in blocker.options) == (moves, not system)
    goal = Goal(parse_size("+1G"), partition="1", move=(2,))
    if moves:
        assert isinstance(propose(found, goal), Proposal)
        return
    with pytest.raises(Refused, match="knows it by its place") as refused:
        propose(found, goal)
    assert "--partition 2" in refused.value.what_to_do
