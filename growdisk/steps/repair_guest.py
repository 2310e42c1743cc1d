"""repair-guest: the guest's files no longer wait for a partition that is gone.

They are fstab, RESUME, kernel command lines and initrds.
"""

from __future__ import annotations

from typing import ClassVar

from growdisk.fast_dataclass import dataclass
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.guest_scripts.script_plan import SwapAction
from growdisk.steps.step_traits import StepTraits
from growdisk.steps.worker import DiskView, Worker
from growdisk.workflow.step import Check, Evidence, Ready, Scope

NOTHING_NAMED = "no file of the guest names what is gone"


@dataclass(frozen=True)
class RepairGuest(StepTraits):
    """`system` is where the guest's root file system is taken to be (/dev/sda1, /dev/vg0/root).

    `swaps` are the removed swap partitions; with policy FILE the first of them has become the swap
    file. `gone` are others that were removed. `others` are further file systems, in which the
    guest's files may be as well.
    """

    system: str
    swaps: tuple[RemovedPartition, ...]
    policy: SwapRemedy
    gone: tuple[RemovedPartition, ...] = ()
    others: tuple[str, ...] = ()

    name: ClassVar[str] = "repair-guest"
    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.GUEST})
    changes_guest: ClassVar[bool] = True

    def described(self, disk: str) -> str:
        swaps, gone = (
            ", ".join(f"{disk}{part.number}" for part in parts) for parts in (self.swaps, self.gone)
        )
        words = [f"swap partition {swaps}" if swaps else "", f"partition {gone}" if gone else ""]
        what = " and ".join(word for word in words if word)
        return (
            f"the guest on {self.system.removeprefix('/dev/')} forgets {what} (fstab, RESUME, "
            "initrd)"
        )

    def check(self, context: DiskView) -> Check:
        return Ready()  # the repair itself finds out, file by file, and is idempotent

    def apply(self, context: Worker) -> Evidence:
        return Evidence(context.repair(self) or self.describe())

    def verify(self, context: Worker, evidence: Evidence) -> None:
        context.confirm_repair(self)
        context.conclude(self.name)

    @property
    def swap_actions(self) -> tuple[tuple[int, SwapAction], ...]:
        return tuple((swap.number, remedy.value) for swap, remedy in self._remedies)

    def decisions(self) -> list[tuple[RemovedPartition, SwapRemedy]]:
        return [*self._remedies, *((part, SwapRemedy.DROP) for part in self.gone)]

    @property
    def _remedies(self) -> list[tuple[RemovedPartition, SwapRemedy]]:
        """All the swap that goes becomes one file, under the name of the first."""
        return [
            (swap, SwapRemedy.DROP if number else self.policy)
            for number, swap in enumerate(self.swaps)
        ]
