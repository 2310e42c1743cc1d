"""The steps on the partition table: written as planned, it must be what another reader sees.

At rest pyparted works on a copy, and the changed sectors are written. Partitions that the new table
has elsewhere are copied there first, and compared; the table is switched last. The other reader is
a kernel, or sfdisk.
"""

from __future__ import annotations

from typing import ClassVar

from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass
from growdisk.partitions.table import Partition, PartitionTable, Role
from growdisk.steps.device_path import DevicePath
from growdisk.steps.failures import verify_failed
from growdisk.steps.moving import Move, require_copied
from growdisk.steps.step_traits import StepTraits
from growdisk.steps.worker import DiskView, PartitionExtents, Worker
from growdisk.units import format_change, format_size
from growdisk.workflow.step import AlreadyDone, Blocked, Check, Evidence, Ready


@dataclass(frozen=True)
class RewritePartitions(StepTraits):
    """Change the table from `before`, which the plan was made for, to `after`.

    Both are tables of the grown disk. `moves` are in the order in which they must be done: the last
    on the disk first.
    """

    before: PartitionTable
    after: PartitionTable
    moves: tuple[Move, ...] = ()

    name: ClassVar[str] = "rewrite-partitions"

    def described(self, disk: str) -> str:
        return (
            "; ".join([*(move.described(disk) for move in self.moves), *self._changes(disk)])
            or "the table stays"
        )

    def check(self, context: DiskView) -> Check:
        table = context.table(self.before.sector_size)
        # `damage` and `claims` of a table do not count in comparisons (PartitionTable).
        if table == self.after:
            return AlreadyDone("the table is as planned")
        if table != self.before:
            return Blocked(
                Refused.named(
                    "table-changed",
                    "the partition table is not the one that was planned for",
                    "found {found}",
                    "roll back (growdisk rollback IMAGE), then make a new plan",
                    {"found": table_in_words(table, context.disk_name)},
                )
            )
        return Ready()

    def apply(self, context: Worker) -> Evidence:
        facts = context.write_table(self.before, self.after, self.moves)
        return Evidence(self.described(context.disk_name), facts)

    def verify(self, context: DiskView, evidence: Evidence) -> None:
        """By our own reader, against the planned table; what was copied is read once more."""
        table = context.table(self.before.sector_size)
        if table != self.after:
            found, expected = (table_in_words(t, context.disk_name) for t in (table, self.after))
            raise verify_failed(self.name, found=found, expected=expected)
        # The digests were journalled by apply, so a later process can compare as well.
        if self.moves:
            require_copied(
                context.device(DevicePath(0, 0, context.size)), self.moves, evidence.facts
            )

    def _changes(self, disk: str) -> list[str]:
        copied = {move.number for move in self.moves}
        words = [] if self.before.kind == self.after.kind else ["the table becomes a GPT"]
        for old in self.before.partitions:
            new = self.after.by_number(old.number)
            if new is None:
                words.append(f"{disk}{old.number} removed")
            # What was copied is named by its move already.
            elif new.range != old.range and not (old.number in copied and new.size == old.size):
                words.append(_difference(f"{disk}{old.number}", old, new))
        return words


def _difference(name: str, old: Partition, new: Partition) -> str:
    if old.size == new.size:
        return f"{name} moved to {format_size(new.start)}"
    return f"{name} {format_change(old.size, new.size)}"


def table_in_words(table: PartitionTable | None, disk: str) -> str:
    """Of the guest's disk with that name."""
    if table is None:
        return "no table"
    return (
        ", ".join(f"{disk}{p.number} [{p.start}, {p.end}) {p.type_code}" for p in table.partitions)
        or "no partitions"
    )


@dataclass(frozen=True)
class RereadPartitions(StepTraits):
    """`table` is the planned one.

    It has no content to lose; at rest it is done again in every process that goes on. `running`:
    the reader is the kernel of a running guest.
    """

    table: PartitionTable
    running: bool = False

    name: ClassVar[str] = "reread-partitions"

    def described(self, disk: str) -> str:
        if self.running:
            return "the guest's kernel reads the new table, without a restart"
        return f"another reader sees the new table: {names_in(self.table, disk)}"

    def check(self, context: DiskView) -> Check:
        if self.running and not self._differences(context):
            return AlreadyDone("the kernel has it already")
        return Ready()

    def apply(self, context: Worker) -> Evidence:
        return Evidence(context.reread(self.table))

    def verify(self, context: DiskView, evidence: Evidence) -> None:
        if found := self._differences(context):
            raise verify_failed(self.name, found=found, expected="the planned table")

    def _differences(self, context: DiskView) -> str:
        return differences(self.table, context.kernel_partitions(), context.disk_name)


def names_in(table: PartitionTable, disk: str) -> str:
    return ", ".join(f"{disk}{part.number}" for part in table.partitions)


def differences(table: PartitionTable, seen: PartitionExtents, disk: str) -> str:
    """What was seen, if that is not the planned table; "" if it is."""
    # A kernel gives an extended partition a token size, so that is not compared.
    expected = {
        p.number: (p.start, 0 if p.role is Role.EXTENDED else p.size) for p in table.partitions
    }
    # sfdisk shows what no partition is, too: entries of type 0 (claims), and of no size.
    nameless = {claim.number for claim in table.claims} - expected.keys()
    actual = {
        number: (start, size if expected.get(number, (0, 1))[1] else 0)
        for number, (start, size) in seen.items()
        if number not in nameless and (size or number in expected)
    }
    if actual == expected:
        return ""
    found = (f"{disk}{n} [{start}, +{size}]" for n, (start, size) in sorted(actual.items()))
    return ", ".join(found) or "no partitions"
