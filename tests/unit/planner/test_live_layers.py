"""Containers and volumes in a running guest: what is planned, and given to its scripts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from growdisk.errors import KeyNeeded
from growdisk.filesystems.content import LuksContent, PhysicalVolumeContent
from growdisk.filesystems.volume_group import LogicalVolume, LvSegment, PhysicalVolume, VolumeGroup
from growdisk.guest_scripts.script_plan import GuestLayer
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal, RunOptions
from growdisk.planner.guest_plan import growth_layers, guest_plan
from growdisk.planner.live_plan import make_live_plan
from growdisk.planner.plan import Plan, decode_plan, encode_plan
from growdisk.planner.planner import propose
from growdisk.planner.proposal import Proposal
from growdisk.planner.refusals import CannotGrow
from growdisk.units import GiB, MiB, parse_size
from tests.unit.planner.live_facts import AROUND, WAY
from tests.unit.planner.volume_facts import EXT, EXTENT, facts

_WRITABLE = ("READ", "WRITE", "VISIBLE")
GROUP_UUID, ROOT_UUID, OTHER_UUID = "GROUP1-abcd-0000", "ROOT01-abcd-0000", "OTHER1-abcd-0000"
LUKS_UUID = "0f0f0f0f-0000-4000-8000-000000000001"


def group(extents: int) -> VolumeGroup:
    own = PhysicalVolume("pv0", "PV", extents * EXTENT + MiB, MiB, extents, ("ALLOCATABLE",))
    root = LogicalVolume(
        "root", ROOT_UUID, True, (LvSegment(0, 512, "striped", (("pv0", 0),)),), _WRITABLE
    )
    return VolumeGroup(
        "vg0", GROUP_UUID, 1, EXTENT, ("RESIZEABLE", "READ", "WRITE"), (own,), (root,), "pv0"
    )


def volumes(size: int) -> PhysicalVolumeContent:
    extents = (size - MiB) // EXTENT
    return PhysicalVolumeContent(
        "LVM2_member", "PV", size=size, group=group(extents), volumes=(("root", EXT),)
    )


def planned(seen: Facts) -> Plan:
    proposal = propose(seen, Goal(parse_size("+1G")))
    assert isinstance(proposal, Proposal), proposal
    around = replace(AROUND, disk=replace(AROUND.disk, size=3 * GiB))
    plan = make_live_plan(
        "run-1", seen, proposal, Goal(parse_size("+1G")), RunOptions(snapshots="none"), around, WAY
    )
    assert decode_plan(encode_plan(plan)) == plan
    return plan


def test_a_volume_group_grows_layer_by_layer_and_the_first_of_them_is_the_point_of_no_return() -> (
    None
):
    plan = planned(facts(volumes(3 * GiB - MiB)))
    table = ["resize-image", "rewrite-partitions", "reread-partitions"]
    assert [step.name for step in plan.steps] == [*table, "grow-pv", "grow-lv", "grow-filesystem"]
    assert "point of no return: grow-pv" in " ".join(plan.notes)
    assert plan.way is not None and plan.way.guest is not None
    extents = (4 * GiB - 2 * MiB) // EXTENT
    uuid = (GROUP_UUID + ROOT_UUID).replace("-", "")
    assert plan.way.guest.layers == (
        GuestLayer("pv", "", "vg0", extents=extents),
        GuestLayer("lv", uuid, "vg0/root", extents * EXTENT, extents),
    )
    assert plan.way.guest.room == extents * EXTENT


def test_what_the_guest_has_open_grows_and_what_it_has_not_needs_its_passphrase() -> None:
    size = 3 * GiB - 17 * MiB
    container = LuksContent("crypto_LUKS", LUKS_UUID, size=size, version=2, payload=16 * MiB)
    opened = replace(container, unlocked=True, inside=volumes(size))
    plan = planned(facts(opened))
    assert [step.name for step in plan.steps][3:] == [
        "grow-luks",
        "grow-pv",
        "grow-lv",
        "grow-filesystem",
    ]
    assert plan.way is not None and plan.way.guest is not None
    first = plan.way.guest.layers[0]
    assert (first.kind, first.uuid, first.size) == ("luks", LUKS_UUID.replace("-", ""), size + GiB)
    with pytest.raises(KeyNeeded):
        planned(facts(container))


def test_several_volumes_grow_in_one_run_and_have_their_group_in_common() -> None:
    content = volumes(3 * GiB - MiB)
    assert content.group is not None
    root = replace(
        content.group.logical_volumes[0], segments=(LvSegment(0, 256, "striped", (("pv0", 0),)),)
    )
    other = LogicalVolume(
        "home", OTHER_UUID, True, (LvSegment(0, 256, "striped", (("pv0", 256),)),), _WRITABLE
    )
    both = replace(content, group=replace(content.group, logical_volumes=(root, other)))
    small = replace(EXT, size=GiB, block_count=GiB // 4096)
    both = replace(both, volumes=(("root", small), ("home", replace(small, uuid="other"))))
    from growdisk.partitions.shares import Percent
    from growdisk.planner.goal import Grow

    goal = Goal(parse_size("+1G"), lv=(Grow("root", Percent(50)), Grow("home", Percent(50))))
    proposal = propose(facts(both), goal)
    assert isinstance(proposal, Proposal)
    plan = make_live_plan("run-1", facts(both), proposal, goal, RunOptions(), AROUND, WAY)
    names = [
        "grow-pv",
        "grow-lv-root",
        "grow-filesystem-root",
        "grow-lv-home",
        "grow-filesystem-home",
    ]
    assert [step.name for step in plan.steps][3:] == names
    assert decode_plan(encode_plan(plan)) == plan
    assert plan.way is not None and plan.way.guest is not None
    first, second = plan.way.guest, plan.way.guest.growth(1)
    assert [layer.name for layer in first.layers] == ["vg0", "vg0/root"]
    assert [layer.name for layer in second.layers] == ["vg0", "vg0/home"]
    assert (second.filesystem.uuid, second.room) == ("other", second.layers[1].size)
    assert growth_layers(plan.own_steps) == dict(
        zip(names, [(0, 1), (0, 2), (0, 0), (1, 2), (1, 0)], strict=True)
    )
    with pytest.raises(CannotGrow, match="2 file systems would grow, and the scripts are for one"):
        guest_plan("run-1", facts(both), proposal.steps)


@pytest.mark.parametrize(("reserved", "told"), [(255, False), (0, True)])
def test_an_ext_file_system_without_reserved_gdt_blocks_is_told_of(
    reserved: int, told: bool
) -> None:
    content = replace(EXT, reserved_gdt_blocks=reserved)
    seen = facts(content)
    proposal = propose(seen, Goal(parse_size("+20G")))
    assert isinstance(proposal, Proposal)
    plan = make_live_plan(
        "run-1", seen, proposal, Goal(parse_size("+20G")), RunOptions(), AROUND, WAY
    )
    assert ("reserved GDT blocks" in " ".join(plan.notes)) == told
