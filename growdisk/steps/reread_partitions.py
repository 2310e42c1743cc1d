"""reread-partitions: another reader must see exactly the planned table: the appliance's kernel, or sfdisk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from growdisk.fast_dataclass import dataclass
from growdisk.partitions.table import PartitionTable, Role
from growdisk.steps.context import RunContext
from growdisk.steps.failures import VerifyFailed
from growdisk.workflow.step import Check, Evidence, Ready, Scope


@dataclass(frozen=True)
class RereadPartitions:
    """`table` is the planned one. It has no content to lose, and it is done anew in every process that goes on."""

    table: PartitionTable

    name: ClassVar[str] = "reread-partitions"
    touches: ClassVar[frozenset[Scope]] = frozenset()

    def describe(self) -> str:
        return f"another reader sees the new table: {', '.join(f'sda{part.number}' for part in self.table.partitions)}"

    def check(self, context: RunContext) -> Check:
        return Ready()

    def apply(self, context: RunContext) -> Evidence:
        with context.hands.backend("reading the table") as backend:
            if self._differences(dict(_seen(backend.kernel_partitions()))):
                backend.reread()
            reader = backend.table_reader
        return Evidence(f"{reader} sees {', '.join(sorted(self._expected()))}")

    def verify(self, context: RunContext, evidence: Evidence) -> None:
        with context.hands.backend("reading the table") as backend:
            differences = self._differences(dict(_seen(backend.kernel_partitions())))
        if differences:
            raise VerifyFailed(self.name, found=differences, expected="the planned table")

    def _expected(self) -> dict[str, tuple[int, int]]:
        """Name to (start, size). A kernel gives an extended partition a token size, so that is not compared."""
        return {f"sda{p.number}": (p.start, 0 if p.role is Role.EXTENDED else p.size) for p in self.table.partitions}

    def _differences(self, seen: dict[str, tuple[int, int]]) -> str:
        expected = self._expected()
        extended = {name for name, (_, size) in expected.items() if size == 0}
        nameless = {f"sda{claim.number}" for claim in self.table.claims} - expected.keys()
        actual = {n: (start, 0 if n in extended else size) for n, (start, size) in seen.items() if n not in nameless}
        return "" if actual == expected else f"{actual}"


def _seen(partitions: Sequence[tuple[str, int, int]]) -> list[tuple[str, tuple[int, int]]]:
    return [(name, (start, size)) for name, start, size in partitions]
