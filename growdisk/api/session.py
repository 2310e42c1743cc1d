"""Puts one run together: its disk, its snapshot store, its journal, the engine; for a new run or one from a journal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from growdisk.backends.backend import Kind
from growdisk.backends.volumes.keyring import Keyring
from growdisk.errors import KeyNeeded
from growdisk.planner.plan import Plan, encode_plan
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.repair import repair
from growdisk.steps.context import Hands, RunContext
from growdisk.steps.disk import Disk
from growdisk.steps.failures import ImageChanged
from growdisk.steps.grow_filesystem_at import GrowFilesystemAt
from growdisk.steps.grow_luks import GrowLuks
from growdisk.steps.grow_pv import GrowPhysicalVolume
from growdisk.steps.internal_snapshots import InternalSnapshots
from growdisk.steps.overlay_snapshots import OverlaySnapshots
from growdisk.steps.pin import Pin
from growdisk.steps.place import Place, is_openable
from growdisk.steps.quiet_snapshots import QuietSnapshots
from growdisk.workflow.engine import Engine, Observer
from growdisk.workflow.journal import Event, Journal, Record
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.snapshots import NoSnapshots, SnapshotStore
from growdisk.workflow.states import TOUCHED, RunState, Status
from growdisk.workflow.step import Step
from growdisk.workflow.stopping import StopRequest


@dataclass(frozen=True)
class Session:
    """A run in this process. `path` is the image as the user named it."""

    path: Path
    plan: Plan
    disk: Disk
    directory: RunDirectory
    snapshots: SnapshotStore
    engine: Engine[RunContext]
    keyring: Keyring

    @classmethod
    def begin(
        cls, path: Path, plan: Plan, disk: Disk, directory: RunDirectory, observer: Observer, stop: StopRequest,
        keyring: Keyring,
    ) -> Session:  # fmt: skip
        """A new run: planned and written down, not yet begun."""
        journal = directory.begin(encode_plan(plan))
        if plan.snapshots == "internal":
            _image(disk, writable=True).set_run_mark(on=True)
        elif plan.snapshots == "overlay":
            _pin(directory, disk).set()
        journal.append(Record(Event.BEGIN, facts={"run": plan.run}))
        return cls._assemble(path, plan, disk, directory, journal, observer, stop, keyring)

    @classmethod
    def reopen(
        cls, path: Path, plan: Plan, disk: Disk, directory: RunDirectory, observer: Observer, stop: StopRequest,
        keyring: Keyring, *, accepting: bool = False,
    ) -> Session:  # fmt: skip
        """A run that another process began. ImageChanged if the image is not as that one left it.

        `accepting` the image as it is now is possible for a kept run, whatever a guest has written since.
        """
        journal = directory.journal()
        state = directory.state()
        if not (state.finished or (accepting and state.status is Status.KEPT)):
            _refuse_changed(path, plan, disk, directory, state)
            if disk.format == "qcow2" and not _pin(directory, disk).exists():
                repair(disk.file, disk.path, errors=False)  # what a crash left half-made: leaks, no more
        return cls._assemble(path, plan, disk, directory, journal, observer, stop, keyring)

    def refuse_locked(self) -> None:
        """KeyNeeded where what the run works in is encrypted, and no key that was given opens it."""
        for place in _places(self.plan):
            if place.layers and not is_openable(self.disk, place, self.keyring):
                reason = f"it goes on inside {place.name}, and no passphrase that was given opens it"
                raise KeyNeeded(self.path, reason=reason)

    @classmethod
    def _assemble(
        cls, path: Path, plan: Plan, disk: Disk, directory: RunDirectory, journal: Journal, observer: Observer,
        stop: StopRequest, keyring: Keyring,
    ) -> Session:  # fmt: skip
        hands = Hands(disk, stop, plan.sector_size, keyring, _places(plan), kind=_hands(plan))
        store = QuietSnapshots(_snapshots(plan, disk, directory), hands)
        # A running guest's steps are only ever undone here, when it is off: of those the names are enough.
        steps = cast("tuple[Step[RunContext], ...]", plan.steps)
        engine = Engine(
            steps, RunContext(disk, hands, path), store, journal, observer,
            keep=plan.keep, stop=stop, make_room=directory.make_room,
        )  # fmt: skip
        return cls(path, plan, disk, directory, store, engine, keyring)


def _hands(plan: Plan) -> Kind:
    """What is undone of a running guest's steps, when it is off, needs none."""
    return "guestfs" if plan.backend == "online" else plan.backend


def _places(plan: Plan) -> list[Place]:
    """Where its steps work, each once."""
    inner = (GrowLuks, GrowPhysicalVolume, GrowFilesystemAt)
    return list(dict.fromkeys(step.place for step in plan.steps if isinstance(step, inner)))


def _snapshots(plan: Plan, disk: Disk, directory: RunDirectory) -> SnapshotStore:
    names = [step.name for step in plan.steps]
    if plan.snapshots == "overlay":
        return OverlaySnapshots(disk, directory.path, names, _pin(directory, disk))
    image = disk.base(writable=True)
    disk.activate(image)
    if plan.snapshots == "internal" and isinstance(image, Qcow2Image):
        return InternalSnapshots(image, plan.run, names)
    return NoSnapshots()


def _refuse_changed(path: Path, plan: Plan, disk: Disk, directory: RunDirectory, state: RunState) -> None:
    """Going on would destroy what somebody else has written to the image since.

    A kept run's internal snapshots are whole whatever was written since, and a rollback gives up what was written after
    them; undo files fit only the image as it was left. A running guest writes to its image all the time: its runs leave
    neither mark nor pin.
    """
    if plan.way is not None:
        return
    if state.settling or state.keeping:
        changed = state.status is Status.KEPT and not _pin(directory, disk).holds()
    elif plan.snapshots == "internal":
        touched = any(record.event in TOUCHED for record in state.last.values())
        changed = touched and not state.going_back and not _image(disk, writable=False).has_run_mark
    else:
        changed = not _pin(directory, disk).holds()
    if changed:
        raise ImageChanged(path, run=plan.run)


def _image(disk: Disk, *, writable: bool) -> Qcow2Image:
    image = disk.base(writable=writable)
    assert isinstance(image, Qcow2Image), image
    return image


def _pin(directory: RunDirectory, disk: Disk) -> Pin:
    return Pin(directory.path / "pin", disk.path)
