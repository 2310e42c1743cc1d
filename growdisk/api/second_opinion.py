"""Before a plan is made: blkid's opinion of all that it touches, besides growdisk's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from growdisk.api.unclaimed_space import refuse_occupied
from growdisk.block.device import BlockDevice
from growdisk.block.window import Padded, Window
from growdisk.fast_dataclass import dataclass, replace
from growdisk.filesystems.identify import identify
from growdisk.host.blkid import BlkidResult, CannotAsk, probe_devices
from growdisk.partitions.table import Partition, PartitionTable, Role
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal
from growdisk.planner.proposal import Proposal
from growdisk.planner.second_opinion import TouchedPart, Treatment, refuse_disagreement
from growdisk.steps.device_path import DevicePath
from growdisk.steps.failures import DeviceNotReadable
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.step_traits import of_kind

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
    """Ask blkid, and `meanwhile` do something that leaves `device` alone. belongs-to-others."""
    # Needs no tool, so it is asked even if blkid cannot be.
    refuse_occupied(facts, proposal, device)
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
    treatment = Treatment.KEPT_WHOLE if facts.table is None else Treatment.WHOLE_DISK
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
    for place in grown_inside(facts, proposal, device.size):
        # What growdisk's own readers cannot open gets no second opinion.
        with suppress(DeviceNotReadable):
            view = opened(place)
            name, content = place.name_on(facts.disk), identify(view)
            yield TouchedPart(name, place.number, Treatment.KEPT_WHOLE, content), view


def grown_inside(facts: Facts, proposal: Proposal, disk_size: int) -> Iterator[DevicePath]:
    """Where something grows inside containers and logical volumes."""
    for step in of_kind(GrowFilesystem, proposal.steps):
        if step.layers:
            old = facts.table.by_number(step.number) if facts.table else None
            size = old.size if old else disk_size - step.start
            yield DevicePath(step.number, step.start, size, step.layers)
