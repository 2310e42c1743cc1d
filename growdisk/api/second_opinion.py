"""Before a plan is made: blkid's opinion of all that it touches, and a check of free space."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from growdisk.backends.unclaimed_space import occupied
from growdisk.block.device import BlockDevice
from growdisk.block.window import Padded, Window
from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass, replace
from growdisk.filesystems.identify import identify
from growdisk.host.blkid import BlkidResult, CannotAsk, probe_devices
from growdisk.partitions.table import Partition, PartitionTable, Role
from growdisk.planner.facts import Facts
from growdisk.planner.failures import belongs_to_others
from growdisk.planner.goal import Goal
from growdisk.planner.proposal import Proposal
from growdisk.planner.second_opinion import TouchedPart, Treatment, refuse_disagreement
from growdisk.steps.device_path import DevicePath
from growdisk.steps.failures import DeviceNotReadable
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.step_traits import of_kind
from growdisk.units import ByteRange

Opened = Callable[[DevicePath], BlockDevice]
"""What stands in containers and volumes, to read. Raises DeviceNotReadable."""


@dataclass(frozen=True)
class Opinion:
    """`proposal` with its notes; `asked`: confined host tools have worked here on this disk."""

    proposal: Proposal
    asked: bool


def second_opinion(
    facts: Facts,
    goal: Goal,
    proposal: Proposal,
    device: BlockDevice,
    opened: Opened,
    meanwhile: Callable[[], None] | None = None,
) -> Opinion:
    """Ask blkid. belongs-to-others if it, or data in free space, contradicts the proposal.

    `meanwhile` is called while it looks; it must leave `device` alone.
    """
    # Needs no tool, so it is asked even if blkid cannot be.
    _refuse_occupied(facts, proposal, device)
    seen = {
        f"part{n}": part for n, part in enumerate(_parts(facts, goal, proposal, device, opened))
    }
    verdicts = probe_devices({name: place for name, (_, place) in seen.items()}, meanwhile)
    if isinstance(verdicts, CannotAsk):
        note = (
            f"blkid could not be asked what it sees on this disk ({verdicts.reason}): "
            "growdisk's own readers decide"
        )
        return Opinion(replace(proposal, notes=(*proposal.notes, note)), asked=False)
    for name, (part, _) in seen.items():
        # No answer for a part is not consent.
        refuse_disagreement(facts, part, verdicts.get(name, BlkidResult(failed=True)))
    return Opinion(proposal, asked=True)


# --- what is touched ----------------------------------------------------------------------------


def _parts(
    facts: Facts, goal: Goal, proposal: Proposal, device: BlockDevice, opened: Opened
) -> Iterator[tuple[TouchedPart, BlockDevice]]:
    # Each as it is now: the disk, the partitions; then as they will be; then what is inside.
    yield whole_disk_part(facts), device
    for part, old in touched(facts, goal, proposal):
        # One that ends beyond the disk cannot be shown to blkid.
        if old.end <= device.size:
            yield part, Window(device, old.start, old.size)
    yield from _grown(facts, proposal, device)
    yield from _inner(facts, proposal, device, opened)


def whole_disk_part(facts: Facts) -> TouchedPart:
    treatment = Treatment.KEPT_WHOLE if facts.table is None else Treatment.AROUND
    return TouchedPart(facts.name_of(0), 0, treatment, facts.contents.get(0))


def touched(
    facts: Facts, goal: Goal, proposal: Proposal
) -> Iterator[tuple[TouchedPart, Partition]]:
    """The partitions that the plan grows, moves, gives up, or works in, as they are."""
    before, after = facts.table, proposal.after.table
    if before is None or after is None:
        return
    worked_on = {step.partition for step in proposal.steps}
    for old in before.partitions:
        new, own = after.by_number(old.number), facts.contents.get(old.number)
        if old.role is Role.EXTENDED:
            continue
        # Gone, moved or grown; or only what is inside grows.
        if new is None or new.range != old.range or old.number in worked_on:
            treatment = (
                Treatment.GIVEN_UP
                if new is None and _is_consented(goal, before, old)
                else Treatment.KEPT_WHOLE
            )
            yield TouchedPart(facts.name_of(old.number), old.number, treatment, own), old


def _grown(
    facts: Facts, proposal: Proposal, device: BlockDevice
) -> Iterator[tuple[TouchedPart, BlockDevice]]:
    """Partitions as they will be."""
    before, after = facts.table, proposal.after.table
    for old in before.partitions if before and after else ():
        new = after.by_number(old.number) if after else None
        if old.role is Role.EXTENDED or old.end > device.size or new is None:
            continue
        if new.start == old.start and new.end > old.end:
            # Up to the new end: what is in the space after it now would become its last bytes.
            # Beyond the disk's present end there are zeros.
            later = Padded(
                Window(device, old.start, min(new.end, device.size) - old.start), new.size
            )
            own = facts.contents.get(old.number)
            yield (
                TouchedPart(
                    facts.name_of(old.number), old.number, Treatment.KEPT_WHOLE, own, grown=True
                ),
                later,
            )


def _is_consented(goal: Goal, table: PartitionTable, part: Partition) -> bool:
    # --delete of an extended partition is consent to all logical ones in it.
    outer = table.extended.number if table.extended and part.role is Role.LOGICAL else part.number
    return bool({part.number, outer} & set(goal.delete))


def _inner(
    facts: Facts, proposal: Proposal, device: BlockDevice, opened: Opened
) -> Iterator[tuple[TouchedPart, BlockDevice]]:
    """What grows inside containers and logical volumes."""
    for step in of_kind(GrowFilesystem, proposal.steps):
        if step.layers:
            old = facts.table.by_number(step.number) if facts.table else None
            size = old.size if old else device.size - step.start
            place = DevicePath(step.number, step.start, size, step.layers)
            # What growdisk's own readers cannot open gets no second opinion.
            with suppress(DeviceNotReadable):
                view = opened(place)
                yield (
                    TouchedPart(
                        place.name_on(facts.disk), step.number, Treatment.KEPT_WHOLE, identify(view)
                    ),
                    view,
                )


# --- space that no partition has ----------------------------------------------------------------


def _refuse_occupied(facts: Facts, proposal: Proposal, device: BlockDevice) -> None:
    before, after = facts.table, proposal.after.table
    if before is None or after is None:
        return
    for part, space in newly_covered(before, after, device.size):
        # A partition that stays stands after it: not just the free end of the disk.
        enclosed = any(
            other.start >= space.end for other in before.partitions if after.by_number(other.number)
        )
        if (finding := occupied(device, space, enclosed=enclosed)) is not None:
            raise grown_over(facts, part, finding.what, finding.offset)


def grown_over(facts: Facts, part: Partition, what: str, offset: int) -> Refused:
    sector_size = facts.table.sector_size if facts.table else 512
    return belongs_to_others(
        facts.image.path,
        0,
        hint=_hint(offset, sector_size),
        reason=f"{facts.name_of(part.number)} would grow over {what}, which stands at byte "
        f"{offset} of the disk, where no partition is",
    )


def _hint(offset: int, sector_size: int) -> str:
    return (
        f"if it is of use, give it a partition that starts at sector {offset // sector_size} "
        "(sfdisk --append); if it is not, the same, and let that one go with --delete"
    )


def newly_covered(
    before: PartitionTable, after: PartitionTable, old_size: int
) -> Iterator[tuple[Partition, ByteRange]]:
    for new in after.partitions:
        old = before.by_number(new.number)
        if (
            new.role is Role.EXTENDED
            or old is None
            or new.range == old.range
            # Wholly in space that the disk does not have yet.
            or new.start >= old_size
        ):
            continue
        # For a logical partition the extended one around it is the free space.
        within = new.role is Role.LOGICAL
        taken = [p.range for p in before.partitions if not (within and p.role is Role.EXTENDED)]
        yield from (
            (new, space) for space in _outside(ByteRange(new.start, min(new.end, old_size)), taken)
        )


def _outside(area: ByteRange, taken: list[ByteRange]) -> Iterator[ByteRange]:
    """What of `area` belongs to none of `taken`."""
    cursor = area.start
    # `cursor`: up to there everything is either yielded or taken. Ranges of `taken` may overlap.
    for place in sorted(taken, key=lambda one: one.start):
        if place.start > cursor and place.end > area.start and cursor < area.end:
            yield ByteRange(cursor, min(place.start, area.end))
        cursor = max(cursor, place.end)
    if cursor < area.end:
        yield ByteRange(cursor, area.end)
