"""Planning for an image: what a run would do to it. Reads only."""

from __future__ import annotations

from pathlib import Path

from growdisk.api.disks import inspect
from growdisk.api.result import Result, planned_steps
from growdisk.planner.goal import Goal, RunOptions
from growdisk.planner.layout import layout_of
from growdisk.planner.plan import make_plan
from growdisk.planner.planner import AllDone, propose
from growdisk.qcow2.probe import ImageFormat
from growdisk.workflow.run_directory import RunDirectory, refuse_if_open


def plan(path: Path, goal: Goal, options: RunOptions, image_format: ImageFormat | None = None) -> Result:
    """What `expand` would do, and what the disk would look like afterwards."""
    directory = RunDirectory.beside(path)
    facts = inspect(path, image_format, goal.sector_size, options.keys)
    refuse_if_open(directory)
    proposal = propose(facts, goal)
    if isinstance(proposal, AllDone):
        layout = layout_of(facts)
        return Result("nochange", None, None, layout, layout, reason=proposal.reason)
    planned = make_plan(facts, proposal, goal, options)
    return Result(
        "planned", None, planned.backend, planned.before, planned.after, planned_steps(planned), planned.given_up,
        snapshots=planned.snapshots, notes=planned.notes,
    )  # fmt: skip
