"""Swap as the guest's own files name it: given up only if every place can be changed.

Otherwise the default becomes to move it: same UUID, label and number, so that nothing in the guest
has to change. What the user asked for explicitly is done, with a warning that names what will
wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from growdisk.fast_dataclass import replace
from growdisk.planner.facts import Facts
from growdisk.planner.failures import CannotGrow, option_unsupported
from growdisk.planner.goal import Goal
from growdisk.planner.proposal import GoalReached, GuestSeen, PlanFunction, Proposal
from growdisk.steps.guest_steps import MakeSwapFile, RepairGuest
from growdisk.steps.registry import DiskStep
from growdisk.steps.step_traits import first, of_kind

_SIX = 6


def changes_guest(proposal: Proposal) -> bool:
    """Whether something of it is in the guest's own files."""
    return any(step.changes_guest for step in proposal.steps)


def at_home(proposal: Proposal, systems: Sequence[str]) -> Proposal:
    """With the guest's system where it was seen (`systems`: devices), if that is not what grows."""
    return replace(proposal, steps=tuple(step.in_system(systems) for step in proposal.steps))


def swap_alone(steps: Sequence[DiskStep]) -> tuple[DiskStep, ...]:
    """The steps, as if no other partition than swap were given up."""
    return tuple(
        replace(step, gone=()) if isinstance(step, RepairGuest) else step for step in steps
    )


def as_guest_allows(
    propose: PlanFunction,
    facts: Facts,
    goal: Goal,
    proposal: Proposal,
    seen: GuestSeen,
    of_swap: GuestSeen,
) -> Proposal | GoalReached:
    """The proposal, or what `propose` makes of moving swap, if the guest's files need that.

    `of_swap`: what is seen of the swap alone (swap_alone). option-unsupported: a swap file without
    a system.
    """
    _refuse_swap_file(facts, proposal, seen)
    repair = first(RepairGuest, proposal.steps)
    notes = (*proposal.notes, *_notes_on_swap_file(proposal, seen))
    if repair is None:
        return replace(proposal, notes=notes, guest=seen)
    # Only the default turns round: who says --swap drop, or file, gets it, with a warning.
    if of_swap.obstacles and repair.swaps and goal.swap is None:
        return _moved(propose, facts, goal, of_swap)
    return replace(proposal, notes=(*notes, *_warnings(facts, repair, seen.obstacles)), guest=seen)


def _moved(
    propose: PlanFunction, facts: Facts, goal: Goal, seen: GuestSeen
) -> Proposal | GoalReached:
    """Instead of giving it up."""
    try:
        moved = propose(facts, replace(goal, swap="move"))
    except CannotGrow as error:
        hint = (
            f"{error.hint}; --swap drop gives it up all the same"
            if error.hint
            else "--swap drop gives it up"
        )
        raise replace(
            error,
            reason=f"{error.reason}; swap is not given up, since {seen.obstacles[0]}",
            hint=hint,
        ) from error
    # Swap that is moved needs no repair. If there is one all the same, swap cannot move.
    left = None if isinstance(moved, GoalReached) else first(RepairGuest, moved.steps)
    # With swaps left it is a task that only repairs the guest.
    if isinstance(moved, GoalReached) or (left and left.swaps):
        return moved
    names = f" (it stays named in {_short(seen.named)})" if seen.named else ""
    note = (
        f"swap is moved, not given up{names}: {'; '.join(seen.obstacles)}; --swap drop gives "
        "it up all the same"
    )
    return replace(moved, notes=(*moved.notes, note))


def _warnings(facts: Facts, repair: RepairGuest, reasons: Sequence[str]) -> Iterator[str]:
    names = dict.fromkeys(facts.name_of(part.number) for part in (*repair.swaps, *repair.gone))
    are, them = ("are", "them") if len(names) > 1 else ("is", "it")
    for reason in reasons:
        yield (
            f"WARNING: {' and '.join(names)} {are} given up, and the next boot may wait for "
            f"{them}: {reason}"
        )


def _short(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _SIX} more" if len(paths) > _SIX + 2 else ""
    return ", ".join(paths[: _SIX if more else len(paths)]) + more


def _notes_on_swap_file(proposal: Proposal, seen: GuestSeen) -> Iterator[str]:
    nodes = {step.system for step in of_kind(MakeSwapFile, proposal.steps)}
    for _ in (node for node in seen.on_btrfs if node in nodes):
        yield (
            "btrfs makes no snapshot of the root's subvolume while a swap file in it is on "
            "(snapper, timeshift): --swap move keeps a partition instead"
        )


def _refuse_swap_file(facts: Facts, proposal: Proposal, seen: GuestSeen) -> None:
    for step in of_kind(MakeSwapFile, proposal.steps):
        node = step.system.removeprefix("/dev/")
        reason = "" if step.system in seen.systems else f"no guest's system can be seen in {node}"
        reason = reason or (
            f"the root in {node} is a read-only subvolume" if step.system in seen.read_only else ""
        )
        if reason:
            hint = "keep the swap partition: --swap move"
            raise option_unsupported(
                facts.image.path, option="--swap file", reason=reason, hint=hint
            )
