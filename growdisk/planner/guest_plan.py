"""A proposal as a guest can carry it out itself while it runs: the same planner's steps, for guest-side scripts."""

from __future__ import annotations

from collections.abc import Iterable

from growdisk.backends.guest_plan import GuestFilesystem, GuestPlan, GuestSwap, SwapFate
from growdisk.backends.guest_repair.swap_identity import SwapPolicy
from growdisk.filesystems.content import SwapContent
from growdisk.planner.facts import Facts
from growdisk.planner.failures import CannotGrow
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.registry import DiskStep
from growdisk.steps.remake_swap import MakeSwapFile, RemakeSwap
from growdisk.steps.repair_guest import RepairGuest
from growdisk.steps.rewrite_partitions import RewritePartitions

_MOUNTED = ("xfs", "btrfs")  # grown to whatever the partition is


def guest_plan(run: str, facts: Facts, steps: Iterable[DiskStep], *, serial: str = "") -> GuestPlan:
    """`facts` are those that the steps were planned from; `serial` is the disk's, where the host gave it one.

    Raises CannotGrow for what is grown while the guest is off only.
    """
    steps = tuple(steps)
    table = next(step for step in steps if isinstance(step, RewritePartitions))
    made = next((step for step in steps if isinstance(step, MakeSwapFile)), None)
    target = _target(table, steps)
    return GuestPlan(
        run, table.before, table.after, target, _filesystem(facts, steps, target),
        swaps=tuple(_swap(facts, table, number, fate) for number, fate in _fates(steps)),
        swap_file_size=made.size if made else 0, serial=serial,
    )  # fmt: skip


def _target(table: RewritePartitions, steps: Iterable[DiskStep]) -> int:
    """What grows: in its place, unlike what is moved."""
    for step in steps:
        if isinstance(step, GrowFilesystem):
            return step.number
    old = {part.number: part for part in table.before.partitions}
    return next(p.number for p in table.after.partitions if (p.start, p.end) > (old[p.number].start, old[p.number].end))


def _filesystem(facts: Facts, steps: Iterable[DiskStep], target: int) -> GuestFilesystem:
    growths = [step for step in steps if isinstance(step, GrowFilesystem)]
    content = facts.contents.get(target)
    if len(growths) == 1 and content is not None:
        return GuestFilesystem(content.kind, content.uuid, growths[0].old_size, growths[0].new_size)
    if content is not None and content.kind in _MOUNTED:
        return GuestFilesystem(content.kind, content.uuid, content.size or 0, 0)
    raise CannotGrow(
        facts.image.path, target, reason=f"it holds {facts.kind_of(target)}, which growdisk grows only at rest",
        hint="shut the guest down and use growdisk expand on its image",
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
