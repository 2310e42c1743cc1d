"""What lies after a partition, as blocks that keep together, and what may become of each.

A block is one primary partition, or the extended one with all that is in it; inside the extended
partition it is one logical partition. A block goes, moves or stays as a whole: Linux numbers
logical partitions by their order in the chain, so that taking one out would give those after it
other names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from growdisk.fast_dataclass import dataclass, field
from growdisk.partitions.table import Partition, PartitionTable, Role
from growdisk.units import format_size


@dataclass(frozen=True)
class BlockerPolicy:
    """`kinds`: partition number → what is in it ("swap", "ext4", ...).

    `delete` and `move`: numbers that may be removed, or moved to the end of the disk with what is
    in them. An extended partition's number speaks for all that it holds. `swap_moves`: else it is
    removed, unless it moves along with others. `needed`: those that the guest cannot do without;
    `fixed`: those that cannot lie elsewhere. Neither is advised then.
    """

    kinds: Mapping[int, str] = field(default_factory=dict)
    delete: frozenset[int] = frozenset()
    move: frozenset[int] = frozenset()
    swap_moves: bool = False
    needed: frozenset[int] = frozenset()
    fixed: frozenset[int] = frozenset()

    def keeping_all(self) -> BlockerPolicy:
        """The same if nothing gives way at all."""
        kinds = {
            number: "swap that stays" if kind == "swap" else kind
            for number, kind in self.kinds.items()
        }
        return BlockerPolicy(kinds)


class BlockerAction(Enum):
    GOES = 1
    MOVES = 2
    STAYS = 3


@dataclass(frozen=True)
class Block:
    """Partitions that keep together, the outermost first."""

    parts: tuple[Partition, ...]
    action: BlockerAction

    @property
    def start(self) -> int:
        return self.parts[0].start

    @property
    def end(self) -> int:
        return self.parts[0].end


def blocks_after(table: PartitionTable, target: Partition, policy: BlockerPolicy) -> list[Block]:
    """The blocks on the disk after `target`, a primary or the extended partition, in order."""
    after = sorted(
        (p for p in table.partitions if p.start >= target.end and p.role is not Role.LOGICAL),
        key=lambda p: p.start,
    )
    groups = [
        # An extended partition takes all its logical ones along, wherever it goes.
        (p, *sorted(table.logicals, key=lambda p: p.start)) if p.role is Role.EXTENDED else (p,)
        for p in after
    ]
    return [Block(parts, _action(parts, policy)) for parts in groups]


def blocks_inside(table: PartitionTable, target: Partition, policy: BlockerPolicy) -> list[Block]:
    """The logical partitions after `target`, itself a logical one.

    One whose going would give others new numbers stays; swap moves then.
    """
    found = []
    for part in sorted((p for p in table.logicals if p.start >= target.end), key=lambda p: p.start):
        action = _action((part,), policy)
        # Linux counts the chain: if 6 goes and 7 stays, 7 becomes 6, and the guest's fstab may name
        # it.
        if action is BlockerAction.GOES and any(
            p.number > part.number and _action((p,), policy) is not BlockerAction.GOES
            for p in table.logicals
        ):
            action = BlockerAction.STAYS if part.number in policy.delete else BlockerAction.MOVES
        found.append(Block((part,), action))
    return found


def blockers(table: PartitionTable, number: int) -> tuple[Partition, ...]:
    """All partitions after this one, in the disk's order; an extended one before its logicals."""
    target = table.by_number(number)
    assert target is not None, (table, number)
    inner: list[Partition] = []
    if target.role is Role.LOGICAL:
        # A logical partition has two levels of them: the logical ones after it, then what lies
        # after the extended partition.
        inner = [p for block in blocks_inside(table, target, BlockerPolicy()) for p in block.parts]
        target = table.extended or target
    return (
        *inner,
        *(p for block in blocks_after(table, target, BlockerPolicy()) for p in block.parts),
    )


def _action(parts: Sequence[Partition], policy: BlockerPolicy) -> BlockerAction:
    # The extended partition itself has no content, so what is in it decides.
    numbers = {p.number for p in parts if p.role is not Role.EXTENDED}
    swap = {n for n in numbers if policy.kinds.get(n) == "swap"}
    outer = parts[0].number
    delete = numbers if outer in policy.delete else numbers & policy.delete
    move = numbers if outer in policy.move else numbers & policy.move
    if not numbers <= swap | delete | move:
        return BlockerAction.STAYS
    # Who leaves instead of moving: what may be deleted, and swap unless it shall move.
    leave = delete if policy.swap_moves and numbers else delete | swap
    # An extended partition with nothing in it (no `numbers`) goes like swap, or moves if swap
    # moves.
    if numbers <= leave - move and (numbers or not policy.swap_moves):
        return BlockerAction.GOES
    # Swap among partitions that move goes with them. What is to be deleted cannot go alone.
    return BlockerAction.STAYS if delete - move else BlockerAction.MOVES


def partitions_in_words(parts: Sequence[Partition], policy: BlockerPolicy) -> str:
    """ "partition 3 (ext4, 2.0 GiB) and partition 4 (unknown content, 1.0 GiB)" """
    words = [
        (
            f"partition {p.number} ({policy.kinds.get(p.number, 'unknown content')}, "
            f"{format_size(p.size)})"
        )
        for p in parts
    ]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
