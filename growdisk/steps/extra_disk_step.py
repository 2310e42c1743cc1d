"""A step on another disk of the guest: it is done there, and speaks of that disk by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from growdisk.fast_dataclass import dataclass
from growdisk.partitions.table import FIRST_DISK
from growdisk.steps.registry import DiskStep
from growdisk.workflow.step import Check, Evidence, Scope

if TYPE_CHECKING:
    from growdisk.steps.worker_at_rest import WorkerAtRest

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class ExtraDiskStep:
    """`number` counts the run's disks: 0 would be sda, 1 is sdb.

    In the names of steps the disk itself is sda.
    """

    step: DiskStep
    number: int

    @property
    def name(self) -> str:
        # The journal's key must be another one than that of the same step on the first disk:
        # grow-filesystem-sda1 becomes -sdb1, resize-image becomes resize-image-sdb.
        step, disk = self.step, disk_name(self.number)
        partition, dash, volume = step.suffix.removeprefix("-").partition("-")
        if partition != f"{FIRST_DISK}{step.partition}":
            return f"{step.name}-{disk}"
        return f"{step.name.removesuffix(step.suffix)}-{disk}{step.partition}{dash}{volume}"

    @property
    def disk(self) -> int:
        return self.number

    @property
    def own(self) -> DiskStep:
        return self.step

    @property
    def touches(self) -> frozenset[Scope]:
        return self.step.touches

    def describe(self) -> str:
        return self.step.described(disk_name(self.number))

    def check(self, context: WorkerAtRest) -> Check:
        return self.step.check(self._there(context))

    def apply(self, context: WorkerAtRest) -> Evidence:
        context.run_backend.close()  # one appliance at a time is enough for a host's memory
        return self.step.apply(self._there(context))

    def verify(self, context: WorkerAtRest, evidence: Evidence) -> None:
        self.step.verify(self._there(context), evidence)

    def _there(self, context: WorkerAtRest) -> WorkerAtRest:
        return context.extra_disks[self.number - 1]


def disk_name(number: int) -> str:
    """Of the run's disks: sda is 0."""
    return f"sd{_LETTERS[number]}"
