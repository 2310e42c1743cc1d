"""Before a plan is made: blkid's opinion of what it touches, data where no partition is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

from growdisk.block.device import BlockDevice, data_in
from growdisk.block.window import Padded, Window
from growdisk.errors import FOR_TABLE_TOOLS, Refused
from growdisk.fast_dataclass import dataclass, replace
from growdisk.filesystems.content import ForeignContent, SwapContent
from growdisk.filesystems.foreign import MBR_KIND
from growdisk.filesystems.identify import identify
from growdisk.host.blkid import Blkid, BlkidResult, CannotAsk
from growdisk.partitions.table import Partition, Role
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal
from growdisk.planner.proposal import Proposal
from growdisk.planner.refusals import belongs_to_others
from growdisk.planner.second_opinion import TouchedPart, refuse_disagreement
from growdisk.steps.device_path import DevicePath
from growdisk.steps.failures import DeviceNotReadable
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.step_traits import of_kind
from growdisk.units import ByteRange, MiB, align_down, format_size

Opened = Callable[[DevicePath], BlockDevice]
"""What stands in containers and volumes, to read. Raises DeviceNotReadable."""


def second_opinion(
    facts: Facts,
    goal: Goal,
    proposal: Proposal,
    device: BlockDevice,
    opened: Opened,
    blkid: Blkid,
    meanwhile: Callable[[], None] = lambda: None,
) -> tuple[Proposal, bool]:
    """Ask blkid (belongs-to-others); `meanwhile` is called while it looks, and spares `device`.

    The proposal with its notes, and whether confined host tools have worked here on this disk.
    """
    # Needs no tool, so it is asked even if blkid cannot be.
    refuse_occupied(facts, proposal, device)
    seen = {f"part{n}": p for n, p in enumerate(_parts(facts, goal, proposal, device, opened))}
    blkid.ask({name: place for name, (_, place) in seen.items()})
    meanwhile()
    verdicts = blkid.answer()
    if isinstance(verdicts, CannotAsk):
        note = (
            f"blkid could not be asked what it sees on this disk ({verdicts.reason}): "
            "growdisk's own readers decide"
        )
        return replace(proposal, notes=(*proposal.notes, note)), False
    for name, (part, _) in seen.items():
        # No answer for a part is not consent.
        refuse_disagreement(facts, part, verdicts.get(name, BlkidResult(failed=True)))
    return proposal, True


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
    return TouchedPart(facts.name_of(0), 0, facts.contents.get(0))


def touched(
    facts: Facts, goal: Goal, proposal: Proposal
) -> Iterator[tuple[TouchedPart, Partition]]:
    """The partitions that the plan grows, moves, gives up, or works in, as they are."""
    worked_on = {step.partition for step in proposal.steps}
    for old, new in _changes(facts, proposal):
        # Gone, moved or grown; or only what is inside grows.
        if new is None or new.range != old.range or old.number in worked_on:
            given_up = new is None and _is_consented(goal, facts, old)
            name, own = facts.name_of(old.number), facts.contents.get(old.number)
            yield TouchedPart(name, old.number, own, given_up), old


def _changes(facts: Facts, proposal: Proposal) -> Iterator[tuple[Partition, Partition | None]]:
    """Each partition as it is and as it will be (None: gone); not the extended one."""
    if (after := proposal.after.table) is not None:
        others = (part for part in facts.partitions if part.role is not Role.EXTENDED)
        yield from ((old, after.by_number(old.number)) for old in others)


def _grown(
    facts: Facts, proposal: Proposal, device: BlockDevice
) -> Iterator[tuple[TouchedPart, BlockDevice]]:
    """Partitions as they will be."""
    for old, new in _changes(facts, proposal):
        if new and old.end <= device.size and new.start == old.start and new.end > old.end:
            # Up to the new end: what is in the space after it now would become its last bytes.
            # Beyond the disk's present end there are zeros.
            present = Window(device, old.start, min(new.end, device.size) - old.start)
            name, own = facts.name_of(old.number), facts.contents.get(old.number)
            part = TouchedPart(name, old.number, own, grown=True)
            yield part, Padded(present, new.size)


def _is_consented(goal: Goal, facts: Facts, part: Partition) -> bool:
    # --delete of an extended partition is consent to all logical ones in it.
    extended = facts.table.extended if facts.table and part.role is Role.LOGICAL else None
    return part.number in goal.delete or (extended is not None and extended.number in goal.delete)


def _inner(
    facts: Facts, proposal: Proposal, device: BlockDevice, opened: Opened
) -> Iterator[tuple[TouchedPart, BlockDevice]]:
    for place in grown_inside(facts, proposal, device.size):
        # What growdisk's own readers cannot open gets no second opinion.
        with suppress(DeviceNotReadable):
            view = opened(place)
            name, content = place.name_on(facts.disk), identify(view)
            yield TouchedPart(name, place.number, content), view


def grown_inside(facts: Facts, proposal: Proposal, disk_size: int) -> Iterator[DevicePath]:
    """Where something grows inside containers and logical volumes."""
    for step in of_kind(GrowFilesystem, proposal.steps):
        if step.layers:
            old = facts.table.by_number(step.number) if facts.table else None
            size = old.size if old else disk_size - step.start
            yield DevicePath(step.number, step.start, size, step.layers)


# --- whether space without a partition is really free --------------------------------------------
#
# Only what is about to be grown into is read, and only where the image holds data.


_PROBES = 1024  # places that are looked at: each MiB of a GiB of data
_CHUNK = 64 << 10
_MOST = 64 * MiB  # of data between partitions that is looked through for a byte that is not zero
# What boards start by, which often lies where no partition is; (magic, its place, what it is).
_LOADERS = (
    (b"\xd0\x0d\xfe\xed", 0, "a boot image or device tree of U-Boot (FIT)"),
    (b"\x27\x05\x19\x56", 0, "a boot image of U-Boot (uImage)"),
    (b"ANDROID!", 0, "a boot image of Android"),
    (b"VNDRBOOT", 0, "a boot image of Android"),
    (b"AVB0", 0, "verified-boot metadata of Android"),
    (b"RKNS", 0, "a boot loader of Rockchip"),
    (b"LOADER  ", 0, "a boot loader of Rockchip"),
    (b"eGON.BT0", 4, "a boot loader of Allwinner"),
    (b"HdrS", 0x202, "a kernel of Linux"),
)
_SLACK = MiB  # what alignment leaves between partitions is never more


@dataclass(frozen=True)
class Occupant:
    """Something at byte `offset` of the disk, in words."""

    offset: int
    what: str


def refuse_occupied(facts: Facts, proposal: Proposal, device: BlockDevice) -> None:
    for part, space, enclosed in newly_covered(facts, proposal, device.size):
        if (finding := occupied(device, space, enclosed=enclosed)) is not None:
            raise grown_over(facts, part, finding.what, finding.offset)


def grown_over(facts: Facts, part: Partition, what: str, offset: int) -> Refused:
    sector = offset // (facts.table.sector_size if facts.table else 512)
    return belongs_to_others(
        facts.image.path,
        0,
        hint=f"if it is of use, give it a partition that starts at sector {sector} (fdisk, "
        f"{FOR_TABLE_TOOLS}); if it is not, the same, and let that one go with --delete",
        reason=f"{facts.name_of(part.number)} would grow over {what}, which stands at byte "
        f"{offset} of the disk, where no partition is",
    )


def newly_covered(
    facts: Facts, proposal: Proposal, old_size: int
) -> Iterator[tuple[Partition, ByteRange, bool]]:
    """What partitions are to get of the disk's present space, and whether it is enclosed."""
    left = {part.number for part in proposal.after.partitions}
    staying = [part for part in facts.partitions if part.number in left]
    for old, new in _changes(facts, proposal):
        # Or wholly in space that the disk does not have yet.
        if new is None or new.range == old.range or new.start >= old_size:
            continue
        # For a logical partition the extended one that it lies in is the free space.
        within = new.role is Role.LOGICAL
        taken = [p.range for p in facts.partitions if not (within and p.role is Role.EXTENDED)]
        for space in _outside(ByteRange(new.start, min(new.end, old_size)), taken):
            # A partition that stays stands after it: not just the free end of the disk.
            yield new, space, any(other.start >= space.end for other in staying)


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


