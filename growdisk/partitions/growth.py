"""Decides what a disk's table must become so that one partition takes the free space behind it. Pure: touches nothing.

    before   [ sda1 root ][ sda2 [ sda5 swap ] ][ free ............ ]
    drop     [ sda1 root .......................................... ]
    move     [ sda1 root ...................... ][ sda2 [ sda5 swap ] ]

A blocker is removed or moved only for free space that lies behind it. Debian's installer leaves exactly 1 MiB free at
the end of the disk; that is no reason to take an untouched guest's swap away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from growdisk.partitions.table import MBR_MAX_SECTORS, Partition, PartitionTable, Role
from growdisk.units import MiB, align_down, format_size

WORTH_A_BLOCKER = 2 * MiB


class SwapPolicy(Enum):
    """What becomes of swap in the way. FILE removes the partition as DROP does; the guest gets a swap file instead."""

    DROP = "drop"
    MOVE = "move"
    FILE = "file"


@dataclass(frozen=True)
class BlockerPolicy:
    """`kinds`: partition number → what is in it ("swap", "ext4", ...); `delete`: numbers that may be removed."""

    swap: SwapPolicy = SwapPolicy.DROP
    kinds: Mapping[int, str] = field(default_factory=dict)
    delete: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Grown:
    """The planned table; `removed` as they were, `moved` as they will be (extended and logical ones included)."""

    table: PartitionTable
    target: Partition
    removed: tuple[Partition, ...] = ()
    moved: tuple[Partition, ...] = ()


@dataclass(frozen=True)
class NothingToDo:
    reason: str


@dataclass(frozen=True)
class NotPossible:
    """`blockers` are the partitions that would have to go, when that is the reason."""

    reason: str
    hint: str
    blockers: tuple[Partition, ...] = ()


Growth = Grown | NothingToDo | NotPossible


class _Fate(Enum):
    GOES = 1
    MOVES = 2
    STAYS = 3


@dataclass(frozen=True)
class _Block:
    """Partitions that keep together: one primary, or the extended partition with all that is in it."""

    parts: tuple[Partition, ...]
    fate: _Fate

    @property
    def start(self) -> int:
        return self.parts[0].start

    @property
    def end(self) -> int:
        return self.parts[0].end


def blockers(table: PartitionTable, number: int) -> tuple[Partition, ...]:
    """All partitions behind this one, as they lie on the disk; an extended one comes before its logicals."""
    target = table.by_number(number)
    if target is None:
        return ()
    behind = (p for p in table.partitions if p.start >= target.end and p.role is not Role.LOGICAL)
    if target.role is Role.LOGICAL:
        behind = (p for p in table.partitions if p.start >= target.end)
    parts = [q for p in behind for q in ((p, *table.logicals) if p.role is Role.EXTENDED else (p,))]
    return tuple(sorted(parts, key=lambda p: (p.start, p.role is Role.LOGICAL)))


def plan_growth(table: PartitionTable, number: int, new_disk_size: int, policy: BlockerPolicy) -> Growth:
    """Let partition `number` take all free space behind it on a disk of `new_disk_size` bytes."""
    target = table.by_number(number)
    if target is None:
        return NotPossible(f"there is no partition {number}", "growdisk show lists the partitions")
    if (unfit := _unfit(table, target, new_disk_size)) is not None:
        return unfit
    table = table.with_disk_size(new_disk_size)
    blocks = _blocks(table, target, policy)
    movable, limit = _reach(blocks, table.usable_end)
    growth = _grow(table, target, movable, limit)
    return _refuse_small_part(table, growth, target, blocks, policy) or _refuse_beyond_mbr(growth) or growth


def _unfit(table: PartitionTable, target: Partition, new_disk_size: int) -> NotPossible | None:
    if table.damage:
        return NotPossible(table.damage, "repair the table first: gdisk IMAGE, then r (recovery) and b, or w")
    if new_disk_size < table.disk_size:
        return NotPossible("the disk would become smaller", "growdisk grows disks; it never shrinks one")
    if target.role is Role.EXTENDED:
        return NotPossible(
            f"partition {target.number} is the extended partition, which only holds others", "name the one inside it"
        )  # fmt: skip
    if target.role is Role.LOGICAL:
        return NotPossible(
            f"partition {target.number} is a logical one: the extended partition around it would have to grow first",
            "growdisk grows primary partitions",
        )  # fmt: skip
    return None


def _blocks(table: PartitionTable, target: Partition, policy: BlockerPolicy) -> list[_Block]:
    outer = [p for p in blockers(table, target.number) if p.role is not Role.LOGICAL]
    groups = [(p, *table.logicals) if p.role is Role.EXTENDED else (p,) for p in outer]
    return [_Block(parts, _fate(parts, policy)) for parts in groups]


def _fate(parts: Sequence[Partition], policy: BlockerPolicy) -> _Fate:
    numbers = {p.number for p in parts if p.role is not Role.EXTENDED}
    swap = {n for n in numbers if policy.kinds.get(n) == "swap"}
    if not numbers <= swap | policy.delete:
        return _Fate.STAYS
    if policy.swap is not SwapPolicy.MOVE or (numbers and numbers <= policy.delete):
        return _Fate.GOES
    return _Fate.STAYS if numbers & policy.delete else _Fate.MOVES


def _reach(blocks: list[_Block], usable_end: int) -> tuple[list[_Block], int]:
    """The blocks that must give way, and where the growth ends: at the first that stays, or at the end of the disk."""
    reached = []
    for block in blocks:
        if block.fate is _Fate.STAYS:
            usable_end = min(usable_end, block.start)
            break
        reached.append(block)
    while reached and usable_end - reached[-1].end < WORTH_A_BLOCKER:
        usable_end = reached.pop().start
    return reached, usable_end


def _grow(table: PartitionTable, target: Partition, movable: list[_Block], limit: int) -> Grown | NothingToDo:
    removed: list[Partition] = []
    moved: list[Partition] = []
    for block in reversed(movable):
        if block.fate is _Fate.GOES:
            removed = [*block.parts, *removed]
        else:
            # By whole MiB: what was aligned stays so, and EBRs keep their distance to their partitions.
            distance = align_down(limit - block.end, MiB)
            moved = [*(p.moved_by(distance) for p in block.parts), *moved]
            limit = block.start + distance
    grown = replace(target, end=align_down(limit, MiB))
    if grown.end - target.end < MiB:
        return NothingToDo(f"partition {target.number} already takes all the space behind it")
    planned = table.without(p.number for p in removed).replaced(grown, *moved)
    return Grown(planned, grown, tuple(removed), tuple(moved))


def _refuse_small_part(
    table: PartitionTable, growth: Grown | NothingToDo, target: Partition, blocks: list[_Block], policy: BlockerPolicy
) -> NotPossible | None:
    """Refuse when more space lies behind a partition that has to stay than can be had without it."""
    staying = [b for b in blocks if b.fate is _Fate.STAYS]
    if not staying:
        return None
    beyond = sum(r.length for r in table.free_ranges() if r.start >= staying[0].end)
    gain = growth.target.end - target.end if isinstance(growth, Grown) else 0
    if beyond < WORTH_A_BLOCKER or beyond <= gain:
        return None
    parts = [p for b in staying for p in b.parts if b.start < _last_free_start(table)]
    named = [p for p in parts if p.role is not Role.EXTENDED]
    verb = "stands" if len(named) == 1 else "stand"
    return NotPossible(
        f"{_in_words(named, policy)} {verb} between partition {target.number} and {format_size(beyond)} of free space",
        f"if you can do without, consent to losing what is in there: --delete {' --delete '.join(_numbers(named))}",
        tuple(parts),
    )


def _last_free_start(table: PartitionTable) -> int:
    return max((r.start for r in table.free_ranges()), default=0)


def _in_words(parts: Sequence[Partition], policy: BlockerPolicy) -> str:
    """ "partition 3 (ext4, 2.0 GiB) and partition 4 (unknown content, 1.0 GiB)" """
    words = [
        f"partition {p.number} ({policy.kinds.get(p.number, 'unknown content')}, {format_size(p.size)})" for p in parts
    ]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _numbers(parts: Sequence[Partition]) -> list[str]:
    return [str(p.number) for p in parts]


def _refuse_beyond_mbr(growth: Grown | NothingToDo) -> NotPossible | None:
    if isinstance(growth, NothingToDo) or growth.table.kind != "mbr":
        return None
    limit = MBR_MAX_SECTORS * growth.table.sector_size
    if all(p.end <= limit for p in growth.table.partitions):
        return None
    return NotPossible(
        f"an MBR table counts sectors in 32 bits: no partition can reach beyond {format_size(limit)}",
        f"grow the image to at most {format_size(limit)}, or convert its table to GPT first",
    )
