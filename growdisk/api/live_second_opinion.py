"""The second opinion on a running guest's disk: its own blkid, before a plan is made for it.

What offline is read byte by byte (space that no partition has) is asked for here at its beginning
alone: everything comes through the guest's agent, or ssh.
"""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.api.live_inspect import InspectedGuest
from growdisk.api.second_opinion import grown_over, newly_covered, touched, whole_disk_part
from growdisk.fast_dataclass import replace
from growdisk.host.blkid import BlkidResult, CannotAsk
from growdisk.live.guest_blkid import GuestPlace, ask_guest
from growdisk.live.guest_block_device import GuestBlockDevice, guest_disk_at
from growdisk.live.guest_volumes import GuestVolumes, volumes_of
from growdisk.partitions.table import Partition
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal
from growdisk.planner.proposal import Proposal
from growdisk.planner.second_opinion import TouchedPart, Treatment, refuse_disagreement
from growdisk.steps.device_path import DevicePath
from growdisk.steps.failures import DeviceNotReadable
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.live_place import content_at, guest_device_at
from growdisk.steps.step_traits import of_kind

_LEAST = 4096  # bytes of free space that are worth a question


def confirmed_by_guest(looked: InspectedGuest, goal: Goal, proposal: Proposal) -> Proposal:
    """The proposal with notes. belongs-to-others if the guest's blkid, which is asked, objects."""
    facts, shell = looked.facts, looked.inside.shell
    disk = guest_disk_at(shell, looked.device)
    parts = {f"part{n}": part for n, part in enumerate(_parts(looked, goal, proposal, disk))}
    gaps = {f"gap{n}": gap for n, gap in enumerate(_gaps(facts, proposal, disk))}
    probed = {
        **{name: place for name, (_, place) in parts.items()},
        **{name: place for name, (_, place) in gaps.items()},
    }
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
    inner = [step for step in of_kind(GrowFilesystem, proposal.steps) if step.layers]
    volumes = volumes_of(looked.inside.shell) if inner else GuestVolumes(looked.inside.shell, ())
    for step in inner:
        # None for number 0, the disk itself: that reaches to its end.
        seen = next((one for one in disk.partitions if one.number == step.number), None)
        place = DevicePath(
            step.number, step.start, seen.size if seen else disk.size - step.start, step.layers
        )
        try:
            device, content = (
                guest_device_at(disk, volumes, place),
                content_at(disk, volumes, place),
            )
        except DeviceNotReadable:
            # Closed in the guest: its scripts refuse that when they check (LiveWorker.check).
            continue
        if isinstance(device, GuestBlockDevice):
            yield (
                TouchedPart(place.name, step.number, Treatment.KEPT_WHOLE, content),
                GuestPlace(device.device),
            )


def _gaps(
    facts: Facts, proposal: Proposal, disk: GuestBlockDevice
) -> Iterator[tuple[Partition, GuestPlace]]:
    if facts.table is not None and proposal.after.table is not None:
        for part, space in newly_covered(facts.table, proposal.after.table, disk.size):
            if space.length >= _LEAST:
                yield part, GuestPlace(disk.device, space.start, space.length)


def _is_somebodys(verdict: BlkidResult) -> bool:
    """Old swap is nobody's loss, nor is the boot record of a logical partition that is gone."""
    return bool(verdict.kind) and verdict.kind not in ("swap", "dos_table")
