"""grow-luks: the encrypted container is opened on the grown partition, and reaches to its end.

Its header says "to the end of the device", so nothing is written; a passphrase that fails does so here, before
anything in it is touched.
"""

from __future__ import annotations

from typing import ClassVar

from growdisk.fast_dataclass import dataclass
from growdisk.steps.context import RunContext
from growdisk.steps.device_path import DevicePath, look_at
from growdisk.steps.failures import VerifyFailed
from growdisk.units import format_change
from growdisk.workflow.step import Check, Evidence, Ready, Scope


@dataclass(frozen=True)
class GrowLuks:
    """`place` is the container's content, `new_size` what it will have."""

    place: DevicePath
    old_size: int
    new_size: int
    suffix: str = ""

    touches: ClassVar[frozenset[Scope]] = frozenset()

    @property
    def name(self) -> str:
        return f"grow-luks{self.suffix}"

    def describe(self) -> str:
        return f"{self.place.name} {format_change(self.old_size, self.new_size)}"

    def check(self, context: RunContext) -> Check:
        return Ready()  # in every process that goes on it has to be opened anew

    def apply(self, context: RunContext) -> Evidence:
        with context.hands.volumes(f"opening {self.place.name}") as appliance:
            size = appliance.volumes.size_of(self.place.device)
        return Evidence(f"opened, {format_change(self.old_size, size)}", {"size": size})

    def verify(self, context: RunContext, evidence: Evidence) -> None:
        """The kernel's size of it against the one that our own reader of the header finds."""
        found = look_at(context.disk, self.place, context.hands.keyring, context.hands.sector_size).size
        if not found == self.new_size == evidence.facts.get("size", found):
            raise VerifyFailed(self.name, found=f"{evidence.facts.get('size')} bytes", expected=f"{found} bytes")
