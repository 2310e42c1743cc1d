"""Inspects a running guest: by its own account of its disk, through the connection found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from growdisk.api.disk_facts import inspect_device
from growdisk.api.live_request import LiveRequest
from growdisk.api.live_target import RunningGuest, reach
from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass
from growdisk.host.free_space import room_for
from growdisk.live.guest_block_device import find_in_guest, guest_disk_at
from growdisk.live.guest_shell import GuestShell
from growdisk.live.guest_volumes import look_in_guest, partition_device, volumes_of
from growdisk.planner.facts import Facts, ImageFacts
from growdisk.planner.live_plan import HostEnvironment
from growdisk.steps.live_place import GuestAccess
from growdisk.workflow.stopping import StopRequest


def guest_not_running(machine: str, status: str) -> Refused:
    return Refused.named(
        "guest-not-running",
        "{machine} is {status}",
        "the guest is paused, so no command can run in it",
        "let it go on (virsh resume, or cont in its monitor), or shut it down; then run growdisk "
        "again",
        {"machine": machine, "status": status},
    )


@dataclass(frozen=True)
class InspectedGuest:
    """A running guest that was inspected: the facts it gives, and the connection into it."""

    reached: RunningGuest
    inside: GuestAccess
    facts: Facts
    device: str

    def environment(self) -> HostEnvironment:
        machine = self.reached.machine
        return HostEnvironment(
            self.reached.disk,
            machine.disks(),
            machine.memory(),
            room_for(self.reached.path),
            managed=bool(self.reached.domain),
            fixed=machine.fixed_to_host(),
        )


@contextmanager
def inspected(
    request: LiveRequest, stop: StopRequest, *, fullness: bool = False, sector_size: int = 512
) -> Iterator[InspectedGuest | Path]:
    """The running guest, looked at; or the path of its image, if it is off.

    `fullness`: with what its df says.
    """
    reached = reach(request)
    if isinstance(reached, Path):
        yield reached
        return
    with closing(reached):
        path = request.path or reached.path
        looked = look(reached, path, stop, fullness=fullness, sector_size=sector_size)
        try:
            yield looked
        finally:
            looked.inside.forget()


def look(
    reached: RunningGuest,
    path: Path,
    stop: StopRequest,
    *,
    fullness: bool = False,
    sector_size: int = 512,
) -> InspectedGuest:
    """Inspect a running guest; Refused if it is paused, cannot be reached, or its disk is busy."""
    machine, disk = reached.machine, reached.disk
    status = machine.status()
    if status != "running":
        raise guest_not_running(machine.name, status=status)
    if job := machine.busy():
        raise Refused.named(
            "disk-busy",
            "another job is working on a disk of {machine}",
            "QEMU says it is a block job of the kind '{job}'",
            "wait until it has ended (virsh blockjob, or query-block-jobs), then run growdisk "
            "again",
            {"machine": machine.name, "job": job},
        )
    # Not open yet: the first use of its shell opens the way inside.
    inside = GuestAccess(reached.open_shell, stop)
    try:
        seen = find_in_guest(
            inside.shell, disk.names[0], disk.size, disk.serial, reached.request.guest_disk
        )
        image = _image_facts(reached, path)
        facts = _facts(inside.shell, seen.device, image, sector_size, fullness=fullness)
    except BaseException:
        inside.forget()
        raise
    return InspectedGuest(reached, inside, facts, seen.device)


def _facts(
    shell: GuestShell, device: str, image: ImageFacts, sector_size: int, *, fullness: bool
) -> Facts:
    # Each look is a command in the guest: what is mapped is listed once, for all partitions.
    disk, volumes = guest_disk_at(shell, device), volumes_of(shell, fullness=fullness)
    return inspect_device(
        disk,
        image,
        sector_size,
        look=lambda window, start: look_in_guest(window, partition_device(disk, start), volumes),
        # What lies far from both ends of the disk would have to come through the agent.
        thorough=False,
    )


def _image_facts(reached: RunningGuest, path: Path) -> ImageFacts:
    disk = reached.disk
    return ImageFacts(
        path,
        disk.format,
        disk.size,
        disk.actual_size,
        disk.snapshots,
        (disk.backing,) if disk.backing else (),
        disk.version or None,
        disk.refcount_bits,
        disk.corrupt,
    )
