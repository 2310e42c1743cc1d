"""Disks at rest as a run's target: how they are opened, what is read, how a plan is made.

To plan, they are opened for reading; to carry it out, as their one writer. What is read is the
same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.api.current_run import CurrentRun, Prepared, new_run_name
from growdisk.api.disk_facts import image_facts, inspect_device, opened_image
from growdisk.api.disks import unreadable_refused
from growdisk.api.guard import carried_by, refuse_carried, refuse_dependents, refuse_run_at
from growdisk.api.guest_look import proposed_with_guest, with_crypttab_names
from growdisk.api.host import FoundTools, facts_of_host, fit_to_host, refuse_unfit_host
from growdisk.api.host_space import RunImage, refuse_run_without_room
from growdisk.api.second_opinion import second_opinion
from growdisk.block.device import BlockDevice
from growdisk.errors import KeyNeeded, shell_word
from growdisk.fast_dataclass import dataclass, field, replace
from growdisk.guest_systems.look import Look, find_homes
from growdisk.host.blkid import Blkid
from growdisk.host.fuse_mount import unmounting_beside
from growdisk.planner.backend_choice import choose_backend
from growdisk.planner.extra_disks import (
    ExtraDiskPlan,
    merge_proposals,
    propose_extra_disk,
)
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal, OtherDisk, RunOptions
from growdisk.planner.plan import make_plan
from growdisk.planner.proposal import GoalReached, PlanFunction, Proposal
from growdisk.planner.refusals import option_unsupported, refuse_unwritable
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.named_files import trusting_references
from growdisk.qcow2.open_checks import refuse_data_file
from growdisk.qcow2.probe import ImageFormat, probe_to_write
from growdisk.steps.disk import Disk, Format
from growdisk.steps.place_at_rest import look_through
from growdisk.steps.registry import disk_name
from growdisk.volumes.keyring import Keyring
from growdisk.volumes.lvm import PhysicalVolumeFinder
from growdisk.workflow.run_directory import RunDirectory, refuse_if_open

if TYPE_CHECKING:
    from growdisk.api.session import Session


@contextmanager
def to_read(
    path: Path, options: RunOptions, image_format: ImageFormat | None
) -> Iterator[DisksAtRest]:
    RunDirectory.of(path)  # says why, where no image can be
    refuse_unfit_host(path, options)
    with ExitStack() as stack:
        stack.enter_context(unmounting_beside())
        device = stack.enter_context(
            closing(opened_image(path, image_format or probe_to_write(path), options.keys))
        )
        others = tuple(
            (stack.enter_context(closing(opened_image(other, kind, options.keys))), other)
            for other, kind in found_formats(path, options.others)
        )
        yield stack.enter_context(closing(DisksAtRest(path, options, device, others)))


@contextmanager
def to_write(
    path: Path, options: RunOptions, image_format: ImageFormat | None
) -> Iterator[DisksAtRest]:
    """As long as the image is ours, no other run begins or ends."""
    directory, others = RunDirectory.of(path), found_formats(path, options.others)
    chosen = image_format or probe_to_write(path)
    # Before the image is opened to write: others_write() would find this process.
    refuse_unfit_host(path, options)
    # The lock is taken here: what is read from now on stays as it is until the run ends.
    disk = Disk.open(
        directory.image, chosen, others, not_in_use=options.not_in_use, key=options.keys
    )
    with unmounting_beside(), closing(disk):
        named = tuple((extra.active, extra.path) for extra in disk.extra_disks)
        with closing(DisksAtRest(path, options, disk, named, disk)) as target:
            yield target


class DisksAtRest:
    """Target (api/runs.py). Each call may raise refusals.

    `device` is what `path` holds; `others` are the guest's further disks. `disk` is the same to
    write; None if it is open to be read.
    """

    def __init__(
        self,
        path: Path,
        options: RunOptions,
        device: BlockDevice,
        others: tuple[tuple[BlockDevice, Path], ...],
        disk: Disk | None = None,
    ) -> None:
        self.path, self.options, self.device, self.others = path, options, device, others
        self._disk = disk
        self.image = disk.active if disk else device
        self.directory, self.keyring = RunDirectory.of(path), Keyring(options.keys)
        self._guest = Look()
        self._extra_plans: list[ExtraDiskPlan] = []  # what becomes of the others
        self._blkid: Blkid | None = None

    def close(self) -> None:
        if self._blkid:
            self._blkid.close()

    def completed(self, goal: Goal) -> Goal:
        """With what the host knows of the disk, and the goal leaves open."""
        return goal

    def facts(self, goal: Goal) -> Facts:
        """The facts, with what only the guest's own files say."""
        # An image that was copied without its run's folder still has that run's snapshots.
        for image, place in ((self.image, self.path), *self.others):
            refuse_carried(carried_by(image, place))
            if isinstance(image, Qcow2Image):
                refuse_data_file(image.header, place, None, writable=False)  # a run has none open
                if self._disk is None:
                    image.refuse_unwritable()
        # The table and contents first, then the guest's files in them: proposed() needs both.
        own = facts_of_host(image_facts(self.image, self.path), self.path, goal)
        facts = inspect_device(self.device, own, goal.sector_size, self.keyring, others=self.others)
        self._guest = find_homes(
            self.device, self.path, goal.sector_size, self.keyring, self.others
        )
        return with_crypttab_names(facts, self._guest)

    def proposed(self, facts: Facts, goal: Goal, propose: PlanFunction) -> Proposal | GoalReached:
        def propose_beside_blkid(facts: Facts, goal: Goal) -> Proposal | GoalReached:
            proposal = propose(facts, goal)
            # It starts while the guest's files are searched, if there is anything to do at all.
            if self._blkid is None and isinstance(proposal, Proposal):
                self._blkid = Blkid()
            return proposal

        self._extra_plans = plan_extra_disks(
            facts, self.others, self.options, goal.sector_size, self.keyring
        )
        return merge_proposals(
            proposed_with_guest(propose_beside_blkid, facts, goal, self._guest),
            facts,
            self._extra_plans,
        )

    def planned(self, facts: Facts, proposal: Proposal, goal: Goal) -> Prepared:
        """The plan; Refused if blkid disagrees, no backend can do it, or the host has no space."""
        pv_finder = PhysicalVolumeFinder([(self.device, self.path), *self.others], goal.sector_size)
        inside = partial(look_through, self.device, keyring=self.keyring, pv_finder=pv_finder)
        # Before a backend is chosen: if blkid worked confined, `direct` need not be tried again.
        self._blkid = self._blkid or Blkid()
        proposal, asked = second_opinion(
            facts, goal, proposal, self.device, inside, self._blkid, self._load_tools
        )
        options = self.options
        choice = choose_backend(facts, proposal, options, FoundTools(asked))
        run = new_run_name()
        plan = make_plan(run, facts, proposal, goal, options, choice, self._extra_plans)
        plan = fit_to_host(plan, self.path, self.directory, options)
        # Last, as it counts by the snapshot modes of the finished plan.
        images = [RunImage(self.image, facts, proposal, plan.snapshots, plan.keep)]
        known_disks = zip(self.others, self._extra_plans, plan.extra_disks, strict=True)
        images += (
            RunImage(image, extra.facts, extra.proposal, known.snapshots, plan.keep)
            for (image, _), extra, known in known_disks
        )
        return Prepared(plan, refuse_run_without_room(self.path, images))

    def _load_tools(self) -> None:
        """What most runs need and planning does not: loading it takes as long as blkid's look."""
        if self._disk:
            import growdisk.api.session
            import growdisk.backends.direct
            import growdisk.partitions.parted_disk
            import growdisk.qcow2.revert  # noqa: F401

    def locked(self) -> nullcontext[None]:
        """No other growdisk may begin a run on it."""
        return nullcontext()  # by the image's own lock, since it was opened

    def begin(self, run: CurrentRun, room: int) -> Session:
        """A new run with its worker and snapshot store, written down; OSError if it cannot be."""
        assert self._disk is not None
        plan = run.plan
        # A missing appliance is refused while there is nothing yet that would have to go back.
        if "guestfs" in (plan.backend, *(one.backend for one in plan.extra_disks if one.before)):
            # it knows all backends, and loads them
            from growdisk.backends.available import require_appliance

            require_appliance()
        from growdisk.api.session import Session

        return Session.begin(run, self._disk, room=room)

    def put_away(self) -> None:
        """Put away what a run has left that was killed when all was done but this."""
        # The first disk last, as in Session.put_away: the other folders lead to its folder.
        for path in (*(path for _, path in reversed(self.others)), self.path):
            RunDirectory.of(path).put_away()


