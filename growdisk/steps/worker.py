"""What a step works with: a view of the disk, to read, and a worker, who does what it decides.

    at rest     worker_at_rest.py   our own engine reads; this machine's tools, or an appliance,
                                    write
    running     live_worker.py      our readers look through the guest's devices; QEMU and scripts
                                    in the guest write

To the engine (workflow/) it is the `context` of a step, of which it knows nothing.

A step decides and judges, and knows of both only this; they know no steps, only values. What is
different between the two is a method here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import Content
from growdisk.filesystems.volume_group import VolumeGroup
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.partitions.table import PartitionTable
from growdisk.steps.device_path import DevicePath, LvLayer
from growdisk.steps.moving import Move

BackendKind = Literal["guestfs", "uml", "direct"]
"""libguestfs's appliance, a kernel that runs as a program, host tools."""

PartitionExtents = dict[int, tuple[int, int]]
"""Partitions as somebody sees them: number to start and size, in bytes."""

Decisions = Sequence[tuple[RemovedPartition, SwapRemedy]]
"""What is gone, and what the guest has instead."""

WorkFacts = dict[str, int | str]
"""Of an Evidence: what `verify` needs of the work."""


@dataclass(frozen=True)
class SwapSpace:
    """Swap on partition `number`, bytes [start, start+size) of the disk, with its old identity.

    That is its UUID, its label, and the size of the guest's pages.
    """

    number: int
    start: int
    size: int
    uuid: str
    label: str
    page_size: int = 4096


class GuestWorker(Protocol):
    """What is done in the guest: `confirm_` raises promise-broken.

    In use the guest's own scripts look for what is there already, and read all of it back at the
    end: see Worker.conclude().
    """

    def has_swap(self, swaps: Sequence[SwapSpace]) -> bool:
        """Whether all of it is there. False in use."""

    def make_swap(self, swaps: Sequence[SwapSpace]) -> str: ...

    def confirm_swap(self, swaps: Sequence[SwapSpace]) -> None: ...

    def swap_file_uuid(self, system: str) -> str | None:
        """Of the swap file that is there; "" without one, None without a system. In use "" too."""

    def make_swap_file(self, system: str, size: int, uuid: str, page_size: int) -> str: ...

    def confirm_swap_file(self, system: str) -> None: ...

    def repair(self, system: str, decisions: Decisions, others: Sequence[str]) -> str:
        """`others` are further file systems that the guest's files may be in."""

    def confirm_repair(self, system: str, decisions: Decisions, others: Sequence[str]) -> None: ...


class DiskView(Protocol):
    """The disk as it is now, by our own readers. Sizes are in bytes."""

    @property
    def disk_name(self) -> str:
        """As the guest has it: sda, sdb."""

    @property
    def size(self) -> int:
        """As who works on it sees it: of a running guest, as its kernel does."""

    @property
    def in_guest(self) -> GuestWorker: ...

    def table(self, sector_size: int) -> PartitionTable | None: ...

    def kernel_partitions(self) -> PartitionExtents:
        """The table by another reader: a kernel, or sfdisk."""

    def device(self, place: DevicePath) -> BlockDevice:
        """DeviceNotReadable if it cannot be read."""

    def content(self, place: DevicePath) -> Content | None: ...

    def group(self, place: DevicePath) -> VolumeGroup | None:
        """The group whose physical volume is at `place`.

        None if its metadata cannot be read, or do not agree.
        """

    def kernel_size(self, place: DevicePath) -> int | None:
        """What the kernel that has it open gives it; None at rest, when none has."""

    def accepts(self, kind: str, size: int, planned: int) -> bool:
        """Whether a grown file system may have this size.

        In use, one may stop short of what it grows to at rest.
        """


class Worker(DiskView, Protocol):
    """What does the steps' work, a method for each; words it returns are added to the step's own.

    Raises OperationFailed, and OSError of the host. `step` is the name of the step that grows
    something: a running guest's scripts have their own words for what it is.
    """

    def resize_disk(
        self, old_size: int, new_size: int, *, preallocation: str, restart: bool
    ) -> str:
        """`restart`: the guest may not see its disk's new size without."""

    def grow_device(self, new_size: int) -> None:
        """The host's device below the disk."""

    def confirm_size(self, old_size: int, new_size: int, *, zeros: bool) -> None:
        """promise-broken, or guest-does-not-see. `zeros`: what is new must read as that."""

    def write_table(
        self, before: PartitionTable, after: PartitionTable, moves: Sequence[Move]
    ) -> WorkFacts:
        """No kernel is asked to read it yet. Returns what require_copied needs of the moves."""

    def reread(self, table: PartitionTable) -> str:
        """Makes the other reader look again."""

    def grow_luks(self, step: str, place: DevicePath) -> WorkFacts:
        """Returns the `size` that a kernel gives the container, if it was opened for that."""

    def grow_pv(self, step: str, place: DevicePath) -> None: ...

    def grow_lv(self, step: str, place: DevicePath, volume: LvLayer, extents: int) -> None:
        """`place` is that of its group's physical volume."""

    def grow_filesystem(
        self, step: str, place: DevicePath, kind: str, *, old_size: int, new_size: int
    ) -> str: ...

    def conclude(self, step: str) -> None:
        """After the last step of the plan a running guest reads everything back itself."""
