"""Planning for an image: what a run would do to it. Reads only."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from growdisk.api.by_rule import known_to_host, refuse_to_fill_host
from growdisk.api.disks import opened
from growdisk.api.extra_disks import found_formats, plan_beside, refuse_spoiling
from growdisk.api.guard import carried_by, refuse_carried
from growdisk.api.guest import as_guest_says, with_guest
from growdisk.api.host import facts_of_host, fit_to_host, refuse_unfit_host
from growdisk.api.host_space import parts_of, refuse_without_room
from growdisk.api.result import Result, planned_steps
from growdisk.api.second_opinion import heard
from growdisk.planner.backend_choice import choose_backend
from growdisk.planner.extra_disks import together
from growdisk.planner.goal import Goal, RunOptions
from growdisk.planner.inspect import image_facts, inspect_device
from growdisk.planner.layout import layout_of
from growdisk.planner.plan import make_plan
from growdisk.planner.planner import AllDone, PlanFunction, propose
from growdisk.qcow2.probe import ImageFormat, probe_to_write
from growdisk.volumes.keyring import Keyring
from growdisk.volumes.other_pvs import PhysicalVolumeFinder
from growdisk.workflow.run_directory import RunDirectory, refuse_if_unfinished


def plan(
    path: Path,
    goal: Goal,
    options: RunOptions,
    image_format: ImageFormat | None = None,
    proposer: PlanFunction = propose,
) -> Result:
    """What `expand` would do, and what the disk would look like afterwards."""
    directory, goal = RunDirectory.beside(path), known_to_host(goal, path)
    refuse_unfit_host(path, options)
    with ExitStack() as stack:
        device = stack.enter_context(opened(path, image_format or probe_to_write(path), options.keys))
        others = [
            (stack.enter_context(opened(*companion, options.keys)), companion[0])
            for companion in found_formats(path, options.others)
        ]
        keyring = Keyring(options.keys)
        image = facts_of_host(image_facts(device, path), path, goal)
        facts = inspect_device(device, image, goal.sector_size, keyring, others=others)
        facts = as_guest_says(facts, goal, device, keyring, others)
        refuse_if_unfinished(directory)
        for each, place in ((device, path), *others):
            refuse_carried(place, carried_by(each))
        beside = plan_beside(facts, others, options, goal.sector_size, keyring)
        proposal = together(with_guest(proposer, facts, goal, device, keyring, others), facts, beside)
        if isinstance(proposal, AllDone):
            layout = layout_of(facts)
            return Result("nochange", None, None, layout, layout, reason=proposal.reason)
        refuse_to_fill_host(path, goal, facts.image.virtual_size, proposal.after.image.virtual_size)
        refuse_spoiling(path, options)
        neighbours = PhysicalVolumeFinder([(device, path), *others], goal.sector_size)
        opinion = heard(facts, goal, proposal, device, keyring, neighbours)
        proposal = opinion.proposal
        choice = choose_backend(facts, proposal, options, device, tried=opinion.asked)
        planned = make_plan(facts, proposal, goal, options, choice, beside)
        planned = fit_to_host(planned, path, directory, options)
        devices = [other for other, _ in others]
        refuse_without_room(path, parts_of(device, facts, proposal, planned, zip(devices, beside, strict=True)))
    return Result(
        "planned", None, planned.backend, planned.before, planned.after, planned_steps(planned), planned.given_up,
        snapshots=planned.snapshots, notes=planned.notes, backend_reason=planned.backend_reason,
        others=tuple((c.before, c.after) for c in planned.companions if c.before and c.after),
    )  # fmt: skip
