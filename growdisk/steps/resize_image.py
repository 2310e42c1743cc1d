"""resize-image: makes the virtual disk larger, by our own engine for qcow2 and by the file's length for raw."""

from __future__ import annotations

from typing import ClassVar

from growdisk.fast_dataclass import dataclass
from growdisk.steps.context import RunContext
from growdisk.steps.failures import VerifyFailed
from growdisk.units import format_change, format_size
from growdisk.workflow.step import AlreadyDone, Check, Evidence, Ready, Scope

_ZERO_SAMPLE = 64 << 10


@dataclass(frozen=True)
class ResizeImage:
    """`old_size` and `new_size` in bytes; `preallocation` is off, falloc or full (the last two for raw images)."""

    old_size: int
    new_size: int
    preallocation: str = "off"

    name: ClassVar[str] = "resize-image"
    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.IMAGE})

    def describe(self) -> str:
        if self.new_size == self.old_size:
            return f"the image stays at {format_size(self.old_size)}"
        how = "" if self.preallocation == "off" else f", preallocation {self.preallocation}"
        return f"image {format_change(self.old_size, self.new_size)}{how}"

    def check(self, context: RunContext) -> Check:
        if context.disk.size >= self.new_size:
            return AlreadyDone(f"the image is {format_size(context.disk.size)} already")
        return Ready()

    def apply(self, context: RunContext) -> Evidence:
        if self.preallocation != "off":
            context.disk.file.reserve(self.old_size, self.new_size - self.old_size)
        context.disk.resize(self.new_size)
        context.disk.flush()
        return Evidence(format_change(self.old_size, self.new_size), {"size": self.new_size})

    def verify(self, context: RunContext, evidence: Evidence) -> None:
        if context.disk.size != self.new_size:
            raise VerifyFailed(self.name, found=f"{context.disk.size} bytes", expected=f"{self.new_size} bytes")
        sample = min(_ZERO_SAMPLE, self.new_size - self.old_size)
        for offset in (self.old_size, self.new_size - sample):
            if any(context.disk.read(offset, sample)):
                raise VerifyFailed(self.name, found="old bytes in the grown area", expected="zeros")
