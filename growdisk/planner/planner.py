"""Makes a plan of facts and a goal, or says that nothing is to do, or refuses.

Pure: reads and touches nothing. A plan holds all steps of the job; a step whose layer is done
already finds that out itself and is skipped, so that a run converges whatever was done before. Only
when every layer is as wanted is there no plan at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from growdisk.errors import Refused
from growdisk.fast_dataclass import replace
from growdisk.partitions.blocks import BlockerPolicy
from growdisk.partitions.growth import Grown, NothingToDo, plan_growth
from growdisk.partitions.shares import Share, plan_shares
from growdisk.partitions.table import WINDOWS_RECOVERY, Partition, PartitionTable, Role
from growdisk.partitions.to_gpt import as_gpt
from growdisk.planner.by_rule import proposed_by_rule
from growdisk.planner.facts import Facts
from growdisk.planner.foreign import (
    is_fixed,
    is_needed,
    refuse_foreign,
    refuse_foreign_blockers,
    refuse_foreign_disk,
    refuse_hidden_main,
    refuse_target,
)
from growdisk.planner.giving_up import repair_notes, swap_steps
from growdisk.planner.goal import Goal
from growdisk.planner.layers.content_growth import ContentGrowth, contents_after, together
from growdisk.planner.layers.growers import grow_contents, notes_on_tpm
from growdisk.planner.moves import moves_of, notes_on, notes_on_removed
from growdisk.planner.proposal import GoalReached, Proposal
from growdisk.planner.refusals import (
    CannotGrow,
    device_cannot_grow,
    option_unsupported,
    refuse_hibernated,
    refuse_unwritable,
    refuse_volumes_without_lvm,
    refuse_wrong_consent,
    would_shrink,
)
from growdisk.planner.what_grows import choose_shares, grown_of, is_whole_disk, refuse_table_options
from growdisk.steps.moving import Move
from growdisk.steps.registry import DiskStep
from growdisk.steps.resize_image import GrowDevice, ResizeImage
from growdisk.steps.table_steps import RereadPartitions, RewritePartitions
from growdisk.units import MiB, align_down, align_up, format_size
from growdisk.volumes.luks2_json import PARTITION_TABLE

_MBR_RECOVERY = "27"


def propose(facts: Facts, goal: Goal) -> Proposal | GoalReached:
    """Raises Refused errors, which name the image."""
    return (
        proposed_by_rule(goal.rule, facts, goal, _propose) if goal.rule else _propose(facts, goal)
    )


def without_gone(facts: Facts, goal: Goal) -> Goal:
    """The goal less the consent to lose partitions that are not there."""
    numbers = {part.number for part in facts.partitions}
    return replace(goal, delete=tuple(number for number in goal.delete if number in numbers))


def _propose(facts: Facts, goal: Goal) -> Proposal | GoalReached:
    """A proposal for the goal, or GoalReached."""
    # The same command again finds no partitions that it removed: fine if nothing is to do; else the
    # user has named a wrong one.
    again = without_gone(facts, goal)
    if again != goal:
        # A refusal of the goal that was made smaller would puzzle: the goal as given is tried then.
        with suppress(Refused):
            if isinstance(done := _propose_named(facts, again), GoalReached):
                return done
    return _propose_named(facts, goal)


def _propose_named(facts: Facts, goal: Goal) -> Proposal | GoalReached:
    # 1. What nobody may change at all: said before anything else is found fault with.
    refuse_unwritable(facts)
    refuse_hibernated(facts)
    refuse_foreign_disk(facts)
    if is_whole_disk(facts):
        refuse_volumes_without_lvm(facts, goal, facts.contents)
        return _propose_whole(facts, goal)
    # 2. What grows, and whether that may be touched.
    refuse_hidden_main(facts, goal)
    table, shares = choose_shares(facts, goal)
    refuse_volumes_without_lvm(facts, goal, shares)
    refuse_wrong_consent(facts, goal, table, shares)
    # Before anything is advised that would be of no use.
    for part in facts.partitions:
        if part.number in shares:
            refuse_target(facts, part)
    # 3. The table as it will be.
    new_size = wanted_size(facts, goal)
    table = wanted_table(facts, goal, table, new_size)
    growth = _growth(facts, goal, table, shares, new_size)
    # The table need not change, but what is in the partitions may not fill them yet.
    if isinstance(growth, NothingToDo):
        first, *others = grown_of(table, shares)
        # the space lies elsewhere on the disk: the image alone grows
        if new_size - facts.image.virtual_size >= MiB:
            reason = growth.reason
            raise CannotGrow(facts.image.path, first.number, reason, "growdisk show draws the disk")
        growth, new_size = Grown(table, first, others=tuple(others)), facts.image.virtual_size
    # Only now is it known what moves, and what goes.
    refuse_foreign(facts, goal, growth, shares)
    # 4. What stands in the partitions, as large as these will be.
    insides = grow_contents(facts, goal, (growth.target, *growth.others))
    inside = together(insides.values())
    if growth.table == facts.table and not inside.pending:
        return GoalReached(_all_done(facts, goal, growth.target))
    # 5. There is something to do.
    moves = moves_of(facts, growth)
    return Proposal(
        steps=tuple(_steps(facts, goal, growth, new_size, moves, inside)),
        after=_after(facts, growth, new_size, insides),
        given_up=tuple(_given_up(facts, goal, growth)),
        notes=(
            *([NOTE] if facts.table and table.kind != facts.table.kind else []),
            *notes_on(facts, moves),
            *notes_on_removed(facts, growth),
            *(
                notes_on_tpm(facts, PARTITION_TABLE, "the partition table")
                if growth.table != facts.table and growth.table.kind == "gpt"
                else []
            ),
            *inside.notes,
            *repair_notes(facts, goal, growth, inside),
        ),
        host_writes=inside.host_writes,
    )


def _all_done(facts: Facts, goal: Goal, target: Partition) -> str:
    missing = wanted_size(facts, goal) - facts.image.virtual_size
    if 0 < missing < MiB:
        return f"{format_size(missing)} more is less than a partition grows by (1 MiB)"
    name = facts.name_of(target.number)
    return f"{name} takes all the space that it can get, and its file system fills it"


def wanted_size(facts: Facts, goal: Goal) -> int:
    """The disk's new size in bytes.

    Raises would-shrink, or device-cannot-grow if a device of the host would have to grow.
    """
    old = facts.image.virtual_size
    new = old if goal.size is None else align_up(goal.size.resolve(old), goal.sector_size)
    if new < old:
        raise would_shrink(facts.image.path, old, new)
    storage = facts.image.storage
    if new == old or storage is None:
        return new
    if storage.obstacle:
        raise device_cannot_grow(facts.image.path, reason=storage.obstacle, hint=storage.hint)
    # A device grows in units of its own (an extent, a zvol's block), perhaps beyond what was asked.
    return align_up(new, storage.unit)


def _growth(
    facts: Facts, goal: Goal, table: PartitionTable, shares: Mapping[int, Share], new_size: int
) -> Grown | NothingToDo:
    kinds = {p.number: facts.kind_of(p.number) for p in table.partitions}
    policy = BlockerPolicy(
        kinds,
        frozenset(goal.delete),
        frozenset(goal.move),
        swap_moves=goal.swap == "move",
        needed=frozenset(p.number for p in table.partitions if is_needed(facts, p)),
        fixed=frozenset(p.number for p in table.partitions if is_fixed(facts, p)),
    )
    growth = plan_shares(table, shares, new_size, policy)
    if isinstance(growth, Grown | NothingToDo):
        return growth
    # What stands in the way is somebody else's: no advice of the table's would help.
    refuse_foreign_blockers(facts, next(iter(shares)), growth)
    # Another partition could perhaps grow without anything in its way.
    others = [
        p
        for p in facts.candidates
        if not goal.grow  # with it the user has decided
        and p.number not in shares
        and p.type_code not in (WINDOWS_RECOVERY, _MBR_RECOVERY)
        and isinstance(plan_growth(table, p.number, new_size, policy), Grown)
    ]
    hint = "".join(
        f"; {facts.name_of(p.number)} could grow without that: --partition {p.number}"
        for p in others[-1:]
    )
    if growth.beyond_mbr:
        hint += f"; {offer(facts, table, new_size)}"
    raise CannotGrow(facts.image.path, next(iter(shares)), growth.reason, growth.hint + hint)


# --- the steps ----------------------------------------------------------------------------------


def _steps(
    facts: Facts,
    goal: Goal,
    growth: Grown,
    new_size: int,
    moves: tuple[Move, ...],
    inside: ContentGrowth,
) -> Iterator[DiskStep]:
    assert facts.table is not None
    # A table counts whole sectors; a raw file may end within one.
    disk_size = align_down(new_size, facts.table.sector_size)
    before, after = facts.table.with_disk_size(disk_size), growth.table.with_disk_size(disk_size)
    # All steps, in this order: one whose layer is as wanted is skipped when it runs.
    yield grown_image(facts, goal, new_size)
    yield RewritePartitions(before, after, moves)
    yield RereadPartitions(after)
    yield from inside.steps
    yield from swap_steps(facts, goal, growth, inside)


def grown_image(facts: Facts, goal: Goal, new_size: int) -> ResizeImage:
    """The step that makes the disk larger, with the host's storage below it if there is any."""
    old, storage = facts.image.virtual_size, facts.image.storage
    if storage is not None and new_size > old:
        return GrowDevice(old, new_size, goal.preallocation, storage=storage)
    return ResizeImage(old, new_size, goal.preallocation)


