"""The worker of a disk at rest: our engine; for the file systems, the backend (run_backend.py)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.backends.backend import Backend, CheckState
from growdisk.block.device import BlockDevice
from growdisk.errors import OperationFailed
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import BtrfsContent, Content, ExtContent, F2fsContent
from growdisk.filesystems.ext_features import doubt, kernel_mounts
from growdisk.filesystems.identify import identify
from growdisk.filesystems.lvm import VolumeGroupUnreadable, read_volume_group
from growdisk.filesystems.volume_group import VolumeGroup
from growdisk.partitions.located import SectorChange
from growdisk.partitions.rewriting import gpt_sectors, rewrite
from growdisk.partitions.sectors import apply_changes, read_table
from growdisk.partitions.table import FIRST_DISK, PartitionTable
from growdisk.steps.device_path import DevicePath
from growdisk.steps.disk import Disk
from growdisk.steps.failures import verify_failed
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.grow_luks import GrowLuks
from growdisk.steps.grow_lv import GrowLogicalVolume
from growdisk.steps.grow_pv import GrowPhysicalVolume
from growdisk.steps.moving import copy, require_copied
from growdisk.steps.place_at_rest import device_at, neighbours_of
from growdisk.steps.remake_swap import MakeSwapFile, RemakeSwap
from growdisk.steps.repair_guest import RepairGuest
from growdisk.steps.reread_partitions import RereadPartitions
from growdisk.steps.resize_image import GrowDevice, ResizeImage
from growdisk.steps.rewrite_partitions import RewritePartitions
from growdisk.steps.run_backend import RunBackend
from growdisk.steps.worker import Placed

if TYPE_CHECKING:
    from growdisk.steps.guest_at_rest import GuestAtRest

_ZERO_SAMPLE = 64 << 10


@dataclass(frozen=True)
class WorkerAtRest:
    """Implements Worker (worker.py).

    `path` is the image as the user named it, for messages; `extra_disks` are the run's other disks,
    in their order.
    """

    disk: Disk
    run_backend: RunBackend
    path: Path
    extra_disks: tuple[WorkerAtRest, ...] = ()
    disk_name: str = FIRST_DISK

    @property
    def size(self) -> int:
        return self.disk.size

    def table(self, sector_size: int) -> PartitionTable | None:
        return read_table(self.disk, self.path, sector_size)

    def kernel_partitions(self) -> Placed:
        with self.run_backend.started("reading the table") as backend:
            return _placed(backend)

    def device(self, place: DevicePath) -> BlockDevice:
        return device_at(self.disk, place, self.run_backend.keyring, self.run_backend.sector_size)

    def content(self, place: DevicePath) -> Content | None:
        return identify(self.device(place))

    def group(self, place: DevicePath) -> VolumeGroup | None:
        """None also if the group's other physical volumes say something else."""
        try:
            device = self.device(place)
            group = read_volume_group(device)
            if group is not None:
                # Raises if the copies of the metadata do not agree.
                neighbours_of(self.disk, self.run_backend.sector_size).of(group, device)
        except VolumeGroupUnreadable:
            return None
        return group

    def kernel_size(self, place: DevicePath) -> int | None:
        return None

    def accepts(self, step: GrowFilesystem, size: int) -> bool:
        return size == step.new_size

    def has_swap(self, step: RemakeSwap) -> bool:
        return not step.missing(self)

    def swap_file_uuid(self, step: MakeSwapFile) -> str | None:
        return self._guest.swap_file_uuid(step)

    def resize_disk(self, step: ResizeImage) -> str:
        if step.preallocation != "off":
            # Blocks first: if the host has none left, the disk keeps its old size.
            self.disk.file.reserve(step.old_size, step.new_size - step.old_size)
        self.disk.resize(step.new_size)
        self.disk.flush()
        return ""

    def grow_device(self, step: GrowDevice) -> str:
        from growdisk.storage.growing import resize_device

        resize_device(self.disk.path, step.new_size)
        # The disk still has the size that it had when it was opened: all above it must learn the
        # new one.
        self.disk.base_resized()
        return self.resize_disk(step)

    def confirm_size(self, step: ResizeImage) -> None:
        if self.disk.size != step.new_size:
            raise verify_failed(
                step.name, found=f"{self.disk.size} bytes", expected=f"{step.new_size} bytes"
            )
        if not step.gives_zeros:
            return
        # Both ends of the new space, not all of it: it may be terabytes.
        sample = min(_ZERO_SAMPLE, step.new_size - step.old_size)
        for offset in (step.old_size, step.new_size - sample):
            if any(self.disk.read(offset, sample)):
                raise verify_failed(
                    step.name, found="old bytes in the grown area", expected="zeros"
                )

    def write_table(self, step: RewritePartitions) -> dict[str, int | str]:
        # Made before anything is copied: a copy may go over the old chain of logical partitions.
        changes = self._new_sectors(step)
        facts: dict[str, int | str] = {"sectors": len(changes)}
        for move in step.moves:
            facts[move.name] = copy(
                self.disk, move, self.run_backend.check_stop, step.before.sector_size
            )
        # Compared before the table is switched: until then the guest knows the old places alone.
        require_copied(self.disk, step.moves, facts)
        apply_changes(self.disk, changes)
        return facts

    def _new_sectors(self, step: RewritePartitions) -> tuple[SectorChange, ...]:
        if step.before.kind != step.after.kind:
            return gpt_sectors(step.after, self.disk.read(0, step.after.sector_size))
        return rewrite(self.disk, self.path, step.after)

    def reread(self, step: RereadPartitions) -> str:
        with self.run_backend.started("reading the table") as backend:
            if step.differences(_placed(backend), self.disk_name):
                backend.reread()
            return f"{backend.table_reader} sees {step.names(self.disk_name)}"

    def grow_luks(self, step: GrowLuks) -> dict[str, int | str]:
        with self.run_backend.volumes(f"opening {step.place.name_on(self.disk_name)}") as appliance:
            return {"size": appliance.size_of(step.place.device)}

    def grow_pv(self, step: GrowPhysicalVolume) -> None:
        owner = self._owner_of(step.place)
        with self.run_backend.volumes("growing the physical volume") as appliance:
            appliance.grow_physical_volume(step.place.device, owner)
            appliance.sync()

    def grow_lv(self, step: GrowLogicalVolume) -> None:
        owner = self._owner_of(step.place)
        with self.run_backend.volumes("growing the logical volume") as appliance:
            appliance.grow_logical_volume(step.group, step.volume, step.extents, owner)
            appliance.sync()

    def _owner_of(self, place: DevicePath) -> str:
        """The system ID of the group there; "" if it has none."""
        group = self.group(place)
        return group.system_id if group else ""

    def grow_filesystem(self, step: GrowFilesystem) -> str:
        with self.run_backend.started(
            "growing the file system", inside=not step.is_plain_ext
        ) as backend:
            grow = self._grow_ext if step.is_ext else self._grow_other
            remark = grow(backend, step)
            backend.judge(step.kind, step.place.device)
            backend.sync()
        # In an appliance the judge has let its kernel mount it already; host tools cannot.
        if step.is_plain_ext:
            self._ask_a_kernel(step)
        return remark

    def _grow_ext(self, backend: Backend, step: GrowFilesystem) -> str:
        device = step.place.device
        check = backend.check_ext(device)
        if check.state is CheckState.DAMAGED:
            raise OperationFailed.named(
                "filesystem-broken",
                "the file system on partition {number} has errors that could not be mended",
                'e2fsck could not mend it, and its own words were: "{report}"',
                "mend it from inside or with a rescue system (e2fsck -f), then run growdisk again",
                {"number": step.number, "report": check.last_words},
            )
        backend.resize_ext(device, step.new_size)
        return ", errors mended first" if check.state is CheckState.MENDED else ""

    def _grow_other(self, backend: Backend, step: GrowFilesystem) -> str:
        content = self.content(step.place)
        number = content.device_id if isinstance(content, BtrfsContent) else 1
        # fsck.f2fs would cut off what was synced last; a kernel replays it.
        unclean = isinstance(content, F2fsContent) and not content.clean
        backend.grow_filesystem(step.kind, step.place.device, number, replay=unclean)
        return ""

    def _ask_a_kernel(self, step: GrowFilesystem) -> None:
        """Where e2fsck alone is not judge enough, and no kernel has looked yet."""
        content = self.content(step.place)
        if (
            isinstance(content, ExtContent)
            and doubt(content, step.new_size, step.old_size)
            and kernel_mounts(content)
        ):
            self.run_backend.let_a_kernel_mount("ext4", step.place.device)

    @property
    def _guest(self) -> GuestAtRest:
        # What mends a guest's files is loaded for a run that does it.
        from growdisk.steps.guest_at_rest import GuestAtRest

        return GuestAtRest(self)

    def make_swap(self, step: RemakeSwap) -> str:
        self._guest.make_swap(step)
        return ""

    def make_swap_file(self, step: MakeSwapFile) -> str:
        self._guest.make_swap_file(step)
        return ""

    def repair(self, step: RepairGuest) -> str:
        return self._guest.repair(step)

    def confirm_swap(self, step: RemakeSwap) -> None:
        self._guest.confirm_swap(step)

    def confirm_swap_file(self, step: MakeSwapFile) -> None:
        self._guest.confirm_swap_file(step)

    def confirm_repair(self, step: RepairGuest) -> None:
        self._guest.confirm_repair(step)

    def conclude(self, step: str) -> None:
        """Each step has been verified by itself."""


def _placed(backend: Backend) -> Placed:
    return {number: (start, size) for number, start, size in backend.kernel_partitions()}
