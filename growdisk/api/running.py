"""A running guest as a run's target: how it is reached and locked, how a plan is made.

A guest that is off is handled as disks at rest: every call here begins by finding out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from growdisk.api.at_rest import refuse_spoiling
from growdisk.api.current_run import CurrentRun, Prepared, new_run_name
from growdisk.api.device_host import refuse_unsafe_place
from growdisk.api.host import refuse_full_storage
from growdisk.api.live_inspect import (
    InspectedGuest,
    confirmed_by_guest,
    guest_not_running,
    inspected,
)
from growdisk.api.live_request import LiveRequest
from growdisk.api.live_session import LiveSession, thaw, worker_of
from growdisk.api.live_target import RunningGuest, reach, reconnect, request_of
from growdisk.durable import open_locked_folder
from growdisk.errors import GrowdiskError, Refused
from growdisk.fast_dataclass import dataclass, replace
from growdisk.host.free_space import room_for
from growdisk.live.qemu_machine import is_same_file
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal, RunOptions
from growdisk.planner.hint_words import options_in
from growdisk.planner.live_plan import make_live_plan
from growdisk.planner.plan import Plan, encode_plan
from growdisk.planner.proposal import GoalReached, PlanFunction, Proposal
from growdisk.planner.refusals import option_unsupported
from growdisk.steps.live_place import GuestAccess
from growdisk.storage.device import look_at_storage
from growdisk.units import SizeSpec, align_down
from growdisk.volumes.keyring import Keyring
from growdisk.workflow.journal import Event, Journal, JournalRecord, RunState
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.run_places import is_device_or_served, is_run_folder
from growdisk.workflow.run_records import make_folder
from growdisk.workflow.stopping import StopRequest


@contextmanager
def running_guest(
    request: LiveRequest, goal: Goal, options: RunOptions, stop: StopRequest
) -> Iterator[GuestTarget | Path]:
    """The guest; the path of its image, if it is off."""
    by_rule = goal.rule is not None
    with inspected(request, goal.sector_size, stop, fullness=by_rule) as found:
        if isinstance(found, InspectedGuest) and options.others:
            path, option = found.facts.image.path, f"--with {options.others[0].path}"
            hint = "leave it out, or shut the guest down"
            raise option_unsupported(path, option, "its guest runs", hint)
        yield found if isinstance(found, Path) else GuestTarget(found, options)


@dataclass(frozen=True)
class GuestTarget:
    """Target (api/runs.py)."""

    guest: InspectedGuest
    options: RunOptions

    @property
    def path(self) -> Path:
        return self.guest.reached.path

    @property
    def directory(self) -> RunDirectory:
        return RunDirectory.of(self.path)

    @property
    def keyring(self) -> Keyring:
        return Keyring(self.options.keys)

    def completed(self, goal: Goal) -> Goal:
        """The goal; without a size, it is what the device has now, unknown to QEMU."""
        # QEMU has the size that the device had when it was opened, or at the last block_resize.
        size = self.guest.facts.image.virtual_size
        if goal.size is not None or (present := self._device_size()) is None:
            return goal
        # A device may end within a sector of 4096 bytes. A disk in use never shrinks.
        whole = align_down(present, goal.sector_size)
        return replace(goal, size=SizeSpec(whole, relative=False)) if whole > size else goal

    def facts(self, goal: Goal) -> Facts:
        """The facts; with the host's storage, if the goal is larger than its device.

        The device must grow first then.
        """
        facts, present = self.guest.facts, self._device_size()
        if (
            present is None
            or goal.size is None
            or goal.size.resolve(facts.image.virtual_size) <= present
        ):
            return facts
        return replace(facts, image=replace(facts.image, storage=look_at_storage(self.path)))

    def _device_size(self) -> int | None:
        """In bytes; None if the image is a file, or has a format of its own."""
        # In qcow2 on a device the disk's size is the image's own: the device only has to hold it.
        image = self.guest.facts.image
        if image.format != "raw" or not self.path.is_block_device():
            return None
        return room_for(self.path).device_size or image.virtual_size

    def proposed(self, facts: Facts, goal: Goal, propose: PlanFunction) -> Proposal | GoalReached:
        try:
            return propose(facts, goal)
        except Refused as error:
            if "move" in options_in(error.what_to_do):
                error.advise_also(" (--move once the guest is shut down)")
            raise

    def planned(self, facts: Facts, proposal: Proposal, goal: Goal) -> Prepared:
        """Refused, too, if the guest itself says that it cannot do its part."""
        guest, options = self.guest, self.options
        self._refuse_other_overlays()
        confirmed = confirmed_by_guest(guest, goal, proposal)
        connection = guest.reached.way(guest.device)
        plan = make_live_plan(
            new_run_name(), facts, confirmed, goal, options, guest.environment(), connection
        )
        refuse_full_storage(plan, self.path)
        if is_device_or_served(self.path):
            refuse_unsafe_place(self.path, self.directory, plan)
        # Last, since the scripts are rendered from the finished plan. They only check here.
        worker = worker_of(plan, guest.reached, guest.inside, self.path, options.keys)
        if left := worker.check():
            note = (
                f"WARNING: the guest's next start may wait for the swap: before it, {left}; or "
                "keep the swap (--swap move)"
            )
            plan = replace(plan, notes=(*plan.notes, note))
        return Prepared(plan)

    def locked(self) -> AbstractContextManager[None]:
        return locked(self.directory)

    def begin(self, run: CurrentRun, room: int) -> LiveSession:
        refuse_spoiling(self.path, self.options)  # again: another run may have ended just now
        journal = run.directory.begin(encode_plan(run.plan), room)
        journal.append(JournalRecord(Event.BEGIN, facts={"run": run.plan.run}))
        return LiveSession(run, self.guest.reached, self.guest.inside, journal)

    def put_away(self) -> None:
        # locked() would make the folder if there is none.
        if self.directory.path.exists() and not self._has_open_there():
            with self.locked():
                self.directory.put_away()

    def _refuse_other_overlays(self) -> None:
        """overlay-of-no-run if the guest has an overlay open: a new run would empty its folder."""
        on_overlay = is_run_folder(Path(self.guest.reached.disk.file).parent)
        if on_overlay or self._has_open_there():
            raise Refused.named(
                "overlay-of-no-run",
                "the guest of {path} lies on an overlay of growdisk, and no run is recorded",
                "it writes to {file}, which no run would merge",
                "if its run is in another state folder, say so (--state-dir); if there is none, "
                "shut the guest down and merge the overlay (growdisk image commit {file})",
                {"path": self.path, "file": self.guest.reached.disk.file},
            )

    def _has_open_there(self) -> bool:
        folder = self.directory.path
        return self.guest.reached.machine.has_open(
            lambda file: is_same_file(Path(file).parent, folder)
        )


# --- a run that another process began -----------------------------------------------------------


@contextmanager
def reopened_guest(run: CurrentRun, verb: str) -> Iterator[LiveSession | None]:
    """The run of a guest that runs now; None if it is off, and the image alone is needed."""
    reached = _reached_again(run.path, run.plan)
    if reached is None:
        # The guest is off: what is left may be done to the image alone (at_rest.py).
        if verb == "resume":
            _refuse_forward_without_guest(run.path, run.directory.state())
        yield None
        return
    with closing(reached), locked(run.directory):
        status = reached.machine.status()
        if status != "running":
            raise guest_not_running(reached.machine.name, status=status)
        # A growdisk that died between freeze and thaw (for an overlay alone) has left a guest that
        # cannot write.
        if run.plan.snapshots == "overlay":
            thaw(reached)
        session = LiveSession(
            run,
            reached,
            GuestAccess(reached.open_shell, run.stop),
            Journal(run.directory.journal_file),
        )
        if verb != "roll back":
            session.refuse_other_image()
        if verb == "resume":
            session.refuse_closed()
        yield session


def _reached_again(path: Path, plan: Plan) -> RunningGuest | None:
    """The guest by the plan's connection, or else by its image, if restarted in another way."""
    assert plan.way is not None
    request = request_of(path, plan.way)
    # A guest that was started again has another monitor, or another name of its socket.
    try:
        reached = reach(request)
    except GrowdiskError:
        reached = reconnect(request)
    return None if isinstance(reached, Path) else reached


def _refuse_forward_without_guest(path: Path, state: RunState) -> None:
    """guest-is-off, unless all that is left to do is done to the image alone."""
    # In these states no step is left to do: snapshots are restored, kept or removed, also at rest.
    if not (state.committing or state.keeping or state.rolling_back):
        raise Refused.named(
            "guest-is-off",
            "the guest of {path} is off",
            "its run was begun while it was running, and goes on inside it",
            "start the guest and run growdisk resume {path} again; or growdisk rollback {path}",
            {"path": path},
        )


@contextmanager
def locked(directory: RunDirectory) -> Iterator[None]:
    """No other growdisk works on the run of a guest that runs. run-going-on."""
    try:
        # A run that is about to begin has no folder yet. An empty one is not a run.
        fd = open_locked_folder(directory.path, make_folder)
    except BlockingIOError as error:
        raise Refused.named(
            "run-going-on",
            "another growdisk is at work on {path}",
            "it holds the lock of the folder of the run",
            "wait until it has ended; growdisk status {path} says how far it is",
            {"path": directory.image},
        ) from error
    try:
        yield
    finally:
        os.close(fd)