def _propose_whole(facts: Facts, goal: Goal) -> Proposal | GoalReached:
    """A proposal for a file system on the whole disk: no table to rewrite, and no blockers."""
    refuse_table_options(facts, goal)
    new_size = wanted_size(facts, goal)
    insides = grow_contents(facts, goal, [whole_disk(goal, new_size)])
    inside = insides[0]
    if new_size == facts.image.virtual_size and not inside.pending:
        return GoalReached("the file system fills the whole disk")
    image = replace(facts.image, virtual_size=new_size)
    after = replace(facts, image=image, contents=contents_after({}, insides))
    steps = (grown_image(facts, goal, new_size), *inside.steps)
    return Proposal(steps, after, notes=inside.notes, host_writes=inside.host_writes)


def whole_disk(goal: Goal, size: int) -> Partition:
    """What stands for a partition on a disk without a table."""
    return Partition(0, 0, align_down(size, goal.sector_size))


# --- what it will look like ---------------------------------------------------------------------


def _after(
    facts: Facts, growth: Grown, new_size: int, insides: Mapping[int, ContentGrowth]
) -> Facts:
    numbers = {part.number for part in growth.table.partitions}
    left = {n: content for n, content in facts.contents.items() if n in numbers}
    return replace(
        facts,
        image=replace(facts.image, virtual_size=new_size),
        table=growth.table.with_disk_size(new_size),
        contents=contents_after(left, insides),
    )


