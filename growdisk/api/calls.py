"""inspect, plan and expand, by the way that fits: an image at rest, or a guest that may be running.

What a call does not need is not loaded: growdisk show answers in a tenth of a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.api.in_use import naming_the_guest

if TYPE_CHECKING:
    from growdisk.api.live_target import LiveRequest
    from growdisk.api.result import Result
    from growdisk.planner.facts import Facts
    from growdisk.planner.goal import Goal, RunOptions
    from growdisk.qcow2.probe import ImageFormat
    from growdisk.workflow.engine import Observer
    from growdisk.workflow.stopping import StopRequest


def inspect(
    target: Path | LiveRequest, image_format: ImageFormat | None = None, sector_size: int = 512,
    keys: tuple[bytes, ...] = (),
) -> Facts:  # fmt: skip
    """What is in the image, or on the running guest's disk."""
    if isinstance(target, Path):
        from growdisk.api.disks import inspect as inspect_image

        with naming_the_guest(target, "show"):
            return inspect_image(target, image_format, sector_size, keys)
    from growdisk.api.online import inspect_online

    return inspect_online(target, image_format)


def plan(
    target: Path | LiveRequest, goal: Goal, options: RunOptions, image_format: ImageFormat | None = None
) -> Result:
    """What expand would do. Reads only."""
    if isinstance(target, Path):
        from growdisk.api.planning import plan as plan_image

        with naming_the_guest(target, "plan", goal.size):
            return plan_image(target, goal, options, image_format)
    from growdisk.api.online import plan_online

    return plan_online(target, goal, options, image_format)


def expand(
    target: Path | LiveRequest, goal: Goal, options: RunOptions, image_format: ImageFormat | None = None,
    observer: Observer | None = None, stop: StopRequest | None = None,
) -> Result:  # fmt: skip
    """Grow it. Raises refusals; everything later is in the Result."""
    if isinstance(target, Path):
        from growdisk.api.runs import expand as expand_image

        with naming_the_guest(target, "expand", goal.size):
            return expand_image(target, goal, options, image_format, observer, stop)
    from growdisk.api.online import expand_online

    return expand_online(target, goal, options, image_format, observer, stop)


def image_of(request: LiveRequest) -> Path:
    """The image of a machine, running or not."""
    from growdisk.api.live_target import reach

    reached = reach(request)
    if isinstance(reached, Path):
        return reached
    reached.close()
    return reached.path
