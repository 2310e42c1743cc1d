"""A task that had begun when its process died: its image before, and its own run's state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from growdisk import api
from growdisk.api.result import Result
from growdisk.errors import GrowdiskError
from growdisk.fast_dataclass import dataclass
from growdisk.playbook.task_result import TaskResult
from growdisk.steps.table_steps import RereadPartitions
from growdisk.units import parse_goal_size
from growdisk.workflow.engine import Observer
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.stopping import StopRequest


@dataclass(frozen=True)
class TaskCheckpoint:
    """What a task was about to touch.

    `run` is the last run recorded beside the image ("" for none), `size` the virtual size in bytes
    (0 if it could not be read), `made` a file that was not there.
    """

    image: Path | None
    run: str = ""
    size: int = 0
    made: Path | None = None

    def pinned(self, task: str, options: Mapping[str, object]) -> Mapping[str, object]:
        """The options with a fixed size: growing by an amount must not happen twice.

        Only `image` needs it, which has no run that would tell whether it was done.
        """
        size = options.get("size")
        if task != "image" or not size or not self.size:
            return options
        try:
            spec = parse_goal_size(str(size))
        except GrowdiskError:
            return options  # the task itself will say so
        # +10G of 40G is 50G, also if the disk has 50G by now.
        return {**options, "size": f"{spec.resolve(self.size)}b"}


def state_before(image: Path | None, made: Path | None) -> TaskCheckpoint:
    if image is None or not image.exists():
        return TaskCheckpoint(image, made=made)
    try:
        from growdisk.api.images.info import image_info

        size = image_info(image).virtual_size
    except GrowdiskError:
        size = 0
    return TaskCheckpoint(image, api.status(image).run or "", size, made)


def finished_before(
    image: Path | None,
    run_before: str,
    options: Mapping[str, object],
    stop: StopRequest,
    observer: Observer | None = None,
) -> TaskResult | None:
    """Finish what the task had begun on its image, in the direction in which it was going.

    None if nothing of it is left, so that the task is to be done: it never began, or was taken
    back.
    """
    if image is None or not image.exists():
        return None
    status = api.status(image)
    # The task has not begun a run of its own: the last one is from before it.
    if status.run is None or status.run == run_before:
        return None
    from growdisk.playbook.tasks.expand import outcome_of
    from growdisk.playbook.tasks.steps import swaps_of_run

    result = api.resume(image, observer, stop, _keys(options))
    if result.error is not None:
        return outcome_of(result)
    state = api.status(image).state
    # Taken back: the task is to be done as if it had never begun.
    if state not in ("done", "kept"):
        return None
    outcome = outcome_of(result)
    swaps = swaps_of_run(RunDirectory.beside(image))
    return TaskResult(
        _changed(result),
        outcome.message,
        {**outcome.result, "result": "changed", **swaps},
        outcome.diff,
    )


def _changed(result: Result) -> bool:
    """A look at the table is a run, too, and changes nothing."""
    return any(step.state == "done" and step.name != RereadPartitions.name for step in result.steps)


def _keys(options: Mapping[str, object]) -> tuple[bytes, ...]:
    from growdisk.playbook.options import typed
    from growdisk.playbook.specs import TASKS

    # Any task with key_file would do: typed() makes paths of the texts, and wants its
    # required image.
    given = {"image": "-", "key_file": options.get("key_file")}
    return typed(TASKS["grow_filesystem"], given).keys()
