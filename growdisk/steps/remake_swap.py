"""remake-swap: swap space again as planned: at the end of the disk, or as a file of the guest."""

from __future__ import annotations

from typing import ClassVar

from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import Content, SwapContent
from growdisk.guest_config.etc_tables import SWAP_FILE
from growdisk.guest_scripts.script_plan import SwapAction
from growdisk.steps.device_path import DevicePath
from growdisk.steps.step_traits import StepTraits
from growdisk.steps.worker import DiskView, Worker
from growdisk.units import format_size
from growdisk.workflow.step import AlreadyDone, Blocked, Check, Evidence, Ready, Scope


@dataclass(frozen=True)
class SwapSpace:
    """Swap on partition `number`, bytes [start, start+size) of the disk, with its old identity.

    That is its UUID and its label.
    """

    number: int
    start: int
    size: int
    uuid: str
    label: str

    @property
    def place(self) -> DevicePath:
        return DevicePath(self.number, self.start, self.size)


@dataclass(frozen=True)
class RemakeSwap(StepTraits):
    """The swap spaces that the new table has put elsewhere."""

    swaps: tuple[SwapSpace, ...]

    name: ClassVar[str] = "remake-swap"
    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.CONTENT})

    def described(self, disk: str) -> str:
        spaces = ", ".join(
            f"{format_size(swap.size)} on {disk}{swap.number}" for swap in self.swaps
        )
        return f"swap of {spaces} as before (UUID, label)"

    @property
    def swap_actions(self) -> tuple[tuple[int, SwapAction], ...]:
        return tuple((swap.number, "move") for swap in self.swaps)

    def check(self, context: DiskView) -> Check:
        return AlreadyDone("the swap is there") if context.has_swap(self) else Ready()

    def apply(self, context: Worker) -> Evidence:
        return Evidence(context.make_swap(self) or self.described(context.disk_name))

    def verify(self, context: Worker, evidence: Evidence) -> None:
        context.confirm_swap(self)
        context.conclude(self.name)

    def missing(self, context: DiskView) -> list[SwapSpace]:
        return [swap for swap in self.swaps if not _is_there(swap, context.content(swap.place))]


def _is_there(swap: SwapSpace, content: Content | None) -> bool:
    return isinstance(content, SwapContent) and (content.uuid, content.label) == (
        swap.uuid,
        swap.label,
    )


@dataclass(frozen=True)
class MakeSwapFile(StepTraits):
    """Make a swap file of `size` bytes in the guest's root `system` (/dev/sda1, /dev/vg0/root)."""

    system: str
    size: int
    uuid: str

    name: ClassVar[str] = "remake-swap"
    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.GUEST})
    changes_guest: ClassVar[bool] = True

    def described(self, disk: str) -> str:
        return f"swap of {format_size(self.size)} as {SWAP_FILE}"

    def check(self, context: DiskView) -> Check:
        # A swap file that the guest had already has another UUID: it is made again as planned.
        uuid = context.swap_file_uuid(self)
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
        return Evidence(context.make_swap_file(self) or self.describe())

    def verify(self, context: Worker, evidence: Evidence) -> None:
        context.confirm_swap_file(self)
        context.conclude(self.name)
