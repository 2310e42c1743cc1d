"""A step on another disk of the guest: what it says of sda is said of that disk, and what it does is done there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from growdisk.fast_dataclass import dataclass, replace
from growdisk.steps.context import RunContext
from growdisk.workflow.step import AlreadyDone, Check, Evidence, Scope

if TYPE_CHECKING:
    from growdisk.steps.registry import DiskStep

_OWN = re.compile(r"\bsda(?=\d*\b)")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class ExtraDiskStep:
    """`number` counts the run's disks: 0 would be sda, 1 is sdb."""

    step: DiskStep
    number: int

    @property
    def name(self) -> str:
        disk = disk_name(self.number)
        return self.step.name.replace("-sda", f"-{disk}") if "-sda" in self.step.name else f"{self.step.name}-{disk}"

    @property
    def touches(self) -> frozenset[Scope]:
        return self.step.touches

    def describe(self) -> str:
        return as_disk(self.step.describe(), self.number)

    def check(self, context: RunContext) -> Check:
        seen = self.step.check(self._there(context))
        return AlreadyDone(as_disk(seen.reason, self.number)) if isinstance(seen, AlreadyDone) else seen

    def apply(self, context: RunContext) -> Evidence:
        context.hands.close()  # one appliance at a time is enough for a host's memory
        evidence = self.step.apply(self._there(context))
        return replace(evidence, detail=as_disk(evidence.detail, self.number))

    def verify(self, context: RunContext, evidence: Evidence) -> None:
        self.step.verify(self._there(context), evidence)

    def _there(self, context: RunContext) -> RunContext:
        return context.beside[self.number - 1]


def disk_name(number: int) -> str:
    return f"sd{_LETTERS[number]}"


def as_disk(text: str, number: int) -> str:
    """`text` about sda as one about another disk."""
    return _OWN.sub(disk_name(number), text)
