"""One task carried out by growdisk.api, for both `growdisk run` and Ansible's modules.

So the two cannot differ. Errors that growdisk expects are outcomes; anything else is a bug and is
raised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from growdisk.error_document import error_document
from growdisk.errors import GrowdiskError, UsageError
from growdisk.fast_dataclass import dataclass, field
from growdisk.planner.facts import Facts
from growdisk.planner.hint_words import for_a_task
from growdisk.planner.layout import Layout, PartitionLayout, table_words
from growdisk.playbook.options import Options, typed
from growdisk.playbook.specs import NAMESPACE, TASKS
from growdisk.suggestions import nearest
from growdisk.units import format_size
from growdisk.workflow.engine import Observer
from growdisk.workflow.stopping import StopRequest


@dataclass(frozen=True)
class Diff:
    """The disk before and after, as text with a line a partition."""

    before: str
    after: str


@dataclass(frozen=True)
class TaskResult:
    """`result` is what --json of the command line shows; with `error` the task failed.

    `message` is one line.
    """

    changed: bool
    message: str
    result: Mapping[str, object] = field(default_factory=dict)
    diff: Diff | None = None
    error: GrowdiskError | None = None

    @classmethod
    def nothing(cls, message: str) -> TaskResult:
        """There was nothing to do."""
        return cls(changed=False, message=message, result={"result": "nochange"})

    @classmethod
    def planned(cls, message: str, *, changed: bool = True, **facts: object) -> TaskResult:
        """What would be done, in check mode."""
        return cls(changed, message, {"result": "planned", **facts})

    @property
    def failed(self) -> bool:
        return self.error is not None


def failure(error: GrowdiskError, result: Mapping[str, object] | None = None) -> TaskResult:
    """A task that ended with `error`.

    Whether the image is as before is what its exit code says (3, 4: it is).
    """
    cure = for_a_task(error.what_to_do)
    # A result of the api has its error in it already, in the words of the command line.
    document = {**(result or {}), "error": {**error_document(error), "do": cure}}
    why = f"{error.what}: {error.why}" if error.why else error.what
    message = f"{why} ({cure})" if cure else why
    return TaskResult(changed=False, message=message, result=document, error=error)


def difference(before: Layout, after: Layout) -> Diff | None:
    """None if the two say the same."""
    texts = Diff(layout_lines(before), layout_lines(after))
    return texts if texts.before != texts.after else None


def layout_lines(layout: Layout) -> str:
    """The disk as lines: what `--diff` compares.

    Nothing that two equal runs would show differently.
    """
    table = table_words(layout.table.type)
    lines = [f"image: {layout.image.format}, {format_size(layout.image.virtual_size)}, {table}"]
    # No UUIDs and no fill levels: they differ between runs that do the same.
    lines += [_partition(part) for part in sorted(layout.partitions, key=lambda part: part.start)]
    lines += [
        f"free: {format_size(free.size)} at {format_size(free.start)}" for free in layout.free
    ]
    return "\n".join(lines) + "\n"


def _partition(part: PartitionLayout) -> str:
    content = ""
    if part.content is not None:
        size = f" of {format_size(part.content.size)}" if part.content.size else ""
        content = f": {part.content.kind}{size}"
    return (
        f"{part.name} ({part.role}): {format_size(part.size)} at {format_size(part.start)}{content}"
    )


# All others are steps of the job.
_FILES: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("expand", "expand_online"), "expand"),
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
    module = import_module(f"growdisk.playbook.tasks.{_FILES.get(name, 'steps')}")
    handlers: Mapping[str, TaskHandler] = module.HANDLERS
    return handlers[name]
