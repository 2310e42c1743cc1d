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

from growdisk.errors import FOR_TABLE_TOOLS
from growdisk.fast_dataclass import dataclass, replace
from growdisk.partitions.blocks import (
    Block,
    BlockerAction,
    BlockerPolicy,
    blocks_after,
    blocks_inside,
    partitions_in_words,
)
from growdisk.partitions.table import (
    BIOS_BOOT,
    MBR_MAX_SECTORS,
    Claim,
    Partition,
    PartitionTable,
    Role,
)
from growdisk.units import ByteRange, MiB, align_down, align_up, format_size


@dataclass(frozen=True)
class Grown:
    """The planned table; `removed` as they were, `moved` as they will be, extended and logical too.

    `others` are further partitions that grow in the same plan.
    """

    table: PartitionTable
    target: Partition
    removed: tuple[Partition, ...] = ()
    moved: tuple[Partition, ...] = ()
    others: tuple[Partition, ...] = ()

    def gain(self, old: Partition) -> int:
        """Bytes by which the target, which was `old`, becomes larger."""
        return self.target.end - old.end


class _Ungrown:
    """An outcome without a new table."""

    def gain(self, _old: Partition) -> int:
        return 0


@dataclass(frozen=True)
class NothingToDo(_Ungrown):
    reason: str


@dataclass(frozen=True)
class NotPossible(_Ungrown):
    """Why not; `blockers` would have to go, if that is it; `beyond_mbr`: no MBR has that."""

    reason: str
    hint: str
    blockers: tuple[Partition, ...] = ()
    beyond_mbr: bool = False


Growth = Grown | NothingToDo | NotPossible


WORTH_A_BLOCKER = 2 * MiB


def plan_growth(
    table: PartitionTable, number: int, new_disk_size: int, policy: BlockerPolicy
) -> Growth:
    """Let partition `number` take all free space after it on a disk of `new_disk_size` bytes.

    It is a primary or logical one of the table, and the disk does not become smaller.
    """
    target = fit_to_grow(table, number)
    if isinstance(target, NotPossible):
        return target
    table = table.with_disk_size(new_disk_size)
    grow = _grow_logical if target.role is Role.LOGICAL else _grow
    growth = grow(table, target, policy)
    return (
        _refuse_small_part(table, growth, target, policy)
        or _refuse_claimed(table, growth, target)
        or refuse_unfit_table(table, growth)
        or growth
    )


def fit_to_grow(table: PartitionTable, number: int) -> Partition | NotPossible:
    """The partition, if it is one that may grow."""
    target = table.by_number(number)
    assert target is not None and target.role is not Role.EXTENDED, (table, number)
    if table.damage:
        return NotPossible(
            table.damage,
            "repair the table first: gdisk takes the sound copy, and its w writes both "
            f"({FOR_TABLE_TOOLS})",
        )
    return _refuse_mirrored(table, target) or target


def capped(growth: Growth, old: Partition, gain: int) -> Growth:
    """The same with at most `gain` bytes for the partition; the rest stays free after it."""
    if isinstance(growth, Grown) and growth.gain(old) > gain:
        # Ends are at whole MiB, as everywhere; rounding up must not pass what was planned.
        enough = old.grown_to(align_up(old.end + gain, MiB))
        target = min(growth.target, enough, key=lambda part: part.end)
        return replace(growth, table=growth.table.replaced(target), target=target)
    return growth


# --- one level: the disk, or the inside of the extended partition -------------------------------


def _grow(table: PartitionTable, target: Partition, policy: BlockerPolicy) -> Grown | NothingToDo:
    return _grow_up_to(table, target, blocks_after(table, target, policy), table.usable_end)


def _grow_logical(
    table: PartitionTable, target: Partition, policy: BlockerPolicy
) -> Grown | NothingToDo:
    """The extended partition first, as far as that is of use to the logical one in it."""
    extended = table.extended
    assert extended is not None, target
    outer = _grow(table, extended, policy)
    inner = blocks_inside(table, target, policy)
    # Each logical partition has its boot record in a sector before it.
    sector = table.sector_size
    # A logical partition that stays bars the way: more room in the extended one would be of no use
    # then.
    if isinstance(outer, NothingToDo) or any(
        block.action is BlockerAction.STAYS for block in inner
    ):
        return _grow_up_to(table, target, inner, extended.end, before_block=sector)
    growth = _grow_up_to(outer.table, target, inner, outer.target.end, before_block=sector)
    if isinstance(growth, NothingToDo):
        return growth
    return replace(
        growth, removed=(*growth.removed, *outer.removed), moved=(*growth.moved, *outer.moved)
    )