# --- a run that another process began -----------------------------------------------------------


@dataclass(frozen=True)
class Allowed:
    """What a continued run may use: passphrases, and the user's consent.

    That is consent to break images that lie on this one, and the word that nobody uses them unseen.
    `shows_the_same`: what is done changes nothing that is seen of the disk.
    """

    keys: tuple[bytes, ...] = field(default=(), repr=False)
    overlays_may_break: bool = False
    not_in_use: bool = False
    shows_the_same: bool = False


@contextmanager
def reopened(run: CurrentRun, allowed: Allowed) -> Iterator[Disk]:
    """The run's disks, opened for this process alone."""
    image, kind = run.directory.image, format_named(run.plan.before.image.format)
    others = [(Path(extra.path), format_named(extra.format)) for extra in run.plan.extra_disks]
    # What the images name was followed with the user's consent when the run began.
    with unreadable_refused(image), trusting_references():
        disk = Disk.open(image, kind, others, not_in_use=allowed.not_in_use, key=allowed.keys)
    with unmounting_beside(), closing(disk):
        yield disk


def session_of(run: CurrentRun, disk: Disk, verb: str, allowed: Allowed) -> Session:
    """KeyNeeded, overlays-on-it, image-changed: see Session.reopen."""
    for one_disk in (disk, *disk.extra_disks):
        # Internal snapshots can be gone back to, or forgotten, without the key to what they hold.
        if one_disk.is_locked and (verb == "resume" or run.plan.snapshots != "internal"):
            raise KeyNeeded(run.path if one_disk is disk else one_disk.path)
        if not allowed.shows_the_same:
            refuse_dependents(one_disk.path, overlays_may_break=allowed.overlays_may_break)
    from growdisk.api.session import Session

    with unreadable_refused(run.path):
        session = Session.reopen(run, disk, accepting=verb == "commit")
    # Only going on works inside containers; going back and accepting handle whole images.
    if verb == "resume":
        try:
            session.refuse_locked()
        except BaseException:
            session.snapshots.close()
            raise
    return session


def format_named(name: str) -> Format:
    return "raw" if name == "raw" else "qcow2"


# --- the guest's other disks: which they are, what is done to them --------------------------------


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
        refuse_if_open(RunDirectory.of(other), unless_kept=True)
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
            with closing(Blkid()) as blkid:
                proposal, asked = second_opinion(facts, other.goal, proposal, device, opened, blkid)
            choice = choose_backend(facts, proposal, options, FoundTools(asked))
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
        hint = f"to let it grow too: --with {shell_word(path)}=+10G"
        raise option_unsupported(main.image.path, f"--with {path}", reason, hint)
