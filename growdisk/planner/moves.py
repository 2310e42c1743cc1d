"""The copies that a new table asks for: partitions with content that lie elsewhere in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from growdisk.filesystems.volume_start import COUNTED, MOST_HIDDEN_SECTORS, NAMED
from growdisk.partitions.growth import Grown
from growdisk.partitions.table import BIOS_BOOT, EFI_SYSTEM, Partition, PartitionTable, Role
from growdisk.planner.facts import Facts
from growdisk.planner.foreign import is_known_by_place
from growdisk.planner.refusals import cannot_move
from growdisk.steps.moving import Move
from growdisk.units import format_size


def moves_of(facts: Facts, growth: Grown) -> tuple[Move, ...]:
    """The last on the disk first, so that each goes where nothing is that has yet to go.

    Swap is made again instead.
    """
    assert facts.table is not None
    _refuse_moved_boot_loader(facts, growth.moved)
    found = []
    for new in growth.moved:
        old = facts.table.by_number(new.number)
        # The extended partition's boot records are written with the table.
        if old is not None and new.role is not Role.EXTENDED and new.number not in facts.swaps:
            _refuse_uncounted(facts, new)
            found.append(Move(new.number, old.start, new.start, old.size))
    return tuple(sorted(found, key=lambda move: move.start, reverse=True))


def _refuse_moved_boot_loader(facts: Facts, moved: Iterable[Partition]) -> None:
    for part in moved:
        if part.type_code == BIOS_BOOT:
            raise cannot_move(
                facts.image.path,
                part.number,
                reason="it is the BIOS boot partition, and the boot sector knows where on the "
                "disk it lies",
                hint="leave it where it is: the guest would not start any more",
            )
        if facts.is_known_by_sectors(part.number):
            reason = "GRUB, LILO or zipl in a boot sector finds files there by the disk's sectors"
            hint = "leave it where it is: the guest would not start any more"
            raise cannot_move(facts.image.path, part.number, reason, hint)
        if is_known_by_place(facts, part):
            reason = "Windows starts from it, and knows it by its place on an MBR disk"
            hint = (
                "leave it where it is, as Windows would not start any more; it can grow itself: "
                f"--partition {part.number}"
            )
            raise cannot_move(facts.image.path, part.number, reason, hint)


def notes_on_removed(facts: Facts, growth: Grown) -> Iterator[str]:
    """What starts the guest by BIOS may be in what is given up."""
    for part in growth.removed:
        if facts.is_known_by_sectors(part.number):
            yield (
                f"WARNING: GRUB, LILO or zipl in a boot sector finds its files in "
                f"{facts.name_of(part.number)}: the guest would not start by BIOS any more"
            )


def _refuse_uncounted(facts: Facts, new: Partition) -> None:
    assert facts.table is not None
    if (
        facts.kind_of(new.number) in COUNTED
        and new.start // facts.table.sector_size > MOST_HIDDEN_SECTORS
    ):
        raise cannot_move(
            facts.image.path,
            new.number,
            hint="let it stay where it is, or give it up with --delete",
            reason=f"{facts.kind_of(new.number)} counts the sectors before it in 32 bits, and "
            "there would be more",
        )


def is_repeatable(table: PartitionTable, moves: tuple[Move, ...]) -> bool:
    """Whether all moves can be begun again at any time without a snapshot.

    They can if nothing that is still needed is overwritten.
    """
    needed = [move.source for move in moves]
    if table.extended is not None:
        needed.append(table.extended.range)  # the chain of boot records is somewhere in there
    # Onto itself, or onto another's source: the source is gone when it is begun again.
    return not any(move.destination.overlaps(place) for move in moves for place in needed)


def notes_on(facts: Facts, moves: tuple[Move, ...]) -> Iterator[str]:
    for move in moves:
        name, kind = facts.name_of(move.number), facts.kind_of(move.number)
        yield (
            f"{name} ({kind}, {format_size(move.size)}) is moved to "
            f"{format_size(move.new_start)} and keeps its number, type, name and identifiers"
        )
        if kind in NAMED:
            yield (
                f"{name}: its boot sector, which says where on the disk it starts, will say the "
                "new place"
            )
        part = facts.table.by_number(move.number) if facts.table else None
        if kind == "ntfs":
            yield (
                f"{name}: Windows may look for its recovery tools at the old place until "
                "`reagentc /enable` is run"
            )
            if facts.table and facts.table.kind == "mbr":
                yield (
                    f"{name}: Windows knows volumes of an MBR disk by their place: its drive "
                    "letter may change"
                )
        elif part is not None and part.type_code == EFI_SYSTEM:
            yield (
                f"{name}: a firmware whose boot entry names the old place needs that entry "
                "again, or the fallback path"
            )
        if part is not None and part.bootable:
            yield (
                f"{name} has the boot flag: a boot loader in its first sectors may look for the "
                "old place"
            )