def _grow_up_to(
    table: PartitionTable, target: Partition, blocks: list[Block], end: int, before_block: int = 0
) -> Grown | NothingToDo:
    """Up to `end`, the first claim, or the first block that stays; each needs `before_block`."""
    claimed = (max(claim.start, target.end) for claim in _claims_behind(table, target))
    movable, limit = _reach(blocks, min([end, *claimed]), before_block)
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
    grown = target.grown_to(limit)
    # Ends are at whole MiB, so less is no gain; it may even be negative if the partition was not
    # aligned.
    if grown.end - target.end < MiB:
        reason = f"partition {target.number} already takes all the space after it"
        if blocks and blocks[0].action is not BlockerAction.STAYS:
            reason = (
                f"what stands after partition {target.number} gives way only if at least "
                f"{format_size(WORTH_A_BLOCKER)} are free behind it"
            )
        return NothingToDo(reason)
    planned = table.without(p.number for p in removed).replaced(grown, *moved)
    return Grown(planned, grown, tuple(removed), tuple(moved))


def _reach(blocks: list[Block], limit: int, before_block: int) -> tuple[list[Block], int]:
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


# --- refusals -----------------------------------------------------------------------------------


def _refuse_small_part(
    table: PartitionTable, growth: Grown | NothingToDo, target: Partition, policy: BlockerPolicy
) -> NotPossible | None:
    """Refuse when more space lies after a partition that has to stay than can be had without it."""
    blocks = blocks_after(table, target, policy)
    if target.role is Role.LOGICAL and table.extended is not None:
        outer = blocks_after(table, table.extended, policy)
        blocks = [*blocks_inside(table, target, policy), *outer]
    staying = [b for b in blocks if b.action is BlockerAction.STAYS]
    if not staying:
        return None
    free = table.free_ranges()
    beyond = sum(r.length for r in free if r.start >= staying[0].end)
    # Less space than is gained without it is no reason to ask for anything.
    if beyond < WORTH_A_BLOCKER or beyond <= growth.gain(target):
        return None
    # Only those in front of free space are in the way; later ones hinder nobody.
    last = max((r.start for r in free), default=0)
    parts = tuple(p for b in staying for p in b.parts if b.start < last)
    reason = _stands_between(parts, target, beyond, policy)
    for part in parts:  # whatever the consent, these stay where they are
        if mirrored := _refuse_mirrored(table, part):
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
            f"partition {half_deleted[0].number} cannot go alone: those after it would get other "
            f"numbers; move it with them ({_options('--move', others)}), and leave "
            f"out {_options('--delete', half_deleted)}"
        )
    if boot := [p for p in others if p.type_code == BIOS_BOOT]:
        return (
            f"partition {boot[0].number} is the BIOS boot partition, which cannot be moved: the "
            "boot sector knows its place; if the guest starts without it (by UEFI), it can be "
            f"removed: {_options('--delete', others)}"
        )
    numbers = {p.number for p in others}
    move = (
        "let it be moved to the end of the disk, with all that is in it: "
        f"{_options('--move', others)}"
    )
    delete = f"removed: {_options('--delete', others)}"
    match bool(policy.fixed & numbers), bool(policy.needed & numbers):
        case False, True:
            return move
        case False, False:
            return f"{move}; or, if you can do without it, {delete}"
        case True, False:
            return f"if you can do without it, let it be {delete}"
    return "it has to stay: grow the disk from inside the system that has it"


def _options(name: str, parts: Sequence[Partition]) -> str:
    return " ".join(f"{name} {p.number}" for p in parts)


def refuse_unfit_table(before: PartitionTable, growth: Grown | NothingToDo) -> NotPossible | None:
    """What holds for every new table."""
    if isinstance(growth, NothingToDo):
        return None
    return (
        _refuse_beyond_mbr(growth.table)
        or _refuse_broken_claims(before, growth.table)
        or _refuse_no_backup(growth.table)
    )