def _given_up(facts: Facts, goal: Goal, growth: Grown) -> Iterator[str]:
    for part in growth.removed:
        name, kind = facts.name_of(part.number), facts.kind_of(part.number)
        size = format_size(part.size)
        if part.number in facts.swaps:
            becomes = " (a swap file takes its place)" if goal.swap == "file" else ""
            yield f"{name}: swap partition of {size}{becomes}"
        elif part.role is not Role.EXTENDED:
            yield f"{name}: {kind}, {size}, as --delete {_asked_for(part, goal, growth)} asked"


def _asked_for(part: Partition, goal: Goal, growth: Grown) -> int:
    """The number that speaks for it: its own, or that of its extended partition."""
    outer = next((p.number for p in growth.removed if p.role is Role.EXTENDED), part.number)
    return part.number if part.number in goal.delete else outer


# --to-gpt: an MBR becomes a GPT on the way, where nothing starts from the disk.

NOTE = (
    "the table becomes a GPT: numbers, UUIDs and labels stay, but each partition has a new "
    "PARTUUID, and the extended one is no more; a machine that mounts one of them by PARTUUID has "
    "to be told"
)


def wanted_table(facts: Facts, goal: Goal, table: PartitionTable, new_size: int) -> PartitionTable:
    """The table to grow in: `table`, or the GPT in its place. option-unsupported."""
    if not goal.to_gpt or table.kind == "gpt":
        return table
    gpt = _gpt(facts, table, new_size)
    if isinstance(gpt, str):
        hint = "leave it out: with an MBR, 2 TiB of a disk can be used"
        raise option_unsupported(facts.image.path, "--to-gpt", gpt, hint)
    return gpt


def offer(facts: Facts, table: PartitionTable, new_size: int) -> str:
    """How to go beyond what an MBR can have, or why that is not to be had."""
    gpt = _gpt(facts, table, new_size)
    if isinstance(gpt, str):
        return f"--to-gpt cannot help: {gpt}"
    return (
        "or let its table become a GPT, which nothing that starts from this disk hinders: --to-gpt"
    )


def _gpt(facts: Facts, table: PartitionTable, new_size: int) -> PartitionTable | str:
    return as_gpt(table, align_down(new_size, table.sector_size), boot_code=facts.boot_code)
