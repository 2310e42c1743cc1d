"""Decides what a disk's table must become so that one partition takes the free space after it.

Pure: touches nothing.

    before   [ sda1 root ][ sda2 [ sda5 swap ] ][ free ............ ]
    drop     [ sda1 root .......................................... ]
    move     [ sda1 root ...................... ][ sda2 [ sda5 swap ] ]

    before   [ sda1 boot ][ sda2 [ sda5 root ] ][ free ............ ]
    after    [ sda1 boot ][ sda2 [ sda5 root ..................... ] ]

A blocker is removed or moved only for free space that lies after it. Debian's installer leaves
exactly 1 MiB free at the end of the disk; that is no reason to take an untouched guest's swap away.
"""

from __future__ import annotations

from collections.abc import Sequence

from growdisk.fast_dataclass import replace
from growdisk.partitions.blocks import (
    Block,
    BlockerAction,
    BlockerPolicy,
    blocks_behind,
    blocks_inside,
    partitions_in_words,
)
from growdisk.partitions.claims import (
    before_claims,
    refuse_broken_claims,
    refuse_claimed,
    refuse_mirrored,
)
from growdisk.partitions.growth_values import Grown, Growth, NothingToDo, NotPossible
from growdisk.partitions.table import BIOS_BOOT, MBR_MAX_SECTORS, Partition, PartitionTable, Role
from growdisk.units import MiB, align_down, align_up, format_size

WORTH_A_BLOCKER = 2 * MiB


def blockers(table: PartitionTable, number: int) -> tuple[Partition, ...]:
    """All partitions after this one, in the disk's order; an extended one before its logicals."""
    target = table.by_number(number)
    if target is None:
        return ()
    inner: list[Partition] = []
    if target.role is Role.LOGICAL:
        # A logical partition has two levels of them: the logical ones after it, then what lies
        # after the extended partition.
        inner = [p for block in blocks_inside(table, target, BlockerPolicy()) for p in block.parts]
        target = table.extended or target
    return (
        *inner,
        *(p for block in blocks_behind(table, target, BlockerPolicy()) for p in block.parts),
    )


def plan_growth(
    table: PartitionTable, number: int, new_disk_size: int, policy: BlockerPolicy
) -> Growth:
    """Let partition `number` take all free space after it on a disk of `new_disk_size` bytes."""
    target = table.by_number(number)
    if (unfit := unfit_to_grow(table, number, new_disk_size)) is not None or target is None:
        return unfit or NotPossible("", "")
    table = table.with_disk_size(new_disk_size)
    growth = (
        _grow_logical(table, target, policy)
        if target.role is Role.LOGICAL
        else _grow(table, target, policy)
    )
    return (
        _refuse_small_part(table, growth, target, policy)
        or refuse_claimed(table, growth, target, worth=WORTH_A_BLOCKER)
        or refuse_unfit_table(table, growth)
        or growth
    )


def unfit_to_grow(table: PartitionTable, number: int, new_disk_size: int) -> NotPossible | None:
    target = table.by_number(number)
    if target is None:
        return NotPossible(f"there is no partition {number}", "growdisk show lists the partitions")
    if table.damage:
        return NotPossible(
            table.damage, "repair the table first: gdisk IMAGE, then r (recovery) and b, or w"
        )
    if new_disk_size < table.disk_size:
        return NotPossible(
            "the disk would become smaller", "growdisk grows disks; it never shrinks one"
        )
    if target.role is Role.EXTENDED:
        return NotPossible(
            f"partition {target.number} is the extended partition, which only holds others",
            "name the one inside it",
        )
    return refuse_mirrored(table, target)


def capped(growth: Growth, old: Partition, gain: int) -> Growth:
    """The same with at most `gain` bytes for the partition; the rest stays free after it."""
    if isinstance(growth, Grown) and growth.target.end - old.end > gain:
        # Ends are at whole MiB, as everywhere; rounding up must not pass what was planned.
        target = replace(growth.target, end=min(growth.target.end, align_up(old.end + gain, MiB)))
        return replace(growth, table=growth.table.replaced(target), target=target)
    return growth


