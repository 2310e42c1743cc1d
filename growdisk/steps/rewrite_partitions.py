"""rewrite-partitions: writes the planned partition table, by pyparted on a copy, sector by changed sector.

Partitions that the new table has elsewhere are copied there first, and compared; the table is switched last.
"""

from __future__ import annotations

from typing import ClassVar

from growdisk.fast_dataclass import dataclass
from growdisk.partitions.gpt_writer import gpt_sectors
from growdisk.partitions.rewriting import rewrite
from growdisk.partitions.sectors import SectorChange, apply_changes, read_table
from growdisk.partitions.table import Partition, PartitionTable
from growdisk.steps.context import RunContext
from growdisk.steps.failures import TableChanged, VerifyFailed
from growdisk.steps.moving import Move, copy, digest
from growdisk.units import format_change, format_size
from growdisk.workflow.step import AlreadyDone, Blocked, Check, Evidence, Ready, Scope


@dataclass(frozen=True)
class RewritePartitions:
    """`before` is the table that the plan was made for, `after` the one that will be there; both on the grown disk.

    `moves` are in the order in which they must be done: the last on the disk first.
    """

    before: PartitionTable
    after: PartitionTable
    moves: tuple[Move, ...] = ()

    name: ClassVar[str] = "rewrite-partitions"
    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.TABLE, Scope.CONTENT})

    def describe(self) -> str:
        return "; ".join([*(move.describe() for move in self.moves), *self._changes()]) or "the table stays"

    def check(self, context: RunContext) -> Check:
        table = self._read(context)
        if table == self.after:
            return AlreadyDone("the table is as planned")
        if table != self.before:
            return Blocked(TableChanged(found=listed(table)))
        return Ready()

    def apply(self, context: RunContext) -> Evidence:
        # Made before anything is copied: a copy may go over the old chain of logical partitions.
        changes = self._new_sectors(context)
        facts: dict[str, int | str] = {"sectors": len(changes)}
        for move in self.moves:
            facts[f"sda{move.number}"] = copy(context.disk, move, context.hands.check_stop, self.before.sector_size)
        for move in self.moves:
            self._compare(context, move, facts)
        apply_changes(context.disk, changes)
        return Evidence(self.describe(), facts)

    def verify(self, context: RunContext, evidence: Evidence) -> None:
        """Our own reader, from the image, against what pyparted was asked for; what was copied is read once more."""
        table = self._read(context)
        if table != self.after:
            raise VerifyFailed(self.name, found=listed(table), expected=listed(self.after))
        for move in self.moves:
            self._compare(context, move, evidence.facts)

    def _new_sectors(self, context: RunContext) -> tuple[SectorChange, ...]:
        if self.before.kind != self.after.kind:
            return gpt_sectors(self.after, context.disk.read(0, self.after.sector_size))
        return rewrite(context.disk, context.path, self.after)

    def _read(self, context: RunContext) -> PartitionTable | None:
        return read_table(context.disk, context.path, self.before.sector_size)

    def _compare(self, context: RunContext, move: Move, facts: dict[str, int | str]) -> None:
        expected = facts[f"sda{move.number}"]
        if (found := digest(context.disk, move)) != expected:
            raise VerifyFailed(self.name, found=f"SHA-256 {found} of sda{move.number}", expected=str(expected))

    def _changes(self) -> list[str]:
        copied = {move.number for move in self.moves}
        words = [] if self.before.kind == self.after.kind else ["the table becomes a GPT"]
        for old in self.before.partitions:
            new = self.after.by_number(old.number)
            if new is None:
                words.append(f"sda{old.number} removed")
            elif new.range != old.range and not (old.number in copied and new.size == old.size):
                words.append(_difference(old, new))
        return words


def _difference(old: Partition, new: Partition) -> str:
    if old.size == new.size:
        return f"sda{old.number} moved to {format_size(new.start)}"
    return f"sda{old.number} {format_change(old.size, new.size)}"


def listed(table: PartitionTable | None) -> str:
    if table is None:
        return "no table"
    return ", ".join(f"sda{p.number} [{p.start}, {p.end}) {p.type_code}" for p in table.partitions) or "no partitions"
