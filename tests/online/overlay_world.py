"""A bare machine and the overlays of a run under its disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from growdisk.api.current_run import Prepared, Silent
from growdisk.api.live_target import RunningGuest
from growdisk.api.running import GuestTarget
from growdisk.live.qemu_machine import LiveDisk, Machine
from growdisk.planner.goal import Goal, RunOptions
from growdisk.steps.live_snapshots import LiveOverlays, is_same_file
from growdisk.steps.live_worker import LiveWorker
from growdisk.workflow.engine import Engine
from growdisk.workflow.journal import Journal
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.step import Check, Evidence, Ready
from growdisk.workflow.stopping import StopRequest
from tests.online.machine import LiveGuest

if TYPE_CHECKING:
    from growdisk.api.live_inspect import InspectedGuest
    from growdisk.planner.facts import Facts
    from growdisk.planner.proposal import Proposal

RUN, NAME = "20260101-000000-ab", "resize-image"


class NoShell:
    def forget(self) -> None: ...

    def check_stop(self) -> None: ...


@dataclass
class DiskOnly:
    """Of LiveWorker what the snapshot store needs."""

    machine: Machine
    key: str
    path: Path
    inside: NoShell

    @property
    def disk(self) -> LiveDisk:
        return self.machine.disk(self.key)


@dataclass
class OneStep:
    name: str = NAME

    def describe(self) -> str:
        return "does nothing"

    def check(self, context: LiveWorker) -> Check:
        return Ready()

    def apply(self, context: LiveWorker) -> Evidence:
        return Evidence("done")

    def verify(self, context: LiveWorker, evidence: Evidence) -> None: ...


@dataclass
class World:
    guest: LiveGuest
    worker: LiveWorker
    folder: Path
    stop: StopRequest = field(default_factory=StopRequest)

    @property
    def written_to(self) -> Path:
        return Path(self.worker.disk.file)

    def store(self, after: Callable[[], None] = lambda: None) -> LiveOverlays:
        """`after` is called when an overlay has come under the guest."""

        def quiet(action: Callable[[], None]) -> None:
            action()
            after()

        image = self.worker.path
        base = self.worker.machine.node_of(lambda file: is_same_file(file, image))
        return LiveOverlays(self.worker, self.folder, base, RUN, [NAME], quiet)

    def engine(self, after: Callable[[], None] = lambda: None) -> Engine[LiveWorker]:
        return Engine(
            [OneStep()],
            self.worker,
            self.store(after),
            Journal(self.folder / "journal.jsonl"),
            Silent(),
            stop=self.stop,
            again_in_place=True,
        )


def world_of(guest: LiveGuest, machine: Machine) -> World:
    """With the folder of a run."""
    directory = RunDirectory.of(guest.image)
    directory.path.mkdir(parents=True)
    disk = DiskOnly(machine, machine.disks()[0].key, directory.image, NoShell())
    return World(guest, cast("LiveWorker", disk), directory.path)


def target_of(reached: RunningGuest) -> GuestTarget:
    """Of a machine in which nothing runs that could be inspected."""
    return GuestTarget(cast("InspectedGuest", SimpleNamespace(reached=reached)), RunOptions())


def planned_on(reached: RunningGuest) -> Prepared:
    """Up to where the guest itself would be asked."""
    nothing = (cast("Facts", None), cast("Proposal", None))
    return target_of(reached).planned(*nothing, Goal())
