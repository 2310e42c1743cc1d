"""rewrite-partitions: writes the planned partition table, by pyparted on a copy, sector by changed sector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from growdisk.partitions.sectors import apply_changes, read_table
from growdisk.partitions.table import Partition, PartitionTable
from growdisk.steps.context import RunContext
from growdisk.steps.failures import PromiseBroken, TableChanged
from growdisk.units import format_size
from growdisk.workflow.step import AlreadyDone, Blocked, Check, Evidence, Ready, Scope


@dataclass(frozen=True)
class RewritePartitions:
    """`before` is the table that the plan was made for, `after` the one that will be there; both on the grown disk."""

    before: PartitionTable
    after: PartitionTable

    name: ClassVar[str] = "rewrite-partitions"
    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.TABLE})

    def describe(self) -> str:
        return "; ".join(self._changes()) or "the table stays"

    def check(self, context: RunContext) -> Check:
        table = read_table(context.disk, context.path)
        if table == self.after:
            return AlreadyDone("the table is as planned")
        if table != self.before:
            return Blocked(TableChanged(found=listed(table)))
        return Ready()

    def apply(self, context: RunContext) -> Evidence:
        from growdisk.partitions.parted_disk import rewrite  # libparted is loaded when it is needed

        changes = rewrite(context.disk, context.path, self.after)
        apply_changes(context.disk, changes)
        return Evidence(self.describe(), {"sectors": len(changes)})

    def verify(self, context: RunContext, evidence: Evidence) -> None:
        """Our own reader, from the image, against what pyparted was asked for."""
        table = read_table(context.disk, context.path)
        if table != self.after:
            raise PromiseBroken(self.name, found=listed(table), expected=listed(self.after))

    def _changes(self) -> list[str]:
        words = []
        for old in self.before.partitions:
            new = self.after.by_number(old.number)
            if new is None:
                words.append(f"sda{old.number} removed")
            elif new.range != old.range:
                words.append(_difference(old, new))
        return words


def _difference(old: Partition, new: Partition) -> str:
    if old.start != new.start:
        return f"sda{old.number} moved to {format_size(new.start)}"
    return f"sda{old.number} {format_size(old.size)} -> {format_size(new.size)}"


def listed(table: PartitionTable | None) -> str:
    if table is None:
        return "no table"
    return ", ".join(f"sda{p.number} [{p.start}, {p.end}) {p.type_code}" for p in table.partitions) or "no partitions"
