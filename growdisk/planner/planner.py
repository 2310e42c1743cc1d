"""Makes a plan of facts and a goal, or says that nothing is to do, or refuses. Pure: reads and touches nothing.

A plan holds all steps of the job; a step whose layer is done already finds that out itself and is skipped, so that a
run converges whatever was done before. Only when every layer is as wanted is there no plan at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from growdisk.filesystems.content import Content
from growdisk.partitions.growth import BlockerPolicy, Grown, NothingToDo, SwapPolicy, plan_growth
from growdisk.partitions.table import Partition, PartitionTable
from growdisk.planner.facts import Facts
from growdisk.planner.failures import CannotGrow, WouldShrink
from growdisk.planner.goal import Goal
from growdisk.planner.layers.inside import Inside, Room
from growdisk.planner.layers.registry import grow_inside
from growdisk.planner.refusals import (
    refuse_corrupt,
    refuse_hibernated,
    refuse_wrong_consent,
)
from growdisk.planner.swap_fates import swap_steps
from growdisk.planner.target import choose_target
from growdisk.steps.registry import DiskStep
from growdisk.steps.reread_partitions import RereadPartitions
from growdisk.steps.resize_image import ResizeImage
from growdisk.steps.rewrite_partitions import RewritePartitions
from growdisk.units import MiB, align_down, align_up, format_size

_SECTOR = 512


@dataclass(frozen=True)
class Proposal:
    """What would be done: the steps, the facts as they will be, and what is given up for it."""

    steps: tuple[DiskStep, ...]
    after: Facts
    given_up: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class AllDone:
    """Every layer is as wanted."""

    reason: str


def propose(facts: Facts, goal: Goal) -> Proposal | AllDone:
    """Raises Refused errors, which name the image."""
    refuse_corrupt(facts)
    refuse_hibernated(facts)
    table, target = choose_target(facts, goal.partition)
    refuse_wrong_consent(facts, goal, table, target)
    new_size = _new_size(facts, goal)
    growth = _growth(facts, goal, table, target, new_size)
    if isinstance(growth, NothingToDo):
        if new_size - facts.image.virtual_size >= MiB:  # the space lies elsewhere on the disk: the image alone grows
            raise CannotGrow(facts.image.path, target.number, reason=growth.reason, hint="growdisk show draws the disk")
        growth, new_size = Grown(table, target), facts.image.virtual_size
    inside = grow_inside(Room(facts, growth.target, goal))
    if growth.table == table and not inside.lags:
        return AllDone(_all_done(facts, goal, target))
    steps = tuple(_steps(facts, goal, growth, new_size, inside))
    given_up = (*_given_up(facts, goal, growth), *inside.given_up)
    return Proposal(steps, _after(facts, growth, new_size, inside), given_up, inside.notes)


def _all_done(facts: Facts, goal: Goal, target: Partition) -> str:
    name, asked = facts.name_of(target.number), _new_size(facts, goal) - facts.image.virtual_size
    if 0 < asked < MiB:
        return f"{format_size(asked)} more is less than a partition grows by (1 MiB)"
    return f"{name} takes all the space that it can get, and its file system fills it"


def _new_size(facts: Facts, goal: Goal) -> int:
    old = facts.image.virtual_size
    new = old if goal.size is None else align_up(goal.size.resolve(old), _SECTOR)
    if new < old:
        raise WouldShrink(facts.image.path, old=format_size(old), new=format_size(new))
    return new


def _growth(facts: Facts, goal: Goal, table: PartitionTable, target: Partition, new_size: int) -> Grown | NothingToDo:
    kinds = {p.number: facts.kind_of(p.number) for p in table.partitions}
    policy = BlockerPolicy(SwapPolicy(goal.swap), kinds, frozenset(goal.delete))
    growth = plan_growth(table, target.number, new_size, policy)
    if isinstance(growth, Grown | NothingToDo):
        return growth
    others = [p for p in facts.candidates if isinstance(plan_growth(table, p.number, new_size, policy), Grown)]
    hint = "".join(f"; {facts.name_of(p.number)} could grow without that: --partition {p.number}" for p in others[-1:])
    raise CannotGrow(facts.image.path, target.number, reason=growth.reason, hint=growth.hint + hint)


# --- the steps ----------------------------------------------------------------------------------


def _steps(facts: Facts, goal: Goal, growth: Grown, new_size: int, inside: Inside) -> Iterator[DiskStep]:
    assert facts.table is not None
    disk_size = align_down(new_size, _SECTOR)  # a table counts whole sectors; a raw file may end within one
    before, after = facts.table.with_disk_size(disk_size), growth.table.with_disk_size(disk_size)
    yield ResizeImage(facts.image.virtual_size, new_size, goal.preallocation)
    yield RewritePartitions(before, after)
    yield RereadPartitions(after)
    yield from inside.steps
    yield from swap_steps(facts, goal, growth, inside)


# --- what it will look like ---------------------------------------------------------------------


def _after(facts: Facts, growth: Grown, new_size: int, inside: Inside) -> Facts:
    numbers = {part.number for part in growth.table.partitions}
    contents: dict[int, Content] = {n: c for n, c in facts.contents.items() if n in numbers}
    if inside.content is not None:
        contents[growth.target.number] = inside.content
    image = replace(facts.image, virtual_size=new_size)
    return Facts(image, growth.table.with_disk_size(new_size), contents)


def _given_up(facts: Facts, goal: Goal, growth: Grown) -> Iterator[str]:
    for part in growth.removed:
        kind, size = facts.kind_of(part.number), format_size(part.size)
        if part.number in facts.swaps:
            becomes = " (a swap file takes its place)" if goal.swap == "file" else ""
            yield f"sda{part.number}: swap partition of {size}{becomes}"
        elif part.role.value != "extended":
            yield f"sda{part.number}: {kind}, {size}, as --delete {part.number} asked"
