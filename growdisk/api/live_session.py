"""Puts a run on a running guest together: its machine, its way inside, its snapshot store, its journal, the engine."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, cast

from growdisk.api.live_target import RunningGuest
from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass
from growdisk.host.free_space import room_for
from growdisk.live.guest_block_device import find_in_guest, look_at
from growdisk.live.guest_shell import GuestShell, GuestUnreachable
from growdisk.live.guest_volumes import look_in_guest, partition_device, volumes_of
from growdisk.planner.facts import Facts, ImageFacts
from growdisk.planner.inspect import inspect_device
from growdisk.planner.live_plan import HostEnvironment
from growdisk.planner.plan import Plan
from growdisk.steps.live_context import Inside, LiveContext
from growdisk.steps.live_overlays import LiveOverlays
from growdisk.steps.live_snapshots import LiveSnapshots
from growdisk.steps.live_undo import LiveUndo
from growdisk.workflow.engine import Engine, Observer
from growdisk.workflow.journal import Journal
from growdisk.workflow.run_directory import RunDirectory, make_folder
from growdisk.workflow.snapshots import SnapshotStore
from growdisk.workflow.step import Step
from growdisk.workflow.stopping import StopRequest


@dataclass(eq=False)
class GuestNotRunning(Refused):
    WHAT: ClassVar[str] = "{machine} is {status}"
    WHY: ClassVar[str] = "the guest is paused, so no command can run in it"
    DO: ClassVar[str] = "let it go on (virsh resume, or cont in its monitor), or shut it down; then run growdisk again"
    machine: str
    status: str


@dataclass(eq=False)
class DiskBusy(Refused):
    WHAT: ClassVar[str] = "another job is working on a disk of {machine}"
    WHY: ClassVar[str] = "QEMU says it is a block job of the kind '{job}'"
    DO: ClassVar[str] = "wait until it has ended (virsh blockjob, or query-block-jobs), then run growdisk again"
    machine: str
    job: str


@dataclass(eq=False)
class RunGoingOn(Refused):
    WHAT: ClassVar[str] = "another growdisk is at work on {path}"
    WHY: ClassVar[str] = "it holds the lock of the folder of the run"
    DO: ClassVar[str] = "wait until it has ended; growdisk status {path} says how far it is"
    path: Path


@dataclass(frozen=True)
class InspectedGuest:
    """A running guest that was looked at: its facts by its own account, and the way inside that was used."""

    reached: RunningGuest
    inside: Inside
    facts: Facts
    device: str

    def surroundings(self) -> HostEnvironment:
        machine = self.reached.machine
        return HostEnvironment(
            self.reached.disk, machine.disks(), machine.memory(), room_for(self.reached.path),
            managed=bool(self.reached.domain),
        )  # fmt: skip


def look(reached: RunningGuest, path: Path, stop: StopRequest, *, fullness: bool = False) -> InspectedGuest:
    """Refused where the guest stands still, QEMU is busy with its disk, or there is no way inside."""
    machine, disk = reached.machine, reached.disk
    status = machine.status()
    if status != "running":
        raise GuestNotRunning(machine.name, status=status)
    if job := machine.busy():
        raise DiskBusy(machine.name, job=job)
    inside = Inside(reached.open_shell, stop)
    try:
        seen = find_in_guest(inside.shell, disk.names[0], disk.size, disk.serial, reached.request.guest_disk)
        facts = _facts(inside.shell, seen.device, _image_facts(reached, path), fullness=fullness)
    except BaseException:
        inside.forget()
        raise
    return InspectedGuest(reached, inside, facts, seen.device)


def _facts(shell: GuestShell, device: str, image: ImageFacts, *, fullness: bool) -> Facts:
    disk, volumes = look_at(shell, device), volumes_of(shell, fullness=fullness)
    return inspect_device(
        disk, image, look=lambda window, start: look_in_guest(window, partition_device(disk, start), volumes),
        thorough=False,
    )  # fmt: skip


def _image_facts(reached: RunningGuest, path: Path) -> ImageFacts:
    disk = reached.disk
    return ImageFacts(
        path, disk.format, disk.size, disk.actual_size, disk.snapshots, (disk.backing,) if disk.backing else (),
        disk.version or None, disk.refcount_bits, disk.corrupt,
    )  # fmt: skip


class LiveSession:
    """A run in this process, on a running guest."""

    def __init__(
        self, path: Path, plan: Plan, reached: RunningGuest, inside: Inside, directory: RunDirectory, journal: Journal,
        observer: Observer, stop: StopRequest, keys: tuple[bytes, ...] = (),
    ) -> None:  # fmt: skip
        self.path, self.plan, self.reached, self.directory = path, plan, reached, directory
        self.context = context_of(plan, reached, inside, directory.image, keys, observer.step_said)
        self.snapshots = _store(plan, self.context, directory, reached)
        steps = cast("tuple[Step[LiveContext], ...]", plan.steps)
        self.engine: Engine[LiveContext] = Engine(
            steps, self.context, self.snapshots, journal, observer, keep=plan.keep, stop=stop,
            make_room=directory.make_room, again_in_place=True,
        )  # fmt: skip


def context_of(
    plan: Plan, reached: RunningGuest, inside: Inside, image: Path, keys: tuple[bytes, ...],
    told: Callable[[str], None] = lambda line: None,
) -> LiveContext:  # fmt: skip
    """What the steps of `plan` work with."""
    assert plan.way is not None and plan.way.guest is not None, plan.run
    return LiveContext(
        reached.machine, reached.disk.key, inside, plan.way.device, plan.way.guest, image, plan.way.allow_reboot, keys,
        told,
    )  # fmt: skip


def _store(plan: Plan, context: LiveContext, directory: RunDirectory, reached: RunningGuest) -> SnapshotStore:
    names = [step.name for step in plan.steps]
    if plan.snapshots == "overlay":
        base = context.machine.node_of(lambda file: _is(file, directory.image))
        return LiveOverlays(
            context, directory.path, base, plan.run, names, lambda action: at_rest(reached, context.inside, action)
        )
    undo = LiveUndo(context, plan.steps)
    if plan.snapshots == "internal":
        return LiveSnapshots(context, plan.run, names, undo)
    return undo


def _is(file: str, path: Path) -> bool:
    try:
        return Path(file).samefile(path)
    except OSError:
        return False


def at_rest(reached: RunningGuest, inside: Inside, action: Callable[[], None]) -> None:
    """Do it while the guest's file systems are frozen, where an agent can do that; also where ssh leads inside."""
    if not reached.by_ssh:
        inside.forget()  # an agent talks to one at a time
    try:
        agent = reached.open_agent()
    except GuestUnreachable:
        action()
        return
    frozen = False
    try:
        frozen = agent.freeze()
        action()
    finally:
        if frozen:
            agent.thaw()
        agent.close()


def thaw(reached: RunningGuest) -> None:
    """A growdisk that died while the guest's files were at rest has left them so."""
    with contextlib.suppress(GuestUnreachable):
        agent = reached.open_agent()
        agent.thaw()
        agent.close()


def lock_run(directory: RunDirectory) -> int:
    """One growdisk at a time: a lock on the run's folder, as a file descriptor. RunGoingOn."""
    make_folder(directory.path)
    fd = os.open(directory.path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise RunGoingOn(directory.image) from error
    if _is_there(directory.path, fd):
        return fd
    os.close(fd)  # the run ended just now, and its folder is gone
    return lock_run(directory)


def _is_there(path: Path, fd: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except OSError:
        return False
