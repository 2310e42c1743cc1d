"""Carries out one task by growdisk.api, for both `growdisk run` and Ansible's modules.

So the two cannot differ. Errors that growdisk expects are outcomes; anything else is a bug and is
raised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from growdisk.errors import GrowdiskError, UsageError
from growdisk.fast_dataclass import dataclass
from growdisk.planner.facts import Facts
from growdisk.playbook.options import Options, nearest, typed
from growdisk.playbook.specs import NAMESPACE, TASKS
from growdisk.playbook.task_result import TaskResult, failure
from growdisk.workflow.engine import Observer
from growdisk.workflow.stopping import StopRequest

_FILES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("expand", "expand_online"), "expand"),
        **dict.fromkeys(
            ("resize_image", "rewrite_partitions", "reread_partitions", "grow_filesystem"), "steps"
        ),
        **dict.fromkeys(("remake_swap", "make_swap_file", "repair_guest"), "swap"),
        **dict.fromkeys(("snapshot", "rollback", "commit", "convert", "image"), "images"),
        **dict.fromkeys(("show", "facts", "script", "assert"), "inspect"),
        "provision": "provisioning",
        "watch": "watching",
    }
)


@dataclass(frozen=True)
class TaskContext:
    """How a task is done: `check` changes nothing; `observer` hears of steps; `stop` ends it.

    `foreseen`, in check mode: how disks would be after the tasks before this one, which starts from
    that.
    """

    check: bool = False
    observer: Observer | None = None
    stop: StopRequest | None = None
    foreseen: dict[Path, Facts] | None = None


TaskHandler = Callable[[Options, TaskContext], TaskResult]


def perform(
    task: str,
    options: Mapping[str, object],
    *,
    check: bool = False,
    observer: Observer | None = None,
    stop: StopRequest | None = None,
    foreseen: dict[Path, Facts] | None = None,
) -> TaskResult:
    """Do `task` (expand, or growdisk.disk.expand) with a playbook's options, templates resolved."""
    name = task.removeprefix(f"{NAMESPACE}.")
    try:
        if name not in TASKS:
            near = nearest(name, TASKS)
            hint = f"write {NAMESPACE}.{near}" if near else f"there are {', '.join(TASKS)}"
            raise UsageError.named(
                "unknown-task",
                "there is no task {task}",
                "",
                "{hint}",
                {"task": task, "known": tuple(TASKS), "hint": hint},
            )
        return _handler(name)(
            typed(TASKS[name], options), TaskContext(check, observer, stop, foreseen)
        )
    # Also from typed(): options that are wrong fail the task, as anything else does.
    except GrowdiskError as error:
        return failure(error)


def _handler(name: str) -> TaskHandler:
    """Loaded when it is first asked for: a look at a disk needs little of what a run needs."""
    module = import_module(f"growdisk.playbook.tasks.{_FILES[name]}")
    handlers: Mapping[str, TaskHandler] = module.HANDLERS
    return handlers[name]
