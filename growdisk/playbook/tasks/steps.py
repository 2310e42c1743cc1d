"""The steps of the job, each as a task of its own: planned alone, run by the engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from growdisk.api.current_run import recorded_plan
from growdisk.api.result import Result
from growdisk.api.runs import expand
from growdisk.fast_dataclass import asdict, replace
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.planner import single_step
from growdisk.planner.facts import Facts
from growdisk.planner.given_values import format_of, goal_of, run_options_of, sector_size_of
from growdisk.planner.goal import Goal
from growdisk.planner.proposal import GoalReached, PlanFunction, Proposal
from growdisk.playbook.options import Options, truth_of
from growdisk.playbook.perform import TaskContext, TaskHandler, TaskResult
from growdisk.playbook.tasks.expand import outcome_of, plan_in_check_mode
from growdisk.steps.guest_steps import NOTHING_NAMED, RemakeSwap, RepairGuest
from growdisk.steps.registry import DiskStep
from growdisk.steps.step_traits import of_kind
from growdisk.steps.table_steps import RewritePartitions
from growdisk.steps.worker import SwapSpace
from growdisk.suggestions import suggestion
from growdisk.units import parse_size
from growdisk.workflow.run_directory import RunDirectory


def _one_step(
    options: Options, context: TaskContext, propose: PlanFunction, goal: Goal | None = None
) -> Result:
    """A run of what `propose` proposes; in check mode the plan for it."""
    path, goal = options.place("image"), goal or goal_of(options)
    how = run_options_of(options, options.keys())
    if context.check:
        return plan_in_check_mode(path, goal, how, format_of(options), propose, context.foreseen)
    return expand(path, goal, how, format_of(options), context.observer, context.stop, propose)


def _alone(propose: PlanFunction) -> TaskHandler:
    return lambda options, context: outcome_of(_one_step(options, context, propose))


def _reread(options: Options, context: TaskContext) -> TaskResult:
    """It only looks: never `changed`."""
    return replace(outcome_of(_one_step(options, context, single_step.reread_only)), changed=False)


def _rewrite(options: Options, context: TaskContext) -> TaskResult:
    """Returns, for the later tasks, which swap spaces are gone and which were moved."""
    # Empty lists if there is nothing to do: later tasks loop over them all the same.
    swaps: dict[str, object] = {"gone_swaps": [], "moved_swaps": [], "guest_systems": []}

    def watched(facts: Facts, goal: Goal) -> Proposal | GoalReached:
        # The task is the table alone; which swap is gone is known only to the steps after it.
        whole = single_step.whole_rewrite(facts, goal)
        if isinstance(whole, Proposal):
            swaps.update(_swaps_in(whole.steps))
        return single_step.rewrite_only(facts, goal)

    outcome = outcome_of(_one_step(options, context, watched))
    return replace(outcome, result={**outcome.result, **swaps})


# What rewrite_partitions returns of swap, for the tasks after it.


def _swaps_in(steps: Iterable[DiskStep]) -> dict[str, object]:
    """What the later steps of the whole job would do about swap and other removed partitions."""
    gone, moved, systems = [], [], list[str]()
    for step in steps:
        if isinstance(step, RepairGuest):
            gone += [partition_result(part) for part in (*step.swaps, *step.gone)]
            systems = [step.system, *step.others]
        if isinstance(step, RemakeSwap):
            moved += [asdict(space) for space in step.swaps]
    return {"gone_swaps": gone, "moved_swaps": moved, "guest_systems": systems}


def partition_result(part: RemovedPartition) -> dict[str, object]:
    """What a partition may be named by, without what is not there."""
    left_out = ("stems", "is_swap")
    shown = {name: word for name, word in asdict(part).items() if word and name not in left_out}
    return shown if part.is_swap else shown | {"is_swap": False}


def swaps_of_run(directory: RunDirectory) -> dict[str, object]:
    """As `_swaps_in`, of a run recorded beside its image: for tasks run without its plan."""
    # The facts are those from before the run: the table as it was, with UUIDs and labels.
    plan = recorded_plan(directory)
    swaps = {
        part.number: part.content
        for part in plan.before.partitions
        if part.content is not None and part.content.kind == "swap"
    }
    gone, moved = [], []
    for step in of_kind(RewritePartitions, plan.own_steps):
        for old in step.before.partitions:
            if (swap := swaps.get(old.number)) is None:
                continue
            new = step.after.by_number(old.number)
            if new is None:
                partuuid = step.before.partuuid(old)
                removed = RemovedPartition(old.number, swap.uuid, swap.label, partuuid, old.name)
                gone.append(partition_result(removed))
            # Same number, another place: it was moved. Its content is not copied but made again.
            elif new.start != old.start:
                space = SwapSpace(new.number, new.start, new.size, swap.uuid, swap.label)
                moved.append(asdict(space))
    return {"gone_swaps": gone, "moved_swaps": moved}


# What is left to do for swap that was in the way: made again, as a file, or forgotten.

_WORDS = ("uuid", "label", "partuuid", "partlabel")
# The keys of rewrite_partitions' gone_swaps, and of its moved_swaps.
_IDENTITY = ("number", *_WORDS, "mapped", "is_swap")
_SPACE = ("number", "start", "size", "uuid", "label", "page_size")


def _remake_swap(options: Options, context: TaskContext) -> TaskResult:
    swaps = tuple(_space(options, mapping) for mapping in options.mappings("swaps"))
    return outcome_of(_one_step(options, context, single_step.remake_swap(swaps), _goal(options)))


def _make_swap_file(options: Options, context: TaskContext) -> TaskResult:
    size = parse_size(options.word("size"))
    if size.relative:
        raise options.error("a swap file has a size, and nothing to grow by", "size: 1G")
    propose = single_step.make_swap_file(options.word("system"), size.bytes, options.word("uuid"))
    return outcome_of(_one_step(options, context, propose, _goal(options)))


def _repair_guest(options: Options, context: TaskContext) -> TaskResult:
    """Remove the swaps from the guest's files; unchanged if none names them."""
    parts = [_identity(options, mapping) for mapping in options.mappings("swaps")]
    swaps, gone = (tuple(part for part in parts if part.is_swap is kind) for kind in (True, False))
    policy = SwapRemedy(options.word("swap"))
    step = RepairGuest(options.word("system"), swaps, policy, gone, options.texts("others"))
    result = _one_step(options, context, single_step.forget_gone(step), _goal(options))
    outcome = outcome_of(result)
    # The step searches file by file, and says it in its detail; a plan counts as a change.
    idle = any(s.name == RepairGuest.name and s.detail == NOTHING_NAMED for s in result.steps)
    return replace(outcome, changed=False) if idle else outcome


