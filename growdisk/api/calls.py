"""inspect, plan and expand, by the way that fits: an image at rest, or a guest that may be running.

What a call does not need is not loaded: growdisk show answers in a tenth of a second.
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.api.in_use import image_in_use_hint

if TYPE_CHECKING:
    from growdisk.api.live_target import LiveRequest
    from growdisk.api.result import Result
    from growdisk.planner.facts import Facts
    from growdisk.planner.goal import Goal, RunOptions
    from growdisk.qcow2.probe import ImageFormat
    from growdisk.units import SizeSpec
    from growdisk.workflow.engine import Observer
    from growdisk.workflow.stopping import StopRequest

    Target = str | PathLike[str] | LiveRequest
    Asked = Goal | SizeSpec | str | None


def inspect(
    target: Target, image_format: ImageFormat | None = None, sector_size: int = 512, keys: tuple[bytes, ...] = ()
) -> Facts:
    """What is on a disk: its table, its partitions, and what is in them. Reads only.

    target: the image's path, or a LiveRequest for a guest that may be running. sector_size: in bytes, the disk's
    logical one. keys: passphrases of what is encrypted inside. Raises Refused (the image cannot be read, or is in use).
    """
    target = _target(target)
    if isinstance(target, Path):
        from growdisk.api.disks import inspect as inspect_image

        with image_in_use_hint(target, "show"):
            return inspect_image(target, image_format, sector_size, keys)
    from growdisk.api.online import inspect_online

    return inspect_online(target, image_format)


def plan(
    target: Target, goal: Asked = None, options: RunOptions | None = None, image_format: ImageFormat | None = None
) -> Result:
    """What expand would do, as a Result that is "planned" or "nochange". Reads only. Arguments: see expand."""
    target, goal, options = _target(target), _goal(goal), options or _usual()
    if isinstance(target, Path):
        from growdisk.api.planning import plan as plan_image

        with image_in_use_hint(target, "plan", goal.size):
            return plan_image(target, goal, options, image_format)
    from growdisk.api.online import plan_online

    return plan_online(target, goal, options, image_format)


def expand(
    target: Target, goal: Asked = None, options: RunOptions | None = None, image_format: ImageFormat | None = None,
    observer: Observer | None = None, stop: StopRequest | None = None,
) -> Result:  # fmt: skip
    """Grow a disk and all that is in it, each step behind a snapshot.

    target: the image's path, or a LiveRequest for a guest that may be running. goal: a size ("+10G", "40G"), or a Goal
    that also says which partition grows and what may give way; None fills what is there. options: backend, snapshots,
    passphrases. observer is told of each step; stop.ask() ends the run early, and takes it back.

    Raises UsageError for a size that cannot be read, and Refused if nothing was touched. Once a run has begun, the
    Result says how it ended: "changed", "nochange", "restored" or "stuck", with `error` unless it ended as asked.
    """
    target, goal, options = _target(target), _goal(goal), options or _usual()
    if isinstance(target, Path):
        from growdisk.api.runs import expand as expand_image

        with image_in_use_hint(target, "expand", goal.size):
            return expand_image(target, goal, options, image_format, observer, stop)
    from growdisk.api.online import expand_online

    return expand_online(target, goal, options, image_format, observer, stop)


def _target(target: Target) -> Path | LiveRequest:
    return Path(target) if isinstance(target, (str, PathLike)) else target


def _goal(asked: Asked) -> Goal:
    from growdisk.planner.goal import Goal

    if isinstance(asked, Goal):
        return asked
    from growdisk.units import parse_size

    return Goal(parse_size(asked) if isinstance(asked, str) else asked)


def _usual() -> RunOptions:
    from growdisk.planner.goal import RunOptions

    return RunOptions()


def image_of(request: LiveRequest) -> Path:
    """The image of a machine, running or not."""
    from growdisk.api.live_target import reach

    reached = reach(request)
    if isinstance(reached, Path):
        return reached
    reached.close()
    return reached.path
