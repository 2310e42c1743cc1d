"""The four steps of the job, each as a task of its own: planned alone, run by the engine."""

from __future__ import annotations

from growdisk.api.current_run import recorded_plan
from growdisk.api.result import Result
from growdisk.api.runs import expand
from growdisk.fast_dataclass import replace
from growdisk.planner.facts import Facts
from growdisk.planner.given_values import format_of, goal_of, run_options_of
from growdisk.planner.goal import Goal
from growdisk.planner.proposal import GoalReached, PlanFunction, Proposal
from growdisk.planner.single_step import (
    grow_only,
    reread_only,
    resize_only,
    rewrite_only,
    whole_rewrite,
)
from growdisk.playbook.options import Options
from growdisk.playbook.perform import TaskContext, TaskHandler
from growdisk.playbook.task_result import TaskResult
from growdisk.playbook.tasks.check_mode import plan_in_check_mode
from growdisk.playbook.tasks.expand import outcome_of
from growdisk.playbook.tasks.swap_results import swaps_between, swaps_in
from growdisk.workflow.run_directory import RunDirectory


def one_step(
    options: Options, context: TaskContext, propose: PlanFunction, goal: Goal | None = None
) -> Result:
    """A run of what `proposer` proposes; in check mode the plan for it."""
    path, goal = options.place("image"), goal or goal_of(options)
    how = run_options_of(options, options.keys())
    if context.check:
        return plan_in_check_mode(path, goal, how, format_of(options), propose, context.foreseen)
    return expand(path, goal, how, format_of(options), context.observer, context.stop, propose)


def _alone(propose: PlanFunction) -> TaskHandler:
    return lambda options, context: outcome_of(one_step(options, context, propose))


def _reread(options: Options, context: TaskContext) -> TaskResult:
    """It only looks: never `changed`."""
    return replace(outcome_of(one_step(options, context, reread_only)), changed=False)


def _rewrite(options: Options, context: TaskContext) -> TaskResult:
    """Returns, for the later tasks, which swap spaces are gone and which were moved."""
    # Empty lists if there is nothing to do: later tasks loop over them all the same.
    swaps: dict[str, object] = {"gone_swaps": [], "moved_swaps": [], "guest_systems": []}

    def watched(facts: Facts, goal: Goal) -> Proposal | GoalReached:
        # The task is the table alone; which swap is gone is known only to the steps after it.
        whole = whole_rewrite(facts, goal)
        if isinstance(whole, Proposal):
            swaps.update(swaps_in(whole.steps))
        return rewrite_only(facts, goal)

    outcome = outcome_of(one_step(options, context, watched))
    return replace(outcome, result={**outcome.result, **swaps})


def swaps_of_run(directory: RunDirectory) -> dict[str, object]:
    """As `swaps_in`, of a run recorded beside its image: for tasks run without its plan."""
    # The facts are those from before the run: the table as it was, with UUIDs and labels.
    plan = recorded_plan(directory)
    contents = {
        part.number: part.content for part in plan.before.partitions if part.content is not None
    }
    named = {
        number: (content.uuid, content.label)
        for number, content in contents.items()
        if content.kind == "swap"
    }
    return swaps_between(plan.own_steps, named)


HANDLERS = {
    "resize_image": _alone(resize_only),
    "rewrite_partitions": _rewrite,
    "reread_partitions": _reread,
    "grow_filesystem": _alone(grow_only),
}
