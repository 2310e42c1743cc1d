"""expand and expand_online: the whole job, or in check mode the plan for it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from growdisk import api
from growdisk.api.live_request import target_of
from growdisk.api.result import Result, document
from growdisk.api.runs import plan
from growdisk.fast_dataclass import replace
from growdisk.planner.facts import Facts
from growdisk.planner.given_values import format_of, goal_of, run_options_of
from growdisk.planner.goal import Goal, RunOptions
from growdisk.planner.layout import layout_of
from growdisk.planner.planner import propose
from growdisk.planner.proposal import GoalReached, PlanFunction, Proposal
from growdisk.playbook.options import Options
from growdisk.playbook.perform import TaskContext, TaskResult, difference, failure
from growdisk.qcow2.probe import ImageFormat
from growdisk.units import format_change

Foreseen = dict[Path, Facts]


def plan_in_check_mode(
    path: Path,
    goal: Goal,
    options: RunOptions,
    image_format: ImageFormat | None,
    propose: PlanFunction,
    foreseen: Foreseen | None,
) -> Result:
    """The plan; `foreseen` is read, and then has the disk as it would be."""
    if foreseen is None:
        return plan(path, goal, options, image_format, propose)
    place, ended = Path(os.path.realpath(path)), list[tuple[Facts, Proposal | GoalReached]]()
    # In place of what is on the disk: what earlier tasks of this check would have made of it.
    earlier = foreseen.get(place)

    def foreseeing(facts: Facts, wanted: Goal) -> Proposal | GoalReached:
        start = earlier or facts
        ended.append((start, propose(start, wanted)))
        return ended[-1][1]

    result = plan(path, goal, options, image_format, foreseeing)
    # The last proposal counts: a second one is made if the guest's files forbid the first.
    start, proposal = ended[-1]
    if isinstance(proposal, Proposal):
        foreseen[place] = proposal.after
    before = layout_of(start)
    return replace(
        result, before=before, after=before if result.result == "nochange" else result.after
    )


def _grown(options: Options, context: TaskContext, *, running: bool) -> TaskResult:
    """`running`: a running guest is looked for even where only its image is named."""
    target, goal = target_of(options, running=running), goal_of(options)
    how = run_options_of(options, options.keys())
    if context.check and isinstance(target, Path):
        return outcome_of(
            plan_in_check_mode(target, goal, how, format_of(options), propose, context.foreseen)
        )
    if context.check:
        # What earlier tasks of a check would do to a running guest is not foreseen: it is asked.
        return outcome_of(api.plan(target, goal, how, format_of(options)))
    return outcome_of(
        api.expand(target, goal, how, format_of(options), context.observer, context.stop)
    )


def outcome_of(result: Result) -> TaskResult:
    """A run, or a plan, as the end of a task."""
    if result.error is not None:
        return failure(result.error, document(result))
    # A plan is only made if there is something to do; else the result is nochange. A run whose
    # steps all found their work done has changed nothing.
    changed = result.result == "planned" or (
        result.result == "changed" and any(step.state == "done" for step in result.steps)
    )
    diff = difference(result.before, result.after)
    return TaskResult(changed, _message(result), document(result), diff)


def _message(result: Result) -> str:
    if result.result == "nochange":
        return f"nothing to do: {result.reason}"
    old, new = result.before.image.virtual_size, result.after.image.virtual_size
    would = "would be done: " if result.result == "planned" else ""
    if old != new:
        return f"{would}{format_change(old, new)}"
    return would + "; ".join(
        step.detail for step in result.steps if step.state in ("done", "pending")
    )


HANDLERS = {
    "expand": partial(_grown, running=False),
    "expand_online": partial(_grown, running=True),
}
