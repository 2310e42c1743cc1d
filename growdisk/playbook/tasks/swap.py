"""What is left to do for swap that was in the way: made again, as a file, or forgotten."""

from __future__ import annotations

from collections.abc import Mapping

from growdisk.fast_dataclass import replace
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.planner.given_values import sector_size_of
from growdisk.planner.goal import Goal
from growdisk.planner.single_step import forget_gone, make_swap_file, remake_swap
from growdisk.playbook.options import Options, suggestion, truth_of
from growdisk.playbook.perform import TaskContext
from growdisk.playbook.task_result import TaskResult
from growdisk.playbook.tasks.expand import outcome_of
from growdisk.playbook.tasks.steps import one_step
from growdisk.steps.guest_steps import NOTHING_NAMED, RepairGuest
from growdisk.steps.worker import SwapSpace
from growdisk.units import parse_size

_WORDS = ("uuid", "label", "partuuid", "partlabel")
# The keys of rewrite_partitions' gone_swaps, and of its moved_swaps.
_IDENTITY = ("number", *_WORDS, "mapped", "is_swap")
_SPACE = ("number", "start", "size", "uuid", "label")


def _remake_swap(options: Options, context: TaskContext) -> TaskResult:
    swaps = tuple(_space(options, mapping) for mapping in options.mappings("swaps"))
    return outcome_of(one_step(options, context, remake_swap(swaps), _goal(options)))


def _make_swap_file(options: Options, context: TaskContext) -> TaskResult:
    size = parse_size(options.word("size"))
    if size.relative:
        raise options.error("a swap file has a size, and nothing to grow by", "size: 1G")
    propose = make_swap_file(options.word("system"), size.bytes, options.word("uuid"))
    return outcome_of(one_step(options, context, propose, _goal(options)))


def _repair_guest(options: Options, context: TaskContext) -> TaskResult:
    """Remove the swaps from the guest's files; unchanged if none names them."""
    parts = [_identity(options, mapping) for mapping in options.mappings("swaps")]
    swaps, gone = (tuple(part for part in parts if part.is_swap is kind) for kind in (True, False))
    policy = SwapRemedy(options.word("swap"))
    step = RepairGuest(options.word("system"), swaps, policy, gone, options.texts("others"))
    result = one_step(options, context, forget_gone(step), _goal(options))
    outcome = outcome_of(result)
    # Only the step itself can know, as it searches file by file: what it says is in its detail. A
    # plan always counts as a change.
    idle = any(
        step.name == RepairGuest.name and step.detail == NOTHING_NAMED for step in result.steps
    )
    return replace(outcome, changed=False) if idle else outcome


def _goal(options: Options) -> Goal:
    """Where it is done; the options swap and size mean other things here than for the whole job."""
    return Goal(partition=options.word("partition"), sector_size=sector_size_of(options))


def _identity(options: Options, given: Mapping[str, object]) -> RemovedPartition:
    _refuse_unknown(options, given, _IDENTITY)
    # In the order of RemovedPartition's fields.
    words = [str(given[name]) if given.get(name) else None for name in _WORDS]
    mapped = given.get("mapped")
    nodes = tuple(str(node) for node in mapped) if isinstance(mapped, list | tuple) else ()
    # Left out for swap, which is what is mostly given here (partition_result).
    is_swap = truth_of(given.get("is_swap", True)) is not False
    return RemovedPartition(
        _number(options, given, "number"), *words, mapped=nodes, is_swap=is_swap
    )


def _space(options: Options, given: Mapping[str, object]) -> SwapSpace:
    _refuse_unknown(options, given, _SPACE)
    number, start, size = (_number(options, given, name) for name in _SPACE[:3])
    return SwapSpace(
        number, start, size, str(given.get("uuid") or ""), str(given.get("label") or "")
    )


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
    "remake_swap": _remake_swap,
    "make_swap_file": _make_swap_file,
    "repair_guest": _repair_guest,
}