def occupied(device: BlockDevice, space: ByteRange, *, enclosed: bool) -> Occupant | None:
    """The first thing that is found in `space`.

    `enclosed`: partitions stand before and after it, where nobody puts data but on purpose;
    elsewhere only a signature counts, and old swap is nobody's loss.
    """
    # The common case, a sparse image: nothing was ever written there, and nothing is read.
    if not any(data_in(device, space.start, space.end)):
        return None
    for offset in _places(device, space):
        if (finding := _signature(device, offset, space)) is not None:
            return finding
    # Once more as if all of it were one partition: some signatures stand at the end.
    content = identify(Window(device, space.start, space.length))
    if content is not None and not _is_worthless(content):
        return Occupant(space.start, content.kind)
    if enclosed and space.length >= _SLACK:
        return _first_byte(device, space)
    return None


def _signature(device: BlockDevice, offset: int, space: ByteRange) -> Occupant | None:
    # More than 64 KiB: the superblock of btrfs lies there, after a head that may be all zeros.
    head = device.read(offset, min(_CHUNK + 8192, space.end - offset))
    if not any(head):
        return None
    for magic, place, what in _LOADERS:
        if head[place : place + len(magic)] == magic:
            return Occupant(offset, what)
    content = identify(Window(device, offset, min(space.end - offset, 16 * MiB)), thorough=False)
    if content is None or _is_worthless(content):
        return None
    return Occupant(offset, content.kind)


