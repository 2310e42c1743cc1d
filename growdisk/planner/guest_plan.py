"""A proposal as a guest can carry it out itself while it runs: the same planner's steps, for guest-side scripts."""

from __future__ import annotations

from collections.abc import Iterable

from growdisk.backends.guest_plan import GuestFilesystem, GuestPlan, GuestSwap, SwapFate
from growdisk.backends.guest_repair.swap_identity import SwapPolicy
from growdisk.filesystems.content import SwapContent
from growdisk.planner.facts import Facts
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.registry import DiskStep
from growdisk.steps.remake_swap import MakeSwapFile, RemakeSwap
from growdisk.steps.repair_guest import RepairGuest
from growdisk.steps.rewrite_partitions import RewritePartitions


def guest_plan(run: str, facts: Facts, steps: Iterable[DiskStep], *, serial: str = "") -> GuestPlan:
    """`facts` are those that the steps were planned from; `serial` is the disk's, where the host gave it one."""
    kinds = {type(step): step for step in steps}
    table, growth = kinds[RewritePartitions], kinds[GrowFilesystem]
    assert isinstance(table, RewritePartitions), table
    assert isinstance(growth, GrowFilesystem), growth
    made = kinds.get(MakeSwapFile)
    content = facts.contents[growth.number]
    return GuestPlan(
        run, table.before, table.after, growth.number,
        GuestFilesystem(content.kind, content.uuid, growth.old_size, growth.new_size),
        swaps=tuple(_swap(facts, table, number, fate) for number, fate in _fates(kinds.values())),
        swap_file_size=made.size if isinstance(made, MakeSwapFile) else 0, serial=serial,
    )  # fmt: skip


def _fates(steps: Iterable[DiskStep]) -> list[tuple[int, SwapFate]]:
    fates: list[tuple[int, SwapFate]] = []
    for step in steps:
        if isinstance(step, RemakeSwap):
            fates += [(swap.number, "move") for swap in step.swaps]
        elif isinstance(step, RepairGuest):
            # All the swap that goes becomes one file, under the name of the first.
            first: SwapFate = "file" if step.policy is SwapPolicy.FILE else "drop"
            fates += [(swap.number, "drop" if number else first) for number, swap in enumerate(step.swaps)]
    return fates


def _swap(facts: Facts, table: RewritePartitions, number: int, fate: SwapFate) -> GuestSwap:
    content, part = facts.contents[number], table.before.by_number(number)
    assert isinstance(content, SwapContent), content
    assert part is not None, number
    partuuid = part.guid or f"{table.before.disk_id.removeprefix('0x')}-{number:02x}"
    return GuestSwap(number, part.size, content.uuid, content.label, partuuid, part.name, fate)