# --- one level: the disk, or the inside of the extended partition -------------------------------


def _grow(table: PartitionTable, target: Partition, policy: BlockerPolicy) -> Grown | NothingToDo:
    movable, limit = _reach(
        blocks_behind(table, target, policy), before_claims(table, target, table.usable_end)
    )
    return _settle(table, target, movable, limit, before_block=0)


def _grow_logical(
    table: PartitionTable, target: Partition, policy: BlockerPolicy
) -> Grown | NothingToDo:
    """The extended partition first, as far as that is of use to the logical one in it."""
    extended = table.extended
    assert extended is not None, target
    outer = _grow(table, extended, policy)
    inner = blocks_inside(table, target, policy)
    # A logical partition that stays bars the way: more room in the extended one would be of no use
    # then.
    if isinstance(outer, NothingToDo) or any(
        block.action is BlockerAction.STAYS for block in inner
    ):
        return _grow_within(table, target, inner, extended.end)
    growth = _grow_within(outer.table, target, inner, outer.target.end)
    if isinstance(growth, NothingToDo):
        return growth
    return replace(
        growth, removed=(*growth.removed, *outer.removed), moved=(*growth.moved, *outer.moved)
    )


def _grow_within(
    table: PartitionTable, target: Partition, blocks: list[Block], end: int
) -> Grown | NothingToDo:
    # Each logical partition has its boot record in a sector before it.
    movable, limit = _reach(
        blocks, before_claims(table, target, end), before_block=table.sector_size
    )
    return _settle(table, target, movable, limit, before_block=table.sector_size)


def _reach(blocks: list[Block], limit: int, before_block: int = 0) -> tuple[list[Block], int]:
    """(the blocks that must give way, the end of the growth: the first that stays, or `limit`)."""
    reached = []
    # First pass: up to the first block that stays.
    for block in blocks:
        if block.action is BlockerAction.STAYS:
            limit = min(limit, block.start - before_block)
            break
        reached.append(block)
    # Second pass, backwards: a block with hardly any free space after it is not worth being
    # touched, so it becomes the end of the growth instead.
    while reached and limit - reached[-1].end < WORTH_A_BLOCKER:
        limit = min(limit, reached.pop().start - before_block)
    return reached, limit


def _settle(
    table: PartitionTable, target: Partition, movable: list[Block], limit: int, *, before_block: int
) -> Grown | NothingToDo:
    removed: list[Partition] = []
    moved: list[Partition] = []
    # From the end of the disk: each moved block is the limit for the one before it.
    for block in reversed(movable):
        if block.action is BlockerAction.GOES:
            removed = [*block.parts, *removed]
        else:
            # By whole MiB: what was aligned stays so, and EBRs keep their distance to their
            # partitions.
            distance = align_down(limit - block.end, MiB)
            moved = [*(p.moved_by(distance) for p in block.parts), *moved]
            limit = block.start + distance - before_block
    grown = replace(target, end=align_down(limit, MiB))
    # Ends are at whole MiB, so less is no gain; it may even be negative if the partition was not
    # aligned.
    if grown.end - target.end < MiB:
        return NothingToDo(f"partition {target.number} already takes all the space behind it")
    planned = table.without(p.number for p in removed).replaced(grown, *moved)
    return Grown(planned, grown, tuple(removed), tuple(moved))


# --- refusals -----------------------------------------------------------------------------------


