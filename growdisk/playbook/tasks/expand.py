"""expand and expand_online: the whole job."""

from __future__ import annotations

from pathlib import Path

from growdisk import api
from growdisk.api.result import Result, document
from growdisk.planner.planner import propose
from growdisk.playbook.options import Options
from growdisk.playbook.perform import TaskContext
from growdisk.playbook.task_result import TaskResult, difference, failure
from growdisk.playbook.tasks.arguments import format_of, goal_of, run_options, target_of
from growdisk.playbook.tasks.check_mode import plan_in_check_mode
from growdisk.units import format_change


def expand(options: Options, context: TaskContext) -> TaskResult:
    return _grown(options, context, running=False)


def expand_online(options: Options, context: TaskContext) -> TaskResult:
    """As expand; but a running guest is looked for even where only its image is named."""
    return _grown(options, context, running=True)


def _grown(options: Options, context: TaskContext, *, running: bool) -> TaskResult:
    target, goal, how = target_of(options, running=running), goal_of(options), run_options(options)
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
    return TaskResult(
        # A plan is only made if there is something to do; else the result is nochange.
        changed=result.result == "planned" or _did_something(result),
        message=_message(result),
        result=document(result),
        diff=difference(result.before, result.after),
    )


def _did_something(result: Result) -> bool:
    """A run whose steps all found their work done has changed nothing."""
    return result.result == "changed" and any(step.state == "done" for step in result.steps)


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


HANDLERS = {"expand": expand, "expand_online": expand_online}