def _goal(options: Options) -> Goal:
    """Where it is done; the options swap and size mean other things here than for the whole job."""
    return Goal(partition=options.word("partition"), sector_size=sector_size_of(options))


def _identity(options: Options, given: Mapping[str, object]) -> RemovedPartition:
    _refuse_unknown(options, given, _IDENTITY)
    uuid, label, partuuid, partlabel = (str(given[w]) if given.get(w) else None for w in _WORDS)
    mapped = given.get("mapped")
    nodes = tuple(str(node) for node in mapped) if isinstance(mapped, list | tuple) else ()
    # Left out for swap, which is what is mostly given here (partition_result).
    is_swap = truth_of(given.get("is_swap", True)) is not False
    number = _number(options, given, "number")
    return RemovedPartition(number, uuid, label, partuuid, partlabel, mapped=nodes, is_swap=is_swap)


def _space(options: Options, given: Mapping[str, object]) -> SwapSpace:
    _refuse_unknown(options, given, _SPACE)
    given = {"page_size": 4096, **given}
    number, start, size, page_size = (
        _number(options, given, name) for name in (*_SPACE[:3], "page_size")
    )
    uuid, label = (str(given.get(name) or "") for name in ("uuid", "label"))
    return SwapSpace(number, start, size, uuid, label, page_size)


def _number(options: Options, given: Mapping[str, object], name: str) -> int:
    value = str(given.get(name, ""))
    if not value.isdecimal():
        raise options.error(f"a swap needs {name}, a number", "register rewrite_partitions for it")
    return int(value)


def _refuse_unknown(options: Options, given: Mapping[str, object], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            hint = suggestion(name, known, f"there are {', '.join(known)}")
            raise options.error(f"a swap has no {name}", hint)


HANDLERS = {
    "resize_image": _alone(single_step.resize_only),
    "rewrite_partitions": _rewrite,
    "reread_partitions": _reread,
    "grow_filesystem": _alone(single_step.grow_only),
    "remake_swap": _remake_swap,
    "make_swap_file": _make_swap_file,
    "repair_guest": _repair_guest,
}
