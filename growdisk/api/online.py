"""inspect, plan and expand for guests that may be running: by a LiveRequest instead of a path."""

from __future__ import annotations

from pathlib import Path

from growdisk.api.disks import inspect
from growdisk.api.live_runs import expand_live, looked_at, plan_live
from growdisk.api.live_target import LiveRequest
from growdisk.api.planning import plan
from growdisk.api.result import Result
from growdisk.api.runs import Silent, expand
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal, RunOptions
from growdisk.qcow2.probe import ImageFormat
from growdisk.workflow.engine import Observer
from growdisk.workflow.stopping import StopRequest


def inspect_online(request: LiveRequest, image_format: ImageFormat | None = None) -> Facts:
    with looked_at(request, StopRequest()) as found:
        return inspect(found, image_format) if isinstance(found, Path) else found.facts


def plan_online(
    request: LiveRequest, goal: Goal, options: RunOptions, image_format: ImageFormat | None = None
) -> Result:
    with looked_at(request, StopRequest(), fullness=goal.rule is not None) as found:
        if isinstance(found, Path):
            return plan(found, goal, options, image_format)
        return plan_live(found, goal, options)


def expand_online(
    request: LiveRequest, goal: Goal, options: RunOptions, image_format: ImageFormat | None = None,
    observer: Observer | None = None, stop: StopRequest | None = None,
) -> Result:  # fmt: skip
    """Grow the guest while it runs; the offline way, where it is off."""
    stop = stop or StopRequest()
    with looked_at(request, stop, fullness=goal.rule is not None) as found:
        if isinstance(found, Path):
            return expand(found, goal, options, image_format, observer, stop)
        return expand_live(found, goal, options, observer or Silent(), stop)
