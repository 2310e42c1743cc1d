"""What a step works with: a view of the disk, to read, and a worker, who does what it decides.

    at rest     worker_at_rest.py   our own engine reads; this machine's tools, or an appliance,
                                    write
    running     live_worker.py      our readers look through the guest's devices; QEMU and scripts
                                    in the guest write

To the engine (workflow/) it is the `context` of a step, of which it knows nothing.

A step decides and judges, and knows of both only this. What is different between the two is a
method here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from growdisk.block.device import BlockDevice
    from growdisk.filesystems.content import Content
    from growdisk.filesystems.volume_group import VolumeGroup
    from growdisk.partitions.table import PartitionTable
    from growdisk.steps.device_path import DevicePath
    from growdisk.steps.grow_filesystem import GrowFilesystem
    from growdisk.steps.grow_layers import GrowLogicalVolume, GrowLuks, GrowPhysicalVolume
    from growdisk.steps.guest_steps import MakeSwapFile, RemakeSwap, RepairGuest
    from growdisk.steps.resize_image import GrowDevice, ResizeImage
    from growdisk.steps.table_steps import RereadPartitions, RewritePartitions

BackendKind = Literal["guestfs", "uml", "direct"]
"""libguestfs's appliance, a kernel that runs as a program, host tools."""

Placed = dict[int, tuple[int, int]]
"""Partitions as somebody sees them: number to start and size, in bytes."""


class DiskView(Protocol):
    """The disk as it is now, by our own readers. Sizes are in bytes."""

    @property
    def disk_name(self) -> str:
        """As the guest has it: sda, sdb."""
        ...

    @property
    def size(self) -> int:
        """As who works on it sees it: of a running guest, as its kernel does."""
        ...

    def table(self, sector_size: int) -> PartitionTable | None: ...

    def kernel_partitions(self) -> Placed:
        """The table by another reader: a kernel, or sfdisk."""
        ...

    def device(self, place: DevicePath) -> BlockDevice:
        """DeviceNotReadable if it cannot be read."""
        ...

    def content(self, place: DevicePath) -> Content | None: ...

    def group(self, place: DevicePath) -> VolumeGroup | None:
        """The group whose physical volume is at `place`.

        None if its metadata cannot be read, or do not agree.
        """
        ...

    def kernel_size(self, place: DevicePath) -> int | None:
        """What the kernel that has it open gives it; None at rest, when none has."""
        ...

    def accepts(self, step: GrowFilesystem, size: int) -> bool:
        """Whether the grown file system may have this size.

        In use, one may stop short of what it grows to at rest.
        """
        ...

    def has_swap(self, step: RemakeSwap) -> bool:
        """Whether all of it is there. False in use: the guest's own script finds that out."""
        ...

    def swap_file_uuid(self, step: MakeSwapFile) -> str | None:
        """Of the swap file that is there; "" without one, None without a system. In use "" too."""
        ...


class Worker(DiskView, Protocol):
    """What does the steps' work, a method for each; words it returns are added to the step's own.

    Raises OperationFailed, and OSError of the host.
    """

    def resize_disk(self, step: ResizeImage) -> str: ...

    def grow_device(self, step: GrowDevice) -> str:
        """The host's device first, then the disk."""
        ...

    def confirm_size(self, step: ResizeImage) -> None:
        """promise-broken, or guest-does-not-see."""
        ...

    def write_table(self, step: RewritePartitions) -> dict[str, int | str]:
        """No kernel is told yet. Returns what require_copied needs of the partitions that move."""
        ...

    def reread(self, step: RereadPartitions) -> str:
        """Makes the other reader look again."""
        ...

    def grow_luks(self, step: GrowLuks) -> dict[str, int | str]:
        """Returns the `size` that a kernel gives the container, if it was opened for that."""
        ...

    def grow_pv(self, step: GrowPhysicalVolume) -> None: ...

    def grow_lv(self, step: GrowLogicalVolume) -> None: ...

    def grow_filesystem(self, step: GrowFilesystem) -> str: ...

    def make_swap(self, step: RemakeSwap) -> str: ...

    def make_swap_file(self, step: MakeSwapFile) -> str: ...

    def repair(self, step: RepairGuest) -> str: ...

    # promise-broken. In use, the guest reads all of it back itself: see conclude().

    def confirm_swap(self, step: RemakeSwap) -> None: ...

    def confirm_swap_file(self, step: MakeSwapFile) -> None: ...

    def confirm_repair(self, step: RepairGuest) -> None: ...

    def conclude(self, step: str) -> None:
        """After the last step of the plan a running guest reads everything back itself."""
        ...