def _refuse_small_part(
    table: PartitionTable, growth: Grown | NothingToDo, target: Partition, policy: BlockerPolicy
) -> NotPossible | None:
    """Refuse when more space lies after a partition that has to stay than can be had without it."""
    blocks: list[Block] = []
    if target.role is Role.LOGICAL and table.extended is not None:
        blocks = [
            *blocks_inside(table, target, policy),
            *blocks_behind(table, table.extended, policy),
        ]
    else:
        blocks = blocks_behind(table, target, policy)
    staying = [b for b in blocks if b.action is BlockerAction.STAYS]
    if not staying:
        return None
    free = table.free_ranges()
    beyond = sum(r.length for r in free if r.start >= staying[0].end)
    gain = growth.target.end - target.end if isinstance(growth, Grown) else 0
    # Less space than is gained without it is no reason to ask for anything.
    if beyond < WORTH_A_BLOCKER or beyond <= gain:
        return None
    # Only those in front of free space are in the way; later ones hinder nobody.
    last = max((r.start for r in free), default=0)
    parts = tuple(p for b in staying for p in b.parts if b.start < last)
    reason = _stands_between(parts, target, beyond, policy)
    for part in parts:  # whatever the consent, these stay where they are
        if mirrored := refuse_mirrored(table, part):
            return NotPossible(f"{reason}; {mirrored.reason}", mirrored.hint, parts)
    return NotPossible(reason, _consent(parts, policy), parts)


def _stands_between(
    parts: Sequence[Partition], target: Partition, beyond: int, policy: BlockerPolicy
) -> str:
    named = [p for p in parts if p.role is not Role.EXTENDED]
    verb = "stands" if len(named) == 1 else "stand"
    between = f"between partition {target.number} and {format_size(beyond)} of free space"
    return f"{partitions_in_words(named, policy)} {verb} {between}"


def _consent(parts: Sequence[Partition], policy: BlockerPolicy) -> str:
    """The commands that would solve it."""
    named = [p for p in parts if p.role is not Role.EXTENDED]
    others = [p for p in named if policy.kinds.get(p.number) != "swap"] or named
    half_deleted = [p for p in named if p.number in policy.delete]
    if half_deleted and len(named) > len(half_deleted):
        return (
            f"partition {half_deleted[0].number} cannot go alone: those behind it would get other "
            f"numbers; move it with them ({_options('--move', others)})"
        )
    if boot := [p for p in others if p.type_code == BIOS_BOOT]:
        return (
            f"partition {boot[0].number} is the BIOS boot partition, which cannot be moved: the "
            "boot sector knows its place; if the guest starts without it (by UEFI), it can be "
            f"removed: {_options('--delete', others)}"
        )
    return (
        "let it be moved to the end of the disk, with all that is in it: "
        f"{_options('--move', others)}; or, if you can do without it, removed: "
        f"{_options('--delete', others)}"
    )


def _options(name: str, parts: Sequence[Partition]) -> str:
    return " ".join(f"{name} {p.number}" for p in parts)


def refuse_unfit_table(before: PartitionTable, growth: Grown | NothingToDo) -> NotPossible | None:
    """What holds for every new table."""
    return (
        refuse_beyond_mbr(growth)
        or refuse_broken_claims(before, growth)
        or _refuse_no_backup(growth)
    )


def _refuse_no_backup(growth: Grown | NothingToDo) -> NotPossible | None:
    """A disk that was cut off may end where its last partition does."""
    if isinstance(growth, NothingToDo):
        return None
    late = [p for p in growth.table.partitions if p.end > growth.table.last_end]
    if not late:
        return None
    return NotPossible(
        f"partition {late[0].number} reaches to the end of the disk, where the backup of its GPT "
        "has to be",
        "grow the disk by 1 MiB or more",
    )


def refuse_beyond_mbr(growth: Grown | NothingToDo) -> NotPossible | None:
    if isinstance(growth, NothingToDo) or growth.table.kind != "mbr":
        return None
    limit = MBR_MAX_SECTORS * growth.table.sector_size
    if all(p.end <= limit for p in growth.table.partitions):
        return None
    return NotPossible(
        "an MBR table counts sectors in 32 bits: no partition can reach beyond "
        f"{format_size(limit)}",
        f"grow the image to at most {format_size(limit)}",
        beyond_mbr=True,
    )
