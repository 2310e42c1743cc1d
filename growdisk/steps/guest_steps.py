"""The steps in the guest after a change of its partitions: swap made again, its files repaired.

Swap is made as planned at the end of the disk, or as a file of the guest. The files that no longer
wait for a partition that is gone are fstab, RESUME, kernel command lines and initrds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass, replace
from growdisk.guest_config.etc_tables import SWAP_FILE
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.guest_scripts.script_plan import SwapAction
from growdisk.steps.device_path import opener_of
from growdisk.steps.step_traits import StepTraits
from growdisk.steps.worker import DiskView, SwapSpace, Worker
from growdisk.units import format_size
from growdisk.workflow.step import AlreadyDone, Blocked, Check, Evidence, Ready

NOTHING_NAMED = "no file of the guest names what is gone"


@dataclass(frozen=True)
class RemakeSwap(StepTraits):
    """The swap spaces that the new table has put elsewhere."""

    swaps: tuple[SwapSpace, ...]

    name: ClassVar[str] = "remake-swap"

    def described(self, disk: str) -> str:
        spaces = ", ".join(f"{format_size(s.size)} on {disk}{s.number}" for s in self.swaps)
        return f"swap of {spaces} as before (UUID, label)"

    @property
    def swap_actions(self) -> tuple[tuple[int, SwapAction], ...]:
        return tuple((swap.number, "move") for swap in self.swaps)

    def check(self, context: DiskView) -> Check:
        return (
            AlreadyDone("the swap is there") if context.in_guest.has_swap(self.swaps) else Ready()
        )

    def apply(self, context: Worker) -> Evidence:
        return Evidence(context.in_guest.make_swap(self.swaps) or self.described(context.disk_name))

    def verify(self, context: Worker, evidence: Evidence) -> None:
        context.in_guest.confirm_swap(self.swaps)
        context.conclude(self.name)


class GuestFileStep(StepTraits):
    """The base of steps that change files of the guest whose root file system is `system`."""

    system: str

    changes_guest: ClassVar[bool] = True

    @property
    def kernel_tools(self) -> tuple[str, ...]:
        opener = opener_of(self.system)
        return (opener,) if opener else ()

    def in_system(self, systems: Sequence[str]) -> Self:
        # The planner took the file system that grows for the root; the guest's own files know
        # better. Each of these steps is a dataclass; their base is none.
        moved = systems and self.system not in systems
        return replace(self, system=systems[0]) if moved else self  # type: ignore[type-var]


@dataclass(frozen=True)
class MakeSwapFile(GuestFileStep):
    """Make a swap file of `size` bytes in the guest's root `system` (/dev/sda1, /dev/vg0/root)."""

    system: str
    size: int
    uuid: str
    page_size: int = 4096

    name: ClassVar[str] = "remake-swap"

    def described(self, disk: str) -> str:
        return f"swap of {format_size(self.size)} as {SWAP_FILE}"

    def check(self, context: DiskView) -> Check:
        # A swap file that the guest had already has another UUID: it is made again as planned.
        uuid = context.in_guest.swap_file_uuid(self.system)
        if uuid is None:
            return Blocked(
                Refused.named(
                    "no-guest-system",
                    "there is no guest system on {system} to give a swap file to",
                    "it has no /etc/fstab",
                    "use --swap drop or --swap move",
                    {"system": self.system.removeprefix("/dev/")},
                )
            )
        return AlreadyDone(f"{SWAP_FILE} is there") if uuid and uuid == self.uuid else Ready()

    def apply(self, context: Worker) -> Evidence:
        made = context.in_guest.make_swap_file(self.system, self.size, self.uuid, self.page_size)
        return Evidence(made or self.describe())

    def verify(self, context: Worker, evidence: Evidence) -> None:
        context.in_guest.confirm_swap_file(self.system)
        context.conclude(self.name)


@dataclass(frozen=True)
class RepairGuest(GuestFileStep):
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
        done = context.in_guest.repair(self.system, self.decisions(), self.others)
        return Evidence(done or self.describe())

    def verify(self, context: Worker, evidence: Evidence) -> None:
        context.in_guest.confirm_repair(self.system, self.decisions(), self.others)
        context.conclude(self.name)

    @property
    def swap_actions(self) -> tuple[tuple[int, SwapAction], ...]:
        return tuple((swap.number, remedy.value) for swap, remedy in self._remedies)

    def decisions(self) -> list[tuple[RemovedPartition, SwapRemedy]]:
        return [*self._remedies, *((part, SwapRemedy.DROP) for part in self.gone)]

    @property
    def _remedies(self) -> list[tuple[RemovedPartition, SwapRemedy]]:
        """All the swap that goes becomes one file, under the name of the first."""
        return [(swap, SwapRemedy.DROP if n else self.policy) for n, swap in enumerate(self.swaps)]