def _refuse_no_backup(table: PartitionTable) -> NotPossible | None:
    """A disk that was cut off may end where its last partition does."""
    late = [p for p in table.partitions if p.end > table.last_end]
    if not late:
        return None
    return NotPossible(
        f"partition {late[0].number} reaches to the end of the disk, where the backup of its GPT "
        "has to be",
        "grow the disk by 1 MiB or more",
    )


def _refuse_beyond_mbr(table: PartitionTable) -> NotPossible | None:
    limit = MBR_MAX_SECTORS * table.sector_size
    if table.kind != "mbr" or all(p.end <= limit for p in table.partitions):
        return None
    return NotPossible(
        "an MBR table counts sectors in 32 bits: no partition can reach beyond "
        f"{format_size(limit)}",
        f"grow the image to at most {format_size(limit)}",
        beyond_mbr=True,
    )


# --- claims: space that is not free though no partition has it -----------------------------------

_PROTECT = (
    "make its MBR a protective one again, if nothing starts by it (gdisk, then x, n, w: "
    f"{FOR_TABLE_TOOLS})"
)


def _claims_behind(table: PartitionTable, target: Partition) -> list[Claim]:
    return sorted((c for c in table.claims if c.end > target.end), key=lambda claim: claim.start)


def _refuse_mirrored(table: PartitionTable, part: Partition) -> NotPossible | None:
    """Refuse a partition that an MBR beside the GPT names too: afterwards the two would differ."""
    claim = next((c for c in table.claims if c.mirrors and c.range.overlaps(part.range)), None)
    if claim is None:
        return None
    return NotPossible(
        f"partition {part.number} is named by {claim.what} as well: this is a hybrid of GPT and "
        "MBR, and a firmware that goes by the MBR would still see the old partition",
        f"let one grow that only the GPT names (--partition N), or {_PROTECT}",
    )


def _refuse_claimed(
    table: PartitionTable, growth: Grown | NothingToDo, target: Partition
) -> NotPossible | None:
    """Refuse when more space than was gained lies after a claim."""
    if not (after := _claims_behind(table, target)):
        return None
    claim = after[0]
    # Growing up to the claim is all right if nothing worth having lies after it.
    beyond = sum(free.length for free in table.free_ranges() if free.start >= claim.end)
    # A claim to the disk's end and beyond it leaves nothing: saying only "nothing to do" would not
    # tell the user why.
    if claim.end > table.disk_size and claim.start < target.end + WORTH_A_BLOCKER:
        return _claimed(claim, "which is all that lies after it")
    if beyond < WORTH_A_BLOCKER or beyond <= growth.gain(target):
        return None
    # The claim may be the MBR's name for a partition of a hybrid: then that is the better reason.
    for part in table.partitions:
        if part.range.overlaps(claim.range) and (refusal := _refuse_mirrored(table, part)):
            return refusal
    return _claimed(claim, f"which lie before {format_size(beyond)} of free space")


def _claimed(claim: Claim, where: str) -> NotPossible:
    return NotPossible(
        f"{claim.what} speaks of bytes {claim.start} to {claim.end}, {where}",
        "growdisk leaves alone what it does not know: see what made that entry, and what it is for",
    )


def _refuse_broken_claims(before: PartitionTable, after: PartitionTable) -> NotPossible | None:
    """The last look at a new table: no claim is grown into, and what is mirrored stays."""
    for old in before.partitions:
        new = after.by_number(old.number)
        if (new is None or new.range != old.range) and (refusal := _refuse_mirrored(before, old)):
            return refusal
    for new in after.partitions:
        known = before.by_number(new.number)
        for claim in before.claims:
            # A partition may overlap a claim already. It only may not overlap more of it than
            # before.
            if _overlap(new.range, claim.range) > (
                _overlap(known.range, claim.range) if known else 0
            ):
                return NotPossible(
                    f"partition {new.number} would lie on what {claim.what} speaks of",
                    "let it grow by less, or leave it where it is",
                )
    return None


def _overlap(one: ByteRange, two: ByteRange) -> int:
    return max(0, min(one.end, two.end) - max(one.start, two.start))
