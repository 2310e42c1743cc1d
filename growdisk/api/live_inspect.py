"""What a running guest says of its disk: what is on it, what its blkid sees there."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from growdisk.api.disk_facts import inspect_device
from growdisk.api.live_request import LiveRequest
from growdisk.api.live_target import RunningGuest, reach
from growdisk.api.second_opinion import (
    grown_inside,
    grown_over,
    newly_covered,
    touched,
    whole_disk_part,
)
from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass, replace
from growdisk.host.blkid import BlkidResult, CannotAsk, verdicts_in
from growdisk.host.free_space import room_for
from growdisk.live.guest_block_device import GuestBlockDevice, find_in_guest, guest_disk_at
from growdisk.live.guest_shell import GuestShell
from growdisk.live.guest_volumes import GuestVolumes, look_in_guest, partition_device, volumes_of
from growdisk.partitions.table import Partition
from growdisk.planner.facts import Facts, ImageFacts
from growdisk.planner.goal import Goal
from growdisk.planner.live_plan import HostEnvironment
from growdisk.planner.proposal import Proposal
from growdisk.planner.second_opinion import TouchedPart, refuse_disagreement
from growdisk.steps.failures import DeviceNotReadable
from growdisk.steps.live_place import GuestAccess, GuestDevices
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
    request: LiveRequest, sector_size: int, stop: StopRequest, *, fullness: bool = False
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
        looked = look(reached, path, sector_size, stop, fullness=fullness)
        try:
            yield looked
        finally:
            looked.inside.forget()


def look(
    reached: RunningGuest,
    path: Path,
    sector_size: int,
    stop: StopRequest,
    *,
    fullness: bool = False,
) -> InspectedGuest:
    """Inspect a running guest; Refused if it is paused, cannot be reached, or its disk is busy."""
    machine, disk = reached.machine, reached.disk
    status = machine.status()
    if status != "running":
        raise guest_not_running(machine.name, status=status)
    if machine.is_migrating():
        raise Refused.named(
            "guest-migrating",
            "{machine} is being migrated",
            "soon it may run on another host, and its disk must not change under both",
            "wait until that has ended (virsh domjobinfo, or query-migrate), then run growdisk "
            "again, on the host where the guest is then",
            {"machine": machine.name},
        )
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
        # Each look is a command in the guest: what is mapped is listed once, for all partitions.
        device = guest_disk_at(inside.shell, seen.device)
        volumes = volumes_of(inside.shell, fullness=fullness)
        facts = inspect_device(
            device,
            _image_facts(reached, path),
            sector_size,
            look=lambda part, at: look_in_guest(part, partition_device(device, at), volumes),
            # What lies far from both ends of the disk would have to come through the agent.
            thorough=False,
        )
    except BaseException:
        inside.forget()
        raise
    return InspectedGuest(reached, inside, facts, seen.device)


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


# --- the second opinion: the guest's own blkid, before a plan is made -----------------------------
#
# Of space that no partition has the beginning alone is asked for: all comes through the agent, or
# ssh. The answer is the guest's word, and nothing of it reaches a command.


_LEAST = 4096  # bytes of free space that are worth a question
_SECONDS = 120.0
_UNKNOWN = 3
# Another blkid (BusyBox has one) knows no low-level probing.
_KNOWN = f"blkid -V 2>&1 | grep -q util-linux || exit {_UNKNOWN}\n"
_ASK = """\
echo "= {name}"; status=0
[ -r {device} ] || status=1 # to blkid a device that is not there is one with nothing on it
[ $status != 0 ] || blkid -p -o udev{range} {device} 2>/dev/null || status=$?
echo "= $status"
"""


@dataclass(frozen=True)
class GuestPlace:
    """Bytes [start, start+size) of a device of the guest; all of it without a size."""

    device: str
    start: int = 0
    size: int = 0


def confirmed_by_guest(looked: InspectedGuest, goal: Goal, proposal: Proposal) -> Proposal:
    """The proposal with notes. belongs-to-others if the guest's blkid, which is asked, objects."""
    facts, shell = looked.facts, looked.inside.shell
    disk = guest_disk_at(shell, looked.device)
    parts = {f"part{n}": part for n, part in enumerate(_parts(looked, goal, proposal, disk))}
    gaps = {f"gap{n}": gap for n, gap in enumerate(_gaps(facts, proposal, disk))}
    probed = {name: place for name, (_, place) in (*parts.items(), *gaps.items())}
    # One call for all: in an emulated guest starting a program is what takes long.
    verdicts = ask_guest(shell, probed)
    if isinstance(verdicts, CannotAsk):
        note = (
            f"blkid could not be asked in the guest ({verdicts.reason}): growdisk's own "
            "readers decide"
        )
        return replace(proposal, notes=(*proposal.notes, note))
    for name, (part, _) in parts.items():
        refuse_disagreement(facts, part, verdicts[name])
    for name, (grown, place) in gaps.items():
        if _is_somebodys(verdicts[name]):
            raise grown_over(facts, grown, verdicts[name].kind, place.start)
    return proposal


