"""grow-filesystem: the file system takes all that it lies in.

At rest ext is checked before (e2fsck -f), and grown by resize2fs; the others by their own tools, or
by a kernel that mounts them. A running guest grows what it has mounted: that cannot be made smaller
again.
"""

from __future__ import annotations

from collections.abc import Sequence

from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import UNMOUNTED_GROWTH, growing_programs
from growdisk.steps.device_path import DevicePath
from growdisk.steps.failures import verify_failed
from growdisk.steps.step_traits import StepTraits
from growdisk.steps.worker import DiskView, Worker
from growdisk.units import format_change
from growdisk.workflow.step import AlreadyDone, Blocked, Check, Evidence, Ready


@dataclass(frozen=True)
class GrowFilesystem(StepTraits):
    """Grow the file system `uuid` of `kind` in partition `number`, from `old_size`.

    The partition is bytes [start, start+size) of the disk. `layers` lead from it to the file system
    (see DevicePath). `new_size` is what the tool makes of the space: for ext, whole blocks, and no
    last group too small to be one. `number` 0 is the whole disk; `suffix` distinguishes the step
    from other growth in the same plan. `running`: a running guest has it mounted.
    """

    number: int
    start: int
    size: int
    uuid: str
    old_size: int
    new_size: int
    suffix: str = ""
    kind: str = "ext4"
    layers: tuple[str, ...] = ()
    running: bool = False

    @property
    def name(self) -> str:
        return f"grow-filesystem{self.suffix}"

    @property
    def place(self) -> DevicePath:
        return DevicePath(self.number, self.start, self.size, self.layers)

    @property
    def works_at(self) -> DevicePath:
        return self.place

    @property
    def usual(self) -> dict[str, object]:
        # Written plans leave these two out for the everyday step, as `usual` says of the others.
        everyday = self.is_plain_ext and not self.running
        return super().usual | ({"kind": "ext4", "layers": ()} if everyday else {})

    @property
    def is_plain_ext(self) -> bool:
        return is_plain_ext(self.kind, self.layers)

    @property
    def needs_kernel(self) -> bool:
        """XFS and btrfs are grown by a kernel; LUKS and LVM are opened by one."""
        return bool(self.layers) or not (is_ext(self.kind) or self.kind in UNMOUNTED_GROWTH)

    @property
    def own_tools(self) -> tuple[str, ...]:
        return () if self.is_plain_ext else growing_programs(self.kind)

    @property
    def kernel_tools(self) -> tuple[str, ...]:
        return () if self.is_plain_ext else (*growing_programs(self.kind), *self.place.openers)

    def described(self, disk: str) -> str:
        kind = "" if self.is_plain_ext and not self.running else f" ({self.kind})"
        words = (
            f"file system on {self.place.name_on(disk)}{kind} "
            f"{format_change(self.old_size, self.new_size)}"
        )
        return f"{words}, mounted" if self.running else words

    def check(self, context: DiskView) -> Check:
        content = context.content(self.place)
        if content is None or content.uuid != self.uuid:
            return Blocked(
                Refused.named(
                    "filesystem-changed",
                    "the file system on partition {number} is not the one that was planned for",
                    "found {found}",
                    "roll back (growdisk rollback IMAGE), then make a new plan",
                    {"number": self.number, "found": content.kind if content else "nothing"},
                )
            )
        # In use it may end short of new_size (Worker.accepts), so only its own tool knows what is
        # left to grow. At rest the tool would make a larger one smaller: the guest may have grown
        # it before a run that was cut short goes on.
        if (content.size or 0) >= self.new_size and not self.running:
            return AlreadyDone(f"it fills {self.place.name_on(context.disk_name)} already")
        return Ready()

    def apply(self, context: Worker) -> Evidence:
        remark = context.grow_filesystem(
            self.name, self.place, self.kind, old_size=self.old_size, new_size=self.new_size
        )
        content = context.content(self.place)
        # What our own reader sees, not what was planned: in use the two may differ.
        grown = content.size if content and content.size else self.new_size
        return Evidence(f"{format_change(self.old_size, grown)}{remark}", {"size": grown})

    def verify(self, context: Worker, evidence: Evidence) -> None:
        """The superblock, by our own reader."""
        content = context.content(self.place)
        size = (content.size or 0) if content else 0
        fits = context.accepts(self.kind, size, self.new_size)
        if content is None or content.uuid != self.uuid or not fits:
            found = f"{content.kind} of {size} bytes" if content else "nothing"
            raise verify_failed(self.name, found=found, expected=f"{self.new_size} bytes")
        context.conclude(self.name)

    def has_begun(self, context: DiskView) -> bool:
        content = context.content(self.place)
        return content is None or (content.size or 0) > self.old_size


def is_ext(kind: str) -> bool:
    return kind.startswith("ext")


def is_plain_ext(kind: str, layers: Sequence[str]) -> bool:
    """Right in its partition, where tools find it without a kernel."""
    return is_ext(kind) and not layers
