"""Looking at an image and planning for it: reads only, never writes, never launches anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from growdisk.api.result import Result, planned_steps
from growdisk.block.device import BlockDevice
from growdisk.block.raw import RawFile
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal, RunOptions
from growdisk.planner.inspect import image_facts, inspect_device
from growdisk.planner.layout import layout_of
from growdisk.planner.plan import make_plan
from growdisk.planner.planner import AllDone, propose
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.probe import probe_format
from growdisk.steps.disk import Format
from growdisk.workflow.run_directory import RunDirectory, refuse_if_open


def inspect(path: Path, image_format: Format | None = None) -> Facts:
    """What is in the image at `path`. Refused while a guest has it open, as qemu-img does."""
    with _opened(path, image_format or probe_format(path)) as device:
        return inspect_device(device, image_facts(device, path))


def plan(path: Path, goal: Goal, options: RunOptions, image_format: Format | None = None) -> Result:
    """What `expand` would do."""
    refuse_if_open(RunDirectory(path.resolve()))
    facts = inspect(path, image_format)
    proposal = propose(facts, goal)
    if isinstance(proposal, AllDone):
        layout = layout_of(facts)
        return Result("nochange", None, None, layout, layout, reason=proposal.reason)
    planned = make_plan(facts, proposal, goal, options)
    return Result(
        "planned", None, planned.backend, planned.before, planned.after, tuple(planned_steps(planned)), planned.given_up
    )


@contextmanager
def _opened(path: Path, image_format: Format) -> Iterator[BlockDevice]:
    device: BlockDevice = Qcow2Image.open(path) if image_format == "qcow2" else RawFile.open(path)
    try:
        yield device
    finally:
        device.close()
