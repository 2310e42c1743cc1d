"""grow-luks: the encrypted container reaches to the end of the grown partition.

Its header says "to the end of the device", so nothing is written. At rest it is opened: a
passphrase that fails does so here, before anything in it is touched. A running guest has it open,
and makes what is open larger.
"""

from __future__ import annotations

from typing import ClassVar

from growdisk.fast_dataclass import dataclass
from growdisk.guest_scripts.script_plan import GuestLayer
from growdisk.steps.device_path import DevicePath, LuksLayer
from growdisk.steps.failures import verify_failed
from growdisk.steps.step_traits import OpenedTraits
from growdisk.steps.worker import DiskView, Worker
from growdisk.units import format_change, format_size
from growdisk.workflow.step import AlreadyDone, Check, Evidence, Ready, Scope


@dataclass(frozen=True)
class GrowLuks(OpenedTraits):
    """`place` is the container's content, `new_size` what it will have.

    `running`: a running guest has it open.
    """

    place: DevicePath
    old_size: int
    new_size: int
    suffix: str = ""
    running: bool = False

    touches: ClassVar[frozenset[Scope]] = frozenset()

    @property
    def name(self) -> str:
        return f"grow-luks{self.suffix}"

    @property
    def uuid(self) -> str:
        """The container's own."""
        layer = self.place.innermost
        assert isinstance(layer, LuksLayer), self.place
        return layer.uuid

    def guest_layer(self, group: str) -> GuestLayer:
        # The id is what device-mapper has in its UUID: without hyphens.
        return GuestLayer("luks", self.uuid.replace("-", ""), self.place.name, self.new_size)

    def described(self, disk: str) -> str:
        words = f"{self.place.name_on(disk)} {format_change(self.old_size, self.new_size)}"
        return f"{words}, open as it is" if self.running else words

    def check(self, context: DiskView) -> Check:
        if not self.running:
            return Ready()  # in every process that goes on it has to be opened again
        size = context.device(self.place).size
        return (
            AlreadyDone(f"it has {format_size(size)} already") if size >= self.new_size else Ready()
        )

    def apply(self, context: Worker) -> Evidence:
        facts = context.grow_luks(self)
        opened = "" if self.running else "opened, "
        return Evidence(
            f"{opened}{format_change(self.old_size, int(facts.get('size', self.new_size)))}", facts
        )

    def verify(self, context: DiskView, evidence: Evidence) -> None:
        """By our own reader of the header, or the guest's kernel.

        If a kernel opened it here, the size that it reported must be the same.
        """
        found = context.device(self.place).size
        expected = evidence.facts.get("size", found)
        # All three: our reader of the header, the plan, and the kernel if one was asked.
        if not found == self.new_size == expected:
            raise verify_failed(
                self.name, found=f"{expected} bytes", expected=f"{self.new_size} bytes"
            )

    def has_begun(self, context: DiskView) -> bool:
        return context.device(self.place).size > self.old_size
