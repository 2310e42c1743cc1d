"""reread-partitions: another reader must see exactly the planned table: a kernel, or sfdisk."""

from __future__ import annotations

from typing import ClassVar, Self

from growdisk.fast_dataclass import dataclass, replace
from growdisk.partitions.table import PartitionTable, Role
from growdisk.steps.failures import verify_failed
from growdisk.steps.step_traits import StepTraits
from growdisk.steps.worker import DiskView, Placed, Worker
from growdisk.workflow.step import AlreadyDone, Check, Evidence, Ready, Scope


@dataclass(frozen=True)
class RereadPartitions(StepTraits):
    """`table` is the planned one.

    It has no content to lose; at rest it is done again in every process that goes on. `running`:
    the reader is the kernel of a running guest.
    """

    table: PartitionTable
    running: bool = False

    name: ClassVar[str] = "reread-partitions"
    touches: ClassVar[frozenset[Scope]] = frozenset()

    def while_running(self, *, restart: bool, device_size: int) -> Self:
        return replace(self, running=True)

    def names(self, disk: str) -> str:
        return ", ".join(f"{disk}{part.number}" for part in self.table.partitions)

    def described(self, disk: str) -> str:
        if self.running:
            return "the guest's kernel reads the new table, without a restart"
        return f"another reader sees the new table: {self.names(disk)}"

    def check(self, context: DiskView) -> Check:
        if self.running and not self.differences(context.kernel_partitions(), context.disk_name):
            return AlreadyDone("the kernel has it already")
        return Ready()

    def apply(self, context: Worker) -> Evidence:
        return Evidence(context.reread(self))

    def verify(self, context: DiskView, evidence: Evidence) -> None:
        if differences := self.differences(context.kernel_partitions(), context.disk_name):
            raise verify_failed(self.name, found=differences, expected="the planned table")

    def differences(self, seen: Placed, disk: str) -> str:
        """What was seen, if that is not the planned table; "" if it is."""
        # A kernel gives an extended partition a token size, so that is not compared.
        expected = {
            p.number: (p.start, 0 if p.role is Role.EXTENDED else p.size)
            for p in self.table.partitions
        }
        # sfdisk shows what no partition is, too: entries of type 0 (claims), and of no size.
        nameless = {claim.number for claim in self.table.claims} - expected.keys()
        actual = {
            number: (start, size if expected.get(number, (0, 1))[1] else 0)
            for number, (start, size) in seen.items()
            if number not in nameless and (size or number in expected)
        }
        if actual == expected:
            return ""
        found = (f"{disk}{n} [{start}, +{size}]" for n, (start, size) in sorted(actual.items()))
        return ", ".join(found) or "no partitions"
