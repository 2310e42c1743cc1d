"""remake-swap: swap space again, where the plan puts it: moved to the end of the disk, or as a file of the guest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from growdisk.backends.guest_repair.fstab import SWAP_FILE
from growdisk.block.window import Window
from growdisk.filesystems.content import Content, SwapContent
from growdisk.filesystems.identify import identify
from growdisk.steps.context import RunContext
from growdisk.steps.failures import NoGuestSystem, PromiseBroken
from growdisk.units import format_size
from growdisk.workflow.step import AlreadyDone, Blocked, Check, Evidence, Ready, Scope


@dataclass(frozen=True)
class RemakeSwap:
    """Swap on partition `number`, bytes [start, start+size) of the disk, with the UUID and label that it had."""

    number: int
    start: int
    size: int
    uuid: str
    label: str

    name: ClassVar[str] = "remake-swap"
    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.CONTENT})

    def describe(self) -> str:
        return f"swap of {format_size(self.size)} on sda{self.number} with its old UUID"

    def check(self, context: RunContext) -> Check:
        return AlreadyDone("the swap is there") if self._is_there(self._read(context)) else Ready()

    def apply(self, context: RunContext) -> Evidence:
        with context.hands.appliance("making the swap space") as appliance:
            appliance.make_swap(f"/dev/sda{self.number}", uuid=self.uuid or None, label=self.label or None)
            appliance.sync()
        return Evidence(self.describe())

    def verify(self, context: RunContext, evidence: Evidence) -> None:
        content = self._read(context)
        if not self._is_there(content):
            raise PromiseBroken(self.name, found=str(content), expected=f"swap with UUID {self.uuid}")

    def _read(self, context: RunContext) -> Content | None:
        return identify(Window(context.disk, self.start, self.size))

    def _is_there(self, content: Content | None) -> bool:
        return isinstance(content, SwapContent) and (content.uuid, content.label) == (self.uuid, self.label)


@dataclass(frozen=True)
class MakeSwapFile:
    """A swap file of `size` bytes in the root file system on partition `root`."""

    root: int
    size: int
    uuid: str

    name: ClassVar[str] = "remake-swap"
    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.GUEST})

    def describe(self) -> str:
        return f"swap of {format_size(self.size)} as {SWAP_FILE}"

    def check(self, context: RunContext) -> Check:
        with (
            context.hands.appliance("looking at the guest") as appliance,
            appliance.mounted_guest(f"/dev/sda{self.root}") as guest,
        ):
            return Ready() if guest.exists("/etc/fstab") else Blocked(NoGuestSystem(self.root))

    def apply(self, context: RunContext) -> Evidence:
        with (
            context.hands.appliance("making the swap file") as appliance,
            appliance.mounted_guest(f"/dev/sda{self.root}") as guest,
        ):
            guest.make_swap_file(SWAP_FILE, self.size, uuid=self.uuid or None)
        return Evidence(self.describe())

    def verify(self, context: RunContext, evidence: Evidence) -> None:
        with (
            context.hands.appliance("looking at the swap file") as appliance,
            appliance.mounted_guest(f"/dev/sda{self.root}") as guest,
        ):
            header = guest.read_start(SWAP_FILE, 4096)
        if header[4086:] != b"SWAPSPACE2":
            raise PromiseBroken(self.name, found="no swap signature", expected=f"swap in {SWAP_FILE}")
