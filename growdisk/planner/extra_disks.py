"""Several disks of one guest in one plan: each is planned alone, their steps follow one another.

Pure. A disk without a goal of its own is there because a volume group of the first one reaches onto
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from growdisk.errors import shell_word
from growdisk.fast_dataclass import dataclass
from growdisk.planner.backend_choice import GUESTFS, Choice
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal
from growdisk.planner.planner import propose
from growdisk.planner.proposal import GoalReached, Proposal
from growdisk.planner.refusals import CannotGrow, option_unsupported
from growdisk.steps.guest_steps import RepairGuest
from growdisk.steps.registry import DiskStep
from growdisk.steps.step_traits import first


@dataclass(frozen=True)
class ExtraDiskPlan:
    """Another disk of the run, in the image at the absolute `path`.

    `proposal` None: it does not grow itself.
    """

    facts: Facts
    path: Path
    proposal: Proposal | None = None
    choice: Choice = GUESTFS

    @property
    def steps(self) -> tuple[DiskStep, ...]:
        return self.proposal.steps if self.proposal else ()

    @property
    def given_up(self) -> tuple[str, ...]:
        return self.proposal.given_up if self.proposal else ()


def propose_extra_disk(main: Facts, other: Facts, goal: Goal) -> Proposal | GoalReached:
    """What is done to a further disk that is to grow as well.

    Raises Refused errors, which name it.
    """
    path = other.image.path
    # By UUID: the name of a group need not be unique.
    known = {group.uuid for group in main.groups_on()}
    if name := next((group.name for group in other.groups_on() if group.uuid in known), ""):
        reason = (
            f"the volume group {name} lies on both disks, and its volumes can take the space "
            "of one at a time"
        )
        word = shell_word(path)
        hint = f"let {word} grow in a run of its own, and only be there in this one: --with {word}"
        raise option_unsupported(main.image.path, f"--with {path}=SIZE", reason, hint)
    proposal = propose(other, goal)
    if isinstance(proposal, Proposal):
        _refuse_swap_that_others_name(other, proposal)
    return proposal


def merge_proposals(
    main: Proposal | GoalReached, facts: Facts, others: Sequence[ExtraDiskPlan]
) -> Proposal | GoalReached:
    """The first disk's proposal, empty if only others grow; GoalReached if nothing is to do."""
    if isinstance(main, GoalReached) and any(other.steps for other in others):
        # A proposal without steps: the run is still recorded with the first disk.
        return Proposal((), facts)
    return main


def notes(others: Sequence[ExtraDiskPlan]) -> Iterator[str]:
    for other in others:
        name, path = other.facts.disk, other.facts.image.path
        if other.proposal is None:
            yield (
                f"{name} is {path}: what LVM writes there is kept and taken back together with "
                "this image"
            )
        else:
            yield f"{name} is {path}"
            yield from other.proposal.notes


def _refuse_swap_that_others_name(facts: Facts, proposal: Proposal) -> None:
    """The guest's files lie on the first disk, where a further disk's steps do not reach."""
    if repair := first(RepairGuest, proposal.steps):
        number = (*repair.swaps, *repair.gone)[0].number
        reason = "it would be given up, and what names it in the guest is on another disk"
        hint = "keep it: --swap move; or grow this disk in a run of its own"
        raise CannotGrow(facts.image.path, number, reason=reason, hint=hint)
