"""Check mode over several tasks: each is planned on the disk as the tasks before leave it."""

from __future__ import annotations

from pathlib import Path

from growdisk.api.result import Result
from growdisk.api.runs import plan
from growdisk.fast_dataclass import replace
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal, RunOptions
from growdisk.planner.layout import layout_of
from growdisk.planner.proposal import GoalReached, PlanFunction, Proposal
from growdisk.qcow2.probe import ImageFormat

Foreseen = dict[Path, Facts]


def plan_in_check_mode(
    path: Path,
    goal: Goal,
    options: RunOptions,
    image_format: ImageFormat | None,
    propose: PlanFunction,
    foreseen: Foreseen | None,
) -> Result:
    """The plan; `foreseen` is read, and then holds the disk as it would be."""
    if foreseen is None:
        return plan(path, goal, options, image_format, propose)
    place, ended = path.resolve(), list[tuple[Facts, Proposal | GoalReached]]()
    # In place of what is on the disk: what earlier tasks of this check would have made of it.
    earlier = foreseen.get(place)

    def foreseeing(facts: Facts, wanted: Goal) -> Proposal | GoalReached:
        start = earlier or facts
        ended.append((start, propose(start, wanted)))
        return ended[-1][1]

    result = plan(path, goal, options, image_format, foreseeing)
    # The last proposal counts: there is a second one if the guest's files forbid the first. A plan
    # that was refused would change nothing, so it is remembered only here.
    start, proposal = ended[-1]
    if isinstance(proposal, Proposal):
        foreseen[place] = proposal.after
    before = layout_of(start)
    return replace(
        result, before=before, after=before if result.result == "nochange" else result.after
    )
