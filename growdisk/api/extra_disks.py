"""The guest's other disks in a run: which they are, why each is needed, what is done to them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from growdisk.api.disk_facts import image_facts, inspect_device
from growdisk.api.guard import refuse_dependents, refuse_run_at
from growdisk.api.host import FoundTools
from growdisk.api.second_opinion import second_opinion
from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import replace
from growdisk.planner.backend_choice import choose_backend
from growdisk.planner.extra_disks import ExtraDiskPlan, propose_extra_disk
from growdisk.planner.facts import Facts
from growdisk.planner.failures import option_unsupported
from growdisk.planner.goal import OtherDisk, RunOptions
from growdisk.planner.proposal import Proposal
from growdisk.planner.refusals import refuse_unwritable
from growdisk.qcow2.probe import ImageFormat, probe_to_write
from growdisk.steps.place_at_rest import look_through
from growdisk.steps.registry import disk_name
from growdisk.volumes.keyring import Keyring
from growdisk.volumes.lvm import PhysicalVolumeFinder
from growdisk.workflow.run_directory import RunDirectory, refuse_if_unfinished


def found_formats(path: Path, others: Sequence[OtherDisk]) -> list[tuple[Path, ImageFormat]]:
    """Each image with its format.

    Refused: one that is named twice, and one with an unfinished run.
    """
    paths = [other.path for other in others]
    formats = [(other, probe_to_write(other)) for other in paths]
    for number, other in enumerate(paths):
        # samefile(): one image under two names would be opened to write twice.
        if any(other.samefile(known) for known in (path, *paths[:number])):
            reason, hint = "it is one and the same image", "name each image once"
            raise option_unsupported(path, f"--with {other}", reason, hint)
        refuse_if_unfinished(RunDirectory.of(other))
    return formats


def refuse_spoiling(path: Path, options: RunOptions) -> None:
    """Refuse, before planning, an image or other disk with a kept run, or with dependents.

    See refuse_dependents().
    """
    for disk_path in (path, *(other.path for other in options.others)):
        refuse_run_at(disk_path)
        refuse_dependents(disk_path, overlays_may_break=options.overlays_may_break)


def plan_extra_disks(
    main: Facts,
    devices: Sequence[tuple[BlockDevice, Path]],
    options: RunOptions,
    sector_size: int,
    keyring: Keyring,
) -> list[ExtraDiskPlan]:
    """What becomes of each of `options.others`, which are opened as `devices`. Raises refusals."""
    found = []
    for number, ((device, path), other) in enumerate(zip(devices, options.others, strict=True), 1):
        image = image_facts(device, path)
        if other.goal is None:
            # It does not grow, and is only there for the volume groups that reach onto it.
            facts = Facts(image, None, {}, disk=disk_name(number))
            refuse_unwritable(facts)
            _refuse_idle(main, device, path, sector_size)
            found.append(ExtraDiskPlan(facts, path.resolve()))
            continue
        facts = replace(inspect_device(device, image, sector_size, keyring), disk=disk_name(number))
        proposal = propose_extra_disk(main, facts, other.goal)
        if isinstance(proposal, Proposal):
            # Alone: a group that it shares with the first disk was refused by propose_extra_disk().
            pv_finder = PhysicalVolumeFinder([(device, path)], sector_size)
            opened = partial(look_through, device, keyring=keyring, pv_finder=pv_finder)
            opinion = second_opinion(facts, other.goal, proposal, device, opened)
            proposal = opinion.proposal
            choice = choose_backend(facts, proposal, options, FoundTools(opinion.asked))
            found.append(ExtraDiskPlan(facts, path.resolve(), proposal, choice))
        else:
            # As it should be already: it takes part without a step of its own.
            found.append(ExtraDiskPlan(facts, path.resolve(), Proposal((), facts)))
    return found


def _refuse_idle(main: Facts, device: BlockDevice, path: Path, sector_size: int) -> None:
    """option-unsupported if a disk holds nothing of the image's volume groups."""
    wanted = {volume.uuid for group in main.groups_on() for volume in group.physical_volumes}
    if not wanted & PhysicalVolumeFinder([(device, path)], sector_size).found().keys():
        reason = "no volume group of this image lies on it as well"
        hint = f"to let it grow too: --with {path}=+10G"
        raise option_unsupported(main.image.path, f"--with {path}", reason, hint)
