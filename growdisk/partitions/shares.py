"""Several partitions grow at once: each gets its share of free space, and those after it move.

    before   [ sda1 ][ sda2 ][ sda3 ][ free ............ ]
    after    [ sda1 ........][ sda2 ][ sda3 ............ ]

    with     --grow sda1=60% --grow sda3=rest --move 2

A partition that is to grow has consented to move; others do so by BlockerPolicy. None ever moves
to the left. A share is of all the space that would belong to nobody, from the first of them to the
end of the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from growdisk.fast_dataclass import dataclass, replace
from growdisk.partitions.blocks import Block, BlockerAction, BlockerPolicy, blocks_after
from growdisk.partitions.growth import (
    Grown,
    Growth,
    NothingToDo,
    NotPossible,
    capped,
    fit_to_grow,
    plan_growth,
    refuse_unfit_table,
)
from growdisk.partitions.table import Partition, PartitionTable, Role
from growdisk.units import MiB, SizeSpec, align_down, align_up, format_size


@dataclass(frozen=True)
class Percent:
    """A part of the space that is to be had."""

    value: float


@dataclass(frozen=True)
class Rest:
    """All that the others leave."""


Share = Percent | SizeSpec | Rest


@dataclass(frozen=True)
class _MovingBlock:
    """A block on its way: it keeps `size` and grows by `growth`; `start` is where it was."""

    block: Block
    growth: int = 0
    target: bool = False

    @property
    def number(self) -> int:
        return self.block.parts[0].number

    @property
    def size(self) -> int:
        return self.block.end - self.block.start

    def moved_to(self, start: int) -> list[Partition]:
        # Logical partitions move along with their extended one; only the outermost grows.
        distance = start - self.block.start
        head, *inner = (p.moved_by(distance) for p in self.block.parts)
        # No growth, no rounding: a partition that only moves keeps its size to the byte.
        return [head.grown_to(head.end + self.growth) if self.growth else head, *inner]


def plan_shares(
    table: PartitionTable, shares: Mapping[int, Share], new_disk_size: int, policy: BlockerPolicy
) -> Growth:
    """Grow each partition that `shares` names; the outcome's target is the first on the disk."""
    targets: list[Partition] = []
    for number in shares:
        target = fit_to_grow(table, number)
        if isinstance(target, NotPossible):
            return target
        targets.append(target)
    targets.sort(key=lambda p: p.start)
    if len(targets) == 1:
        return _alone(table, targets[0], shares[targets[0].number], new_disk_size, policy)
    if logical := [p for p in targets if p.role is Role.LOGICAL]:
        return NotPossible(
            f"partition {logical[0].number} is a logical one, and would have to share with others",
            "let logical partitions grow one at a time",
        )
    return _together(table.with_disk_size(new_disk_size), targets, shares, policy)


def _alone(
    table: PartitionTable,
    target: Partition,
    share: Share,
    new_disk_size: int,
    policy: BlockerPolicy,
) -> Growth:
    growth = plan_growth(table, target.number, new_disk_size, policy)
    if isinstance(share, SizeSpec):
        wanted = share.resolve(target.size) - target.size
        # First without touching anything in the way: a size that free space meets costs no swap.
        modest = plan_growth(table, target.number, new_disk_size, policy.keeping_all())
        for found in (modest, growth):
            if found.gain(target) >= align_down(wanted, MiB):
                return capped(found, target, wanted)
        if isinstance(growth, NotPossible):
            return growth
        return NotPossible(
            f"it is to grow by {format_size(wanted)}, but only {format_size(growth.gain(target))} "
            "is available",
            "grow the disk further, or ask for less",
        )
    if isinstance(share, Percent) and isinstance(growth, Grown):
        part = align_down(int(growth.gain(target) * share.value / 100), MiB)
        return capped(growth, target, part)
    return growth


# --- several ------------------------------------------------------------------------------------


