"""grow-filesystem: checks the file system (e2fsck -f) and grows it to its partition (resize2fs)."""

from __future__ import annotations

from typing import ClassVar

from growdisk.backends.appliance_values import CheckState
from growdisk.block.window import Window
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import Content, ExtContent
from growdisk.filesystems.ext_features import doubt, kernel_mounts
from growdisk.filesystems.identify import identify
from growdisk.steps.context import RunContext
from growdisk.steps.failures import FilesystemBroken, FilesystemChanged, VerifyFailed
from growdisk.units import format_change
from growdisk.workflow.step import AlreadyDone, Blocked, Check, Evidence, Ready, Scope


@dataclass(frozen=True)
class GrowFilesystem:
    """The ext file system `uuid` on partition `number`, bytes [start, start+size) of the disk, from `old_size` up.

    `new_size` is what resize2fs makes of the partition: whole blocks, and no last group too small to be one. `number` 0
    is the whole disk; `suffix` tells it from other growth in the same plan.
    """

    number: int
    start: int
    size: int
    uuid: str
    old_size: int
    new_size: int
    suffix: str = ""

    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.CONTENT})

    @property
    def name(self) -> str:
        return f"grow-filesystem{self.suffix}"

    @property
    def _device(self) -> str:
        return f"sda{self.number or ''}"

    def describe(self) -> str:
        return f"file system on {self._device} {format_change(self.old_size, self.new_size)}"

    def check(self, context: RunContext) -> Check:
        content = self._read(context)
        if content is None or content.uuid != self.uuid:
            return Blocked(FilesystemChanged(self.number, found=content.kind if content else "nothing"))
        if content.size == self.new_size:
            return AlreadyDone(f"it fills {self._device} already")
        return Ready()

    def apply(self, context: RunContext) -> Evidence:
        device = f"/dev/{self._device}"
        with context.hands.backend("growing the file system") as backend:
            check = backend.check_ext(device)
            if check.state is CheckState.DAMAGED:
                raise FilesystemBroken(self.number, report=check.last_words)
            backend.resize_ext(device, self.new_size)
            backend.judge("ext4", device)
            backend.sync()
        self._ask_a_kernel(context)
        mended = ", errors mended first" if check.state is CheckState.MENDED else ""
        return Evidence(f"{format_change(self.old_size, self.new_size)}{mended}")

    def _ask_a_kernel(self, context: RunContext) -> None:
        """Where e2fsck alone is not judge enough, and no kernel has looked yet."""
        content = self._read(context)
        if isinstance(content, ExtContent) and doubt(content, self.new_size, self.old_size) and kernel_mounts(content):
            context.hands.let_a_kernel_mount("ext4", f"/dev/{self._device}")

    def verify(self, context: RunContext, evidence: Evidence) -> None:
        """The superblock, read from the image by our own reader."""
        content = self._read(context)
        if content is None or content.uuid != self.uuid or content.size != self.new_size:
            found = f"{content.kind} of {content.size} bytes" if content else "nothing"
            raise VerifyFailed(self.name, found=found, expected=f"{self.new_size} bytes")

    def _read(self, context: RunContext) -> Content | None:
        return identify(Window(context.disk, self.start, self.size))
