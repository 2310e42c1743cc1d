"""What becomes of swap that stood in the way: the steps that remake it, or make the guest forget it."""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.backends.guest_repair.swap_identity import SwapIdentity, SwapPolicy
from growdisk.filesystems.content import SwapContent
from growdisk.partitions.growth import Grown
from growdisk.partitions.table import Partition
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal
from growdisk.planner.layers.inside import Inside
from growdisk.planner.refusals import refuse_large_swap_file
from growdisk.steps.registry import DiskStep
from growdisk.steps.remake_swap import MakeSwapFile, RemakeSwap, SwapSpace
from growdisk.steps.repair_guest import RepairGuest


def swap_steps(facts: Facts, goal: Goal, growth: Grown, inside: Inside) -> Iterator[DiskStep]:
    """`inside` is what grows; the guest's own files are looked for there."""
    moved = tuple(
        SwapSpace(part.number, part.start, part.size, content.uuid, content.label)
        for part in growth.moved
        if isinstance(content := facts.contents.get(part.number), SwapContent)
    )
    if moved:
        yield RemakeSwap(moved)
    gone = [p for p in growth.removed if p.number in facts.swaps]
    if not gone or not inside.system:
        return
    if goal.swap == "file":
        size = sum(p.size for p in gone)
        refuse_large_swap_file(facts, size, inside.free)
        yield MakeSwapFile(inside.system, size, facts.contents[gone[0].number].uuid)
    remedy = SwapPolicy.FILE if goal.swap == "file" else SwapPolicy.DROP
    yield RepairGuest(inside.system, tuple(_identity(facts, part) for part in gone), remedy)


def _identity(facts: Facts, part: Partition) -> SwapIdentity:
    assert facts.table is not None
    content = facts.contents[part.number]
    if part.guid:
        partuuid = part.guid
    else:
        partuuid = f"{facts.table.disk_id.removeprefix('0x')}-{part.number:02x}"
    return SwapIdentity(part.number, content.uuid or None, content.label or None, partuuid, part.name or None)
