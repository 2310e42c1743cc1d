"""remake-swap: swap space again as planned: at the end of the disk, or as a file of the guest."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from growdisk.block.window import Window
from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import Content, SwapContent
from growdisk.filesystems.identify import identify
from growdisk.guest_config.fstab import SWAP_FILE
from growdisk.guest_scripts.script_plan import SwapAction
from growdisk.partitions.table import FIRST_DISK
from growdisk.steps.failures import verify_failed
from growdisk.steps.homes import homes_now, mounts_of
from growdisk.steps.step_traits import StepTraits
from growdisk.steps.worker_at_rest import WorkerAtRest
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

    def check(self, context: WorkerAtRest) -> Check:
        return Ready() if self._missing(context) else AlreadyDone("the swap is there")

    def apply(self, context: WorkerAtRest) -> Evidence:
        with context.run_backend.started("making the swap space") as backend:
            for swap in self._missing(context):
                backend.make_swap(
                    f"/dev/{FIRST_DISK}{swap.number}",
                    uuid=swap.uuid or None,
                    label=swap.label or None,
                )
            backend.sync()
        return Evidence(self.described(context.disk_name))

    def verify(self, context: WorkerAtRest, evidence: Evidence) -> None:
        for swap in self._missing(context):
            found = _read(context, swap)
            raise verify_failed(self.name, found=str(found), expected=f"swap with UUID {swap.uuid}")

    def _missing(self, context: WorkerAtRest) -> list[SwapSpace]:
        return [swap for swap in self.swaps if not _is_there(swap, _read(context, swap))]


def _read(context: WorkerAtRest, swap: SwapSpace) -> Content | None:
    return identify(Window(context.disk, swap.start, swap.size))


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

    def check(self, context: WorkerAtRest) -> Check:
        with (
            context.run_backend.started("looking at the guest", inside=True) as backend,
            backend.mounted_guest(self.system, mounts_of(homes_now(context), self.system)) as guest,
        ):
            if not guest.exists("/etc/fstab"):
                return Blocked(
                    Refused.named(
                        "no-guest-system",
                        "there is no guest system on {system} to give a swap file to",
                        "it has no /etc/fstab",
                        "use --swap drop or --swap move",
                        {"system": self.system.removeprefix("/dev/")},
                    )
                )
            # A swap file that the guest had already has another UUID: it is made again as planned.
            ours = (
                guest.exists(SWAP_FILE) and _uuid_in(guest.read_start(SWAP_FILE, 4096)) == self.uuid
            )
            return AlreadyDone(f"{SWAP_FILE} is there") if ours and self.uuid else Ready()

    def apply(self, context: WorkerAtRest) -> Evidence:
        with (
            context.run_backend.started("making the swap file", inside=True) as backend,
            backend.mounted_guest(self.system, mounts_of(homes_now(context), self.system)) as guest,
        ):
            guest.make_swap_file(SWAP_FILE, self.size, uuid=self.uuid or None)
        return Evidence(self.describe())

    def verify(self, context: WorkerAtRest, evidence: Evidence) -> None:
        with (
            context.run_backend.started("looking at the swap file", inside=True) as backend,
            backend.mounted_guest(self.system, mounts_of(homes_now(context), self.system)) as guest,
        ):
            header = guest.read_start(SWAP_FILE, 4096)
        if header[4086:] != b"SWAPSPACE2":
            raise verify_failed(
                self.name, found="no swap signature", expected=f"swap in {SWAP_FILE}"
            )


def _uuid_in(header: bytes) -> str:
    """Of swap space; "" if there is none."""
    # union swap_header: 1024 bytes for a boot loader, three numbers, the UUID; the magic is what
    # the first page ends with.
    return str(UUID(bytes=header[1036:1052])) if header[4086:] == b"SWAPSPACE2" else ""
