"""The names of steps are the journal's keys: the same whoever plans the step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from growdisk.filesystems.content import LuksContent
from growdisk.partitions.shares import Percent, Rest
from growdisk.partitions.table import Partition, PartitionTable
from growdisk.planner.facts import Facts, ImageFacts
from growdisk.planner.goal import Goal, Grow
from growdisk.planner.planner import propose
from growdisk.planner.proposal import PlanFunction, Proposal
from growdisk.planner.single_step import grow_only
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.units import GiB, MiB, parse_size
from tests.unit.planner.volume_facts import EXT, facts

BOTH = (Grow("sda1", Percent(50)), Grow("sda2", Rest()))


@pytest.mark.parametrize(
    ("planned", "goal"),
    [
        (propose, Goal(parse_size("+1G"), grow=BOTH)),
        (propose, Goal(grow=BOTH)),
        (grow_only, Goal(grow=BOTH)),
    ],
    ids=["the disk grows", "unused space is filled", "a step alone"],
)
def test_the_first_on_the_disk_has_no_suffix_whatever_its_number(
    planned: PlanFunction, goal: Goal
) -> None:
    parts = (Partition(1, GiB, 3 * GiB, type_code="83"), Partition(2, MiB, GiB, type_code="83"))
    table = PartitionTable("mbr", "0x5ca1ab1e", 512, 3 * GiB, parts)
    small = {
        number: replace(EXT, size=512 * MiB, block_count=512 * MiB // 4096, uuid=f"uuid-{number}")
        for number in (1, 2)
    }
    image = ImageFacts(Path("guest.qcow2"), "qcow2", 3 * GiB, GiB, version=3)
    found = planned(Facts(image, table, dict(small)), goal)
    assert isinstance(found, Proposal)
    steps = [step for step in found.steps if isinstance(step, GrowFilesystem)]
    assert [(step.number, step.name) for step in steps] == [
        (2, "grow-filesystem"),
        (1, "grow-filesystem-sda1"),
    ]


def test_a_container_in_a_container_has_a_name_of_its_own() -> None:
    """The journal and the snapshots of both would be one otherwise."""
    inner = LuksContent(
        "crypto_LUKS", "uuid-2", size=2 * GiB, unlocked=True, inside=EXT, payload=16 * MiB
    )
    outer = replace(inner, uuid="uuid-1", size=3 * GiB - 17 * MiB, inside=inner)
    found = propose(facts(outer), Goal(parse_size("+1G")))
    assert isinstance(found, Proposal)
    names = [step.name for step in found.steps]
    assert names[-3:] == ["grow-luks", "grow-luks-2", "grow-filesystem"]
