"""grow-filesystem for what is not an ext file system right in a partition: other kinds, and other places."""

from __future__ import annotations

from growdisk.backends.appliance_values import CheckState
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import BtrfsContent, Content, F2fsContent
from growdisk.filesystems.identify import identify
from growdisk.steps.context import RunContext
from growdisk.steps.device_path import DevicePath, look_at
from growdisk.steps.failures import FilesystemBroken
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.units import format_change
from growdisk.workflow.step import Evidence


@dataclass(frozen=True)
class GrowFilesystemAt(GrowFilesystem):
    """`number`, `start` and `size` are the partition's; `layers` lead from it to the file system (see DevicePath)."""

    kind: str = "ext4"
    layers: tuple[str, ...] = ()

    @property
    def place(self) -> DevicePath:
        return DevicePath(self.number, self.start, self.size, self.layers)

    def describe(self) -> str:
        sizes = format_change(self.old_size, self.new_size)
        return f"file system on {self.place.name} ({self.kind}) {sizes}"

    def apply(self, context: RunContext) -> Evidence:
        words = format_change(self.old_size, self.new_size)
        with context.hands.backend("growing the file system", inside=True) as backend:
            device = self.place.device
            if not self.kind.startswith("ext"):
                content = self._read(context)
                number = content.device_id if isinstance(content, BtrfsContent) else 1
                unclean = isinstance(content, F2fsContent) and not content.clean
                backend.grow_filesystem(self.kind, device, number, replay=unclean)
                backend.judge(self.kind, device)
                backend.sync()
                return Evidence(words)
            check = backend.check_ext(device)
            if check.state is CheckState.DAMAGED:
                raise FilesystemBroken(self.number, report=check.last_words)
            backend.resize_ext(device, self.new_size)
            backend.judge(self.kind, device)
            backend.sync()
        return Evidence(words + (", errors mended first" if check.state is CheckState.MENDED else ""))

    def _read(self, context: RunContext) -> Content | None:
        return identify(look_at(context.disk, self.place, context.hands.keyring, context.hands.sector_size))
