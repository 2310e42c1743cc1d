"""Builds a run on a running guest: machine, shell, snapshot store, journal, engine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from growdisk.api.current_run import CurrentRun
from growdisk.api.live_inspect import look
from growdisk.api.live_target import RunningGuest
from growdisk.errors import GrowdiskError, NeedsUser
from growdisk.live.guest_shell import GuestUnreachable
from growdisk.live.qemu_machine import is_same_file
from growdisk.planner.guest_plan import growth_layers
from growdisk.planner.layout import Layout, layout_of
from growdisk.planner.plan import Plan
from growdisk.steps.failures import overlays_need_rest
from growdisk.steps.live_place import GuestAccess
from growdisk.steps.live_snapshots import LiveOverlays, LiveSnapshots, LiveUndo
from growdisk.steps.live_worker import LiveWorker
from growdisk.workflow.engine import Engine
from growdisk.workflow.failures import WITHHELD, NothingToRestore, StoppedWithoutSnapshots
from growdisk.workflow.journal import Journal
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.snapshots import SnapshotStore
from growdisk.workflow.stopping import StopRequest


class LiveSession:
    """A run in this process, on a running guest."""

    def __init__(
        self, run: CurrentRun, reached: RunningGuest, inside: GuestAccess, journal: Journal
    ) -> None:
        self.run, self.reached, plan, directory = run, reached, run.plan, run.directory
        keys = run.keyring.passphrases
        self.worker = worker_of(
            plan, reached, inside, directory.image, keys, run.observer.step_said
        )
        self.snapshots = _store(plan, self.worker, directory, reached)
        # Swap and the guest's files are one phase of its own scripts; other steps are as at rest.
        self.engine: Engine[LiveWorker] = Engine(
            plan.own_steps,
            self.worker,
            self.snapshots,
            journal,
            run.observer,
            keep=plan.keep,
            stop=run.stop,
            make_room=directory.make_room,
            # Taking a step back to do it again would cost what the guest has done since.
            again_in_place=True,
        )

    def layout_now(self) -> Layout | None:
        """None if the guest cannot be asked any more."""
        self.worker.inside.forget()  # an agent talks to one at a time
        try:
            # again(): `reached` has the disk as it was before it grew.
            sector_size = self.run.plan.sector_size
            looked = look(self.reached.again(), self.run.path, sector_size, StopRequest())
        except (GrowdiskError, *WITHHELD):
            return None
        looked.inside.forget()
        return layout_of(looked.facts)

    def others_now(self) -> tuple[tuple[Layout, Layout], ...]:
        return ()  # no further disk takes part

    def put_away(self) -> None:
        self.run.directory.put_away()

    def explained(self, error: GrowdiskError | None) -> GrowdiskError | None:
        """A run with snapshots can be rolled back, once the guest is off."""
        # With snapshots in the image it is stopped so only if QEMU is gone (LiveSnapshots).
        if isinstance(error, StoppedWithoutSnapshots) and self.run.plan.snapshots == "internal":
            return NeedsUser.named(
                "machine-gone",
                "step {step} was cut short: the machine went away",
                "{reason}",
                "start the guest and run growdisk resume {path}; or growdisk rollback {path}, "
                "while it is off",
                {"path": self.run.path, "step": error.step, "reason": error.reason},
            )
        if self.run.plan.snapshots != "overlay":
            return error
        # A running guest cannot go back, but the image is as it was until overlays are merged.
        if isinstance(error, StoppedWithoutSnapshots):
            return NeedsUser.named(
                "stopped-on-overlays",
                "step {step} failed; the guest runs on, on its overlays",
                "{reason}",
                "fix the cause, then growdisk resume {path}; or shut the guest down (do not "
                "restart it from the image) and run growdisk rollback {path}",
                {"path": self.run.path, "step": error.step, "reason": error.reason},
            )
        if isinstance(error, NothingToRestore):
            # A rollback was asked for; no step failed.
            return overlays_need_rest(self.run.path, overlay=self.reached.disk.file)
        return error

    def refuse_other_image(self) -> None:
        """wrong-image if the guest was started without the run's overlays.

        Nothing is recorded then.
        """
        if isinstance(self.snapshots, LiveOverlays):
            self.snapshots.refuse_other_image()

    def refuse_closed(self) -> None:
        """What does not let us in now, a user can open: that is no reason to take the run back.

        GuestUnreachable; and guest-refused, if containers are closed since the guest has
        restarted.
        """
        # Raised here, it leaves the run as it is. In a step it would be taken back.
        state = self.engine.state
        if state.committing or state.keeping or state.rolling_back:
            return
        # Any command will do: it opens the way inside.
        self.worker.ask("true")
        # PREPARE, which only checks here, refuses a container that is closed.
        if self.worker.guest.all_layers:
            self.worker.check()


def worker_of(
    plan: Plan,
    reached: RunningGuest,
    inside: GuestAccess,
    image: Path,
    keys: tuple[bytes, ...],
    on_line: Callable[[str], None] = lambda line: None,
) -> LiveWorker:
    """Who does the work of the steps of `plan`."""
    assert plan.way is not None and plan.way.guest is not None, plan.run
    return LiveWorker(
        reached.machine,
        reached.disk.key,
        inside,
        plan.way.device,
        plan.way.guest,
        image,
        plan.way.allow_reboot,
        growth_layers(plan.own_steps),
        plan.steps[-1].name,
        keys,
        on_line,
    )


def _store(
    plan: Plan, worker: LiveWorker, directory: RunDirectory, reached: RunningGuest
) -> SnapshotStore:
    names = [step.name for step in plan.steps]
    if plan.snapshots == "overlay":
        # By its file: the node's name is QEMU's, and another one after a restart.
        base = worker.machine.node_of(lambda file: is_same_file(file, directory.image))
        return LiveOverlays(
            worker,
            directory.path,
            base,
            plan.run,
            names,
            lambda action: while_frozen(reached, worker.inside, action),
        )
    # Tried before a snapshot in the image, too: what the guest can undo itself loses nothing.
    undo = LiveUndo(worker, plan.own_steps)
    if plan.snapshots == "internal":
        return LiveSnapshots(worker, plan.run, names, undo)
    return undo


def while_frozen(reached: RunningGuest, inside: GuestAccess, action: Callable[[], None]) -> None:
    """Call `action` while an agent has frozen the guest's file systems, if one can.

    The agent is tried even if the way inside is ssh.
    """
    if not reached.by_ssh:
        inside.forget()  # an agent talks to one at a time
    try:
        agent = reached.open_agent()
    except GuestUnreachable:
        action()
        return
    # Without a freeze the image below is as after a power cut, which file systems bear.
    frozen = False
    try:
        frozen = agent.freeze()
        action()
    finally:
        # Whatever happened: every write in a guest that stays frozen hangs.
        if frozen:
            agent.thaw()
        agent.close()


def thaw(reached: RunningGuest) -> None:
    """Thaw the guest: a growdisk that died while its file systems were frozen has left them so."""
    with contextlib.suppress(GuestUnreachable):
        agent = reached.open_agent()
        agent.thaw()
        agent.close()