def _is_worthless(content: object) -> bool:
    """Old swap; the boot record of a logical partition that is gone."""
    if isinstance(content, SwapContent):
        return not content.hibernated
    return isinstance(content, ForeignContent) and content.kind == MBR_KIND


def _places(device: BlockDevice, space: ByteRange) -> Iterator[int]:
    """The start, where an unaligned partition would have stood, and each MiB that data begin in."""
    yield space.start
    if space.start + MiB < space.end and space.start % MiB:
        yield space.start + MiB
    # Partitions start at whole MiB: what is in between cannot be the start of one.
    left = _PROBES
    for start, end in data_in(device, space.start, space.end):
        # From the MiB that the data begin in, which may lie before `space`.
        for offset in range(align_down(start, MiB), end, MiB):
            if left and space.start < offset < space.end - 4096:
                left -= 1
                yield offset


def _first_byte(device: BlockDevice, space: ByteRange) -> Occupant | None:
    # Allocated is not written: converted images have clusters of zeros. So bytes are looked at.
    left = _MOST
    for start, end in data_in(device, space.start, space.end):
        for offset in range(start, min(end, start + left), _CHUNK):
            if _has_data(device.read(offset, min(_CHUNK, end - offset))):
                what = f"data ({format_size(end - start)} of it) that no partition speaks of"
                return Occupant(offset, what)
        left -= min(left, end - start)
    return None


def _has_data(raw: bytes) -> bool:
    """Whether there is more in it than boot records of logical partitions, which go with these."""
    sectors = (raw[at : at + 512] for at in range(0, len(raw), 512)) if any(raw) else ()
    return any(any(sector) and not _is_boot_record(sector) for sector in sectors)


def _is_boot_record(sector: bytes) -> bool:
    """No boot code, two entries at most, and the mark."""
    return not any(sector[:446] + sector[478:510]) and sector[510:] == b"\x55\xaa"