def _parts(
    looked: InspectedGuest, goal: Goal, proposal: Proposal, disk: GuestBlockDevice
) -> Iterator[tuple[TouchedPart, GuestPlace]]:
    yield whole_disk_part(looked.facts), GuestPlace(disk.device)
    for part, old in touched(looked.facts, goal, proposal):
        # By the partition's own node, if there is one: a mounted file system writes to its cache.
        own = next((seen.device for seen in disk.partitions if seen.number == old.number), "")
        yield part, GuestPlace(own) if own else GuestPlace(disk.device, old.start, old.size)
    yield from _inner(looked, proposal, disk)


def _inner(
    looked: InspectedGuest, proposal: Proposal, disk: GuestBlockDevice
) -> Iterator[tuple[TouchedPart, GuestPlace]]:
    """What grows inside containers and logical volumes, as the guest has it open."""
    places = list(grown_inside(looked.facts, proposal, disk.size))
    # Listing the volumes is a command in the guest.
    volumes = volumes_of(looked.inside.shell) if places else GuestVolumes(looked.inside.shell, ())
    devices = GuestDevices(disk, volumes)
    for place in places:
        # Closed in the guest: its scripts refuse that when they check (LiveWorker.check).
        with suppress(DeviceNotReadable):
            device = devices.device(place)
            if isinstance(device, GuestBlockDevice):
                content = devices.content(place)
                part = TouchedPart(place.name, place.number, content)
                yield part, GuestPlace(device.device)


def _gaps(
    facts: Facts, proposal: Proposal, disk: GuestBlockDevice
) -> Iterator[tuple[Partition, GuestPlace]]:
    for part, space, _ in newly_covered(facts, proposal, disk.size):
        if space.length >= _LEAST:
            yield part, GuestPlace(disk.device, space.start, space.length)


def _is_somebodys(verdict: BlkidResult) -> bool:
    """Old swap is nobody's loss, nor is the boot record of a logical partition that is gone."""
    return bool(verdict.kind) and verdict.kind not in ("swap", "dos_table")


def ask_guest(
    shell: GuestShell, places: Mapping[str, GuestPlace]
) -> dict[str, BlkidResult] | CannotAsk:
    """What the guest's blkid finds at each of `places` (plain names), or why it cannot be asked.

    GuestLost.
    """
    questions = (_question(name, place) for name, place in places.items())
    answer = shell.run(_KNOWN + "".join(questions), _SECONDS)
    # Other failures are in the answer, place by place.
    if answer.status == _UNKNOWN:
        return CannotAsk("the guest has none of util-linux")
    results = verdicts_in(answer.stdout.decode(errors="replace"))
    return {name: results.get(name, BlkidResult(failed=True)) for name in places}


def _question(name: str, place: GuestPlace) -> str:
    part = f" -O {place.start} -S {place.size}" if place.size else ""
    return _ASK.format(name=name, range=part, device=shlex.quote(place.device))