def _together(
    table: PartitionTable,
    targets: list[Partition],
    shares: Mapping[int, Share],
    policy: BlockerPolicy,
) -> Growth:
    first, last = targets[0], targets[-1]
    # Phase 1: how far the last one could reach; nothing of the others may go beyond that.
    end = plan_growth(table, last.number, table.disk_size, policy)
    if isinstance(end, NotPossible):
        return end
    limit = last.end + end.gain(last)
    # Phase 2: what lies between the first and the last. What goes gives its space to all of them.
    names = {p.number for p in targets}
    middle = [b for b in blocks_after(table, first, policy) if b.end <= last.end]
    gone = [b for b in middle if b.action is BlockerAction.GOES and b.parts[0].number not in names]
    blocks = [Block((first,), BlockerAction.STAYS), *(b for b in middle if b not in gone)]
    pieces = [_MovingBlock(b, target=b.parts[0].number in names) for b in blocks]
    # Phase 3: with all pieces pushed to the left, what is left at the end can be shared out.
    had = limit - _places(pieces, packed=True)[-1][1]
    given = _amounts(targets, shares, had)
    if isinstance(given, NotPossible):
        return given
    pieces = [replace(p, growth=given.get(p.number, 0)) for p in pieces]
    # Phase 4: pieces never move to the left, so a gap before one that keeps its place may be lost.
    # The one that takes the rest pays for it.
    excess = align_up(max(0, _places(pieces)[-1][1] - limit), MiB)
    pieces = [
        replace(p, growth=max(0, p.growth - excess))
        if isinstance(shares.get(p.number), Rest)
        else p
        for p in pieces
    ]
    return _placed(table, pieces, limit, gone, end)


def _amounts(
    targets: Sequence[Partition], shares: Mapping[int, Share], had: int
) -> dict[int, int] | NotPossible:
    """Partition number → bytes, whole MiB."""
    given: dict[int, int] = {}
    for part in targets:
        match shares[part.number]:
            case Percent(value):
                given[part.number] = align_down(int(had * value / 100), MiB)
            case SizeSpec() as size:
                # A size is a promise, so it is rounded up; shares and the rest are rounded down.
                given[part.number] = align_up(max(0, size.resolve(part.size) - part.size), MiB)
    left = had - sum(given.values())
    if left < 0:
        return NotPossible(
            f"together they ask for {format_size(sum(given.values()))}, but only "
            f"{format_size(max(0, had))} is available",
            "grow the disk further, or ask for less",
        )
    given |= {
        p.number: align_down(left, MiB) for p in targets if isinstance(shares[p.number], Rest)
    }
    return given


def _places(pieces: Sequence[_MovingBlock], *, packed: bool = False) -> list[tuple[int, int]]:
    """(start, end) of each, from the left: at its old place if possible, unless `packed`."""
    places: list[tuple[int, int]] = []
    for piece in pieces:
        start = piece.block.start
        if places:
            # At the same place within a MiB as before: moved bytes keep their alignment.
            after = places[-1][1] + (start - places[-1][1]) % MiB
            start = after if packed else max(start, after)
        places.append((start, piece.moved_to(start)[0].end))
    return places


def _placed(
    table: PartitionTable,
    pieces: list[_MovingBlock],
    limit: int,
    gone: list[Block],
    end: Grown | NothingToDo,
) -> Growth:
    before, moved, targets, places = table, list[Partition](), list[Partition](), _places(pieces)
    for piece, (start, _) in zip(pieces, places, strict=True):
        parts = piece.moved_to(start)
        if start != piece.block.start:
            # A partition that grows has consented to move, whatever the policy says of it.
            if piece.block.action is BlockerAction.STAYS and not piece.target:
                return _must_move(piece.block)
            moved += parts
        targets += parts[:1] if piece.target else []
    if places[-1][1] > limit:
        return _no_room(pieces, places[-1][1] - limit)
    removed = tuple(p for block in gone for p in block.parts)
    if isinstance(end, Grown):
        # What had to give way after the last one, as phase 1 planned it.
        removed, moved, table = (*removed, *end.removed), [*moved, *end.moved], end.table
    placed = {p.number: p for p in [*moved, *targets]}.values()
    planned = table.without(p.number for p in removed).replaced(*placed)
    if all(part == before.by_number(part.number) for part in targets):
        return NothingToDo("there is no free space for any of them")
    growth = Grown(planned, targets[0], removed, tuple(moved), tuple(targets[1:]))
    return refuse_unfit_table(before, growth) or growth


def _must_move(block: Block) -> NotPossible:
    number = block.parts[0].number
    return NotPossible(
        f"partition {number} stands between those that grow, and would have to move",
        f"consent to that (it is copied with all that is in it): --move {number}",
        block.parts,
    )


def _no_room(pieces: Sequence[_MovingBlock], missing: int) -> NotPossible:
    numbers = " and ".join(str(p.number) for p in pieces if p.target)
    return NotPossible(
        f"partitions {numbers} would need {format_size(missing)} more, because none of them moves "
        "to the left",
        "ask for less, or let one of them take the rest",
    )
