"""Before a plan is made: blkid is asked about all that it would touch, and free space is looked at once more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from growdisk.backends.unclaimed_space import occupied
from growdisk.block.device import BlockDevice
from growdisk.block.padded import Padded
from growdisk.block.window import Window
from growdisk.fast_dataclass import dataclass, replace
from growdisk.filesystems.identify import identify
from growdisk.host.blkid import CannotAsk, Verdict, ask
from growdisk.partitions.table import Partition, PartitionTable, Role
from growdisk.planner.facts import Facts
from growdisk.planner.failures import BelongsToOthers
from growdisk.planner.goal import Goal
from growdisk.planner.planner import Proposal
from growdisk.planner.second_opinion import Part, Treatment, judge
from growdisk.steps.device_path import DevicePath, look_through
from growdisk.steps.failures import DeviceNotReadable
from growdisk.steps.grow_filesystem_at import GrowFilesystemAt
from growdisk.steps.grow_luks import GrowLuks
from growdisk.steps.grow_pv import GrowPhysicalVolume
from growdisk.units import ByteRange
from growdisk.volumes.keyring import Keyring
from growdisk.volumes.other_pvs import PhysicalVolumeFinder


@dataclass(frozen=True)
class Opinion:
    """`proposal` with what there is to say about it; `asked`: host tools have worked here, confined, on this disk."""

    proposal: Proposal
    asked: bool


def heard(
    facts: Facts,
    goal: Goal,
    proposal: Proposal,
    device: BlockDevice,
    keyring: Keyring,
    neighbours: PhysicalVolumeFinder,
) -> Opinion:
    """Raises BelongsToOthers where blkid, or what stands in free space, speaks against the plan."""
    _refuse_occupied(facts, proposal, device)
    seen = {f"part{n}": part for n, part in enumerate(_parts(facts, goal, proposal, device, keyring, neighbours))}
    verdicts = ask({name: place for name, (_, place) in seen.items()})
    if isinstance(verdicts, CannotAsk):
        note = f"blkid could not be asked what it sees on this disk ({verdicts.reason}): growdisk's own readers decide"
        return Opinion(replace(proposal, notes=(*proposal.notes, note)), asked=False)
    for name, (part, _) in seen.items():
        judge(facts, part, verdicts.get(name, Verdict(failed=True)))
    return Opinion(proposal, asked=True)


# --- what is touched ----------------------------------------------------------------------------


def _parts(
    facts: Facts,
    goal: Goal,
    proposal: Proposal,
    device: BlockDevice,
    keyring: Keyring,
    neighbours: PhysicalVolumeFinder,
) -> Iterator[tuple[Part, BlockDevice]]:
    before, after = facts.table, proposal.after.table
    whole = Part("sda", 0, Treatment.KEPT_WHOLE if before is None else Treatment.AROUND, facts.contents.get(0))
    yield whole, device
    if before is not None and after is not None:
        yield from _partitions(facts, goal, proposal, device, before, after)
    yield from _inner(facts, proposal, device, keyring, neighbours)


def _partitions(
    facts: Facts, goal: Goal, proposal: Proposal, device: BlockDevice, before: PartitionTable, after: PartitionTable
) -> Iterator[tuple[Part, BlockDevice]]:
    worked_on = {getattr(step, "number", 0) for step in proposal.steps}
    worked_on |= {step.place.number for step in proposal.steps if isinstance(step, GrowLuks | GrowPhysicalVolume)}
    for old in before.partitions:
        new, own = after.by_number(old.number), facts.contents.get(old.number)
        if old.role is Role.EXTENDED or old.end > device.size:
            continue
        if new is None or new.range != old.range or old.number in worked_on:
            treatment = Treatment.GIVEN_UP if new is None and _is_consented(goal, before, old) else Treatment.KEPT_WHOLE
            yield Part(f"sda{old.number}", old.number, treatment, own), Window(device, old.start, old.size)
        if new is not None and new.start == old.start and new.end > old.end:
            later = Padded(Window(device, old.start, min(new.end, device.size) - old.start), new.size)
            yield Part(f"sda{old.number}", old.number, Treatment.KEPT_WHOLE, own, grown=True), later


def _is_consented(goal: Goal, table: PartitionTable, part: Partition) -> bool:
    outer = table.extended.number if table.extended and part.role is Role.LOGICAL else part.number
    return bool({part.number, outer} & set(goal.delete))


def _inner(
    facts: Facts, proposal: Proposal, device: BlockDevice, keyring: Keyring, neighbours: PhysicalVolumeFinder
) -> Iterator[tuple[Part, BlockDevice]]:
    """What grows inside containers and logical volumes."""
    for step in proposal.steps:
        if isinstance(step, GrowFilesystemAt) and step.layers:
            old = facts.table.by_number(step.number) if facts.table else None
            size = old.size if old else device.size - step.start
            place = DevicePath(step.number, step.start, size, step.layers)
            with suppress(DeviceNotReadable):
                view = look_through(device, place, keyring, neighbours)
                yield Part(place.name, step.number, Treatment.KEPT_WHOLE, identify(view)), view


# --- space that no partition has ----------------------------------------------------------------


def _refuse_occupied(facts: Facts, proposal: Proposal, device: BlockDevice) -> None:
    before, after = facts.table, proposal.after.table
    if before is None or after is None:
        return
    for part, space in _newly_covered(before, after, device.size):
        enclosed = any(other.start >= space.end for other in before.partitions if after.by_number(other.number))
        if (finding := occupied(device, space, enclosed=enclosed)) is not None:
            raise BelongsToOthers(
                facts.image.path, 0, hint=_hint(finding.offset, before.sector_size),
                reason=f"sda{part.number} would grow over {finding.what}, which stands at byte {finding.offset} of the "
                "disk, where no partition is",
            )  # fmt: skip


def _hint(offset: int, sector_size: int) -> str:
    return (
        f"if it is of use, give it a partition that starts at sector {offset // sector_size} (sfdisk --append); if it "
        "is not, the same, and let that one go with --delete"
    )


def _newly_covered(
    before: PartitionTable, after: PartitionTable, old_size: int
) -> Iterator[tuple[Partition, ByteRange]]:
    for new in after.partitions:
        old = before.by_number(new.number)
        if new.role is Role.EXTENDED or old is None or new.range == old.range or new.start >= old_size:
            continue
        within = new.role is Role.LOGICAL
        taken = [p.range for p in before.partitions if not (within and p.role is Role.EXTENDED)]
        yield from ((new, space) for space in _outside(ByteRange(new.start, min(new.end, old_size)), taken))


def _outside(area: ByteRange, taken: list[ByteRange]) -> Iterator[ByteRange]:
    """What of `area` belongs to none of `taken`."""
    cursor = area.start
    for place in sorted(taken, key=lambda one: one.start):
        if place.start > cursor and place.end > area.start and cursor < area.end:
            yield ByteRange(cursor, min(place.start, area.end))
        cursor = max(cursor, place.end)
    if cursor < area.end:
        yield ByteRange(cursor, area.end)
