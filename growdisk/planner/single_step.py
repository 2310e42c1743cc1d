"""One step planned as the whole is: what the step-wise tasks of a playbook ask for. Pure.

Each goes through the same engine as a run of one step. What the whole job knows from its other
steps (the identity of swap that is gone) has to be given by the caller.
"""

from __future__ import annotations

from growdisk.fast_dataclass import replace
from growdisk.filesystems.content import SwapContent
from growdisk.partitions.table import Partition
from growdisk.planner.facts import Facts
from growdisk.planner.foreign import content_in_words, refuse_foreign_disk, refuse_target
from growdisk.planner.goal import Goal
from growdisk.planner.layers.content_growth import contents_after, together
from growdisk.planner.layers.growers import grow_contents
from growdisk.planner.planner import grown_image, propose, wanted_size, whole_disk, without_gone
from growdisk.planner.proposal import GoalReached, PlanFunction, Proposal
from growdisk.planner.refusals import (
    belongs_to_others,
    nothing_to_grow,
    refuse_hibernated,
    refuse_unwritable,
)
from growdisk.planner.what_grows import choose_shares, grown_of, is_whole_disk
from growdisk.steps.guest_steps import MakeSwapFile, RemakeSwap, RepairGuest
from growdisk.steps.registry import DiskStep
from growdisk.steps.step_traits import first
from growdisk.steps.table_steps import RereadPartitions, RewritePartitions
from growdisk.steps.worker import SwapSpace
from growdisk.units import format_size


def resize_only(facts: Facts, goal: Goal) -> Proposal | GoalReached:
    """The virtual disk larger, whatever is on it but what has to stay at its end."""
    refuse_unwritable(facts)
    refuse_foreign_disk(facts)
    old, new = facts.image.virtual_size, wanted_size(facts, goal)
    if new == old:
        return GoalReached(f"the image is {format_size(old)} already")
    # A table counts whole sectors; a raw file may end within one.
    table = facts.table.with_disk_size(new - new % facts.table.sector_size) if facts.table else None
    after = replace(facts, image=replace(facts.image, virtual_size=new), table=table)
    return Proposal((grown_image(facts, goal, new),), after)


def whole_rewrite(facts: Facts, goal: Goal) -> Proposal | GoalReached:
    """The whole job on the disk as large as it is.

    A partition that is to be given up and is not there has been given up before.
    """
    return propose(facts, replace(without_gone(facts, goal), size=None))


def rewrite_only(facts: Facts, goal: Goal) -> Proposal | GoalReached:
    """The table as the whole job would have it; what is in the partitions stays."""
    whole = whole_rewrite(facts, goal)
    if isinstance(whole, GoalReached):
        return whole
    # The plan is made as a whole, with its refusals, and one step is taken out of it.
    step = first(RewritePartitions, whole.steps)
    if step is None or step.before == step.after:
        return GoalReached("the partitions take all the space that they can get")
    numbers = {part.number for part in step.after.partitions}
    # What the whole job would remove is gone afterwards; nothing inside the others changes.
    contents = {number: content for number, content in facts.contents.items() if number in numbers}
    return Proposal((step,), replace(facts, table=step.after, contents=contents), whole.given_up)


def reread_only(facts: Facts, goal: Goal) -> Proposal | GoalReached:
    """A look by another reader, which changes nothing."""
    refuse_unwritable(facts)
    if facts.table is None:
        raise nothing_to_grow(facts.image.path, reason="it has no partition table")
    return Proposal((RereadPartitions(facts.table),), facts)


def grow_only(facts: Facts, goal: Goal) -> Proposal | GoalReached:
    """What stands in the partitions as large as they are, outermost first."""
    refuse_unwritable(facts)
    refuse_hibernated(facts)
    refuse_foreign_disk(facts)
    parts = _grown_partitions(facts, goal)
    insides = grow_contents(facts, goal, parts)
    for part in parts:
        refuse_target(facts, part)
    inside = together(insides.values())
    if not inside.pending:
        return GoalReached("what is in it fills it already")
    contents = contents_after(facts.contents, insides)
    return Proposal(inside.steps, replace(facts, contents=contents), notes=inside.notes)


def remake_swap(swaps: tuple[SwapSpace, ...]) -> PlanFunction:
    """Swap space again at its place in the table. belongs-to-others if something else is there."""

    def proposed(facts: Facts, goal: Goal) -> Proposal | GoalReached:
        refuse_unwritable(facts)
        refuse_hibernated(facts)
        refuse_foreign_disk(facts)
        for swap in swaps:
            _refuse_other_content(facts, swap)
        if not swaps:
            return GoalReached("no swap space was moved")
        return Proposal((RemakeSwap(swaps),), facts)

    return proposed


def _refuse_other_content(facts: Facts, swap: SwapSpace) -> None:
    """The places are a user's: a slip in one would write over what he did not mean."""
    part = facts.table.by_number(swap.number) if facts.table else None
    content = facts.contents.get(swap.number)
    if part is None or (part.start, part.size) != (swap.start, swap.size):
        reason = "the table has no such partition where swap would be made"
    elif content is not None and not isinstance(content, SwapContent):
        reason = f"it holds {content_in_words(content)}, and swap would be made over that"
    else:
        return
    hint = "give what rewrite_partitions returned as moved_swaps"
    raise belongs_to_others(facts.image.path, swap.number, reason=reason, hint=hint)


def make_swap_file(system: str, size: int, uuid: str) -> PlanFunction:
    return lambda facts, goal: _in_the_guest(facts, goal, MakeSwapFile(system, size, uuid))


def forget_gone(step: RepairGuest) -> PlanFunction:
    """The guest no longer waits for the partitions that are gone."""

    def proposed(facts: Facts, goal: Goal) -> Proposal | GoalReached:
        if not (step.swaps or step.gone):
            return GoalReached("no partition is gone")
        return _in_the_guest(facts, goal, step)

    return proposed


def _in_the_guest(facts: Facts, goal: Goal, step: DiskStep) -> Proposal:
    """With the steps that lead there: they are done already, and say what has to be opened."""
    refuse_unwritable(facts)
    refuse_hibernated(facts)
    insides = grow_contents(facts, goal, _grown_partitions(facts, goal))
    return Proposal((*together(insides.values()).steps, step), facts)


def _grown_partitions(facts: Facts, goal: Goal) -> list[Partition]:
    if is_whole_disk(facts):
        return [whole_disk(goal, facts.image.virtual_size)]
    return grown_of(*choose_shares(facts, goal))
