"""resize-image: makes the virtual disk larger.

At rest by our own engine for qcow2, and by the file's length for raw; of a running guest, QEMU does
it.
"""

from __future__ import annotations

from typing import ClassVar

from growdisk.fast_dataclass import dataclass, field, replace
from growdisk.steps.step_traits import StepTraits
from growdisk.steps.worker import DiskView, Worker
from growdisk.storage.values import Storage
from growdisk.units import format_change, format_size
from growdisk.workflow.step import AlreadyDone, Check, Evidence, Ready


@dataclass(frozen=True)
class ResizeImage(StepTraits):
    """Resize the disk from `old_size` to `new_size` bytes.

    `preallocation` is off, or falloc for a raw image. `running`: it is a running guest's; with
    `restart` the guest is restarted to see the new size.
    """

    old_size: int
    new_size: int
    preallocation: str = "off"
    running: bool = False
    restart: bool = False

    name: ClassVar[str] = "resize-image"
    gives_zeros: ClassVar[bool] = True

    @property
    def added(self) -> int:
        return self.new_size - self.old_size

    @property
    def what(self) -> str:
        """What grows, in words."""
        return "image"

    def described(self, disk: str) -> str:
        if self.new_size == self.old_size:
            return f"the image stays at {format_size(self.old_size)}"
        how = "" if self.preallocation == "off" else f", preallocation {self.preallocation}"
        if self.running:
            how = ", then the guest RESTARTS once" if self.restart else ", while the guest runs"
        return f"{self.what} {format_change(self.old_size, self.new_size)}{how}"

    def check(self, context: DiskView) -> Check:
        # More is all right: somebody may have made the disk larger since the plan.
        if context.size >= self.new_size:
            return AlreadyDone(
                f"the {'disk' if self.running else 'image'} is {format_size(context.size)} already"
            )
        return Ready()

    def apply(self, context: Worker) -> Evidence:
        remark = context.resize_disk(
            self.old_size, self.new_size, preallocation=self.preallocation, restart=self.restart
        )
        return Evidence(
            f"{format_change(self.old_size, self.new_size)}{remark}", {"size": self.new_size}
        )

    def verify(self, context: Worker, evidence: Evidence) -> None:
        context.confirm_size(self.old_size, self.new_size, zeros=self.gives_zeros)


# A block device: the host's storage below it becomes larger, and then whatever lies on it.

_KINDS = {
    "lvm": "logical volume",
    "zvol": "ZFS volume",
    "rbd": "RBD image",
    "loop": "loop device on",
}


@dataclass(frozen=True)
class GrowDevice(ResizeImage):
    """As ResizeImage; the device lies on `storage`.

    `device_size`: of a running guest, what the device has before, in bytes. QEMU goes by what it
    had on opening it.
    """

    storage: Storage = field(default_factory=lambda: Storage("other", ""))
    device_size: int = 0

    gives_zeros: ClassVar[bool] = False  # a volume's new room holds what was there before

    @property
    def what(self) -> str:
        """In the words of its own tools."""
        return f"{_KINDS.get(self.storage.kind, 'device')} {self.storage.name}"

    def apply(self, context: Worker) -> Evidence:
        context.grow_device(self.new_size)
        done = super().apply(context)
        return done if self.running else replace(done, detail=self.described(context.disk_name))
