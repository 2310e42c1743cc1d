"""resize-image for a block device: the host's storage below it becomes larger, and then whatever lies on it."""

from __future__ import annotations

from growdisk.fast_dataclass import dataclass, field
from growdisk.steps.context import RunContext
from growdisk.steps.failures import VerifyFailed
from growdisk.steps.resize_image import ResizeImage
from growdisk.storage.growing import resize_device
from growdisk.storage.values import Storage
from growdisk.units import format_change
from growdisk.workflow.step import Evidence


@dataclass(frozen=True)
class GrowDevice(ResizeImage):
    """As ResizeImage; the device lies on `storage`."""

    storage: Storage = field(default_factory=lambda: Storage("other", ""))

    def describe(self) -> str:
        return f"{words_for(self.storage)} {format_change(self.old_size, self.new_size)}"

    def apply(self, context: RunContext) -> Evidence:
        resize_device(context.disk.path, self.new_size)
        context.disk.base_resized()
        context.disk.resize(self.new_size)
        context.disk.flush()
        return Evidence(self.describe(), {"size": self.new_size})

    def verify(self, context: RunContext, evidence: Evidence) -> None:
        """A volume's new room holds what was there before: nobody may take it for zeros."""
        if context.disk.size != self.new_size:
            raise VerifyFailed(self.name, found=f"{context.disk.size} bytes", expected=f"{self.new_size} bytes")


def words_for(storage: Storage) -> str:
    """What grows, in the words of its own tools."""
    kinds = {"lvm": "logical volume", "zvol": "ZFS volume", "rbd": "RBD image", "loop": "loop device on"}
    return f"{kinds.get(storage.kind, 'device')} {storage.name}"
