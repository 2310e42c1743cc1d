"""The worker of a disk at rest: our engine; for the file systems, the backend (run_backend.py)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.backends.ext_check import CheckState
from growdisk.block.device import BlockDevice
from growdisk.errors import OperationFailed
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import BtrfsContent, Content, ExtContent, F2fsContent
from growdisk.filesystems.ext_features import doubt, kernel_can_mount
from growdisk.filesystems.identify import identify
from growdisk.filesystems.lvm import VolumeGroupUnreadable, read_volume_group
from growdisk.filesystems.volume_group import VolumeGroup
from growdisk.partitions.rewriting import gpt_sectors, rewrite
from growdisk.partitions.sectors import apply_changes, read_table
from growdisk.partitions.table import FIRST_DISK, PartitionTable
from growdisk.steps.device_path import DevicePath, LvLayer
from growdisk.steps.disk import Disk
from growdisk.steps.failures import verify_failed
from growdisk.steps.grow_filesystem import is_ext, is_plain_ext
from growdisk.steps.moving import Move, copy, require_copied
from growdisk.steps.place_at_rest import device_at, pv_finder_of
from growdisk.steps.run_backend import RunBackend
from growdisk.steps.table_steps import differences, names_in
from growdisk.steps.worker import PartitionExtents, WorkFacts

if TYPE_CHECKING:
    from growdisk.steps.guest_at_rest import GuestAtRest
    from growdisk.steps.run_backend import Backend

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

    def kernel_partitions(self) -> PartitionExtents:
        with self.run_backend.started("reading the table") as backend:
            return backend.kernel_partitions()

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
                pv_finder_of(self.disk, self.run_backend.sector_size).of(group, device)
        except VolumeGroupUnreadable:
            return None
        return group

    def kernel_size(self, place: DevicePath) -> int | None:
        return None

    def accepts(self, kind: str, size: int, planned: int) -> bool:
        return size == planned

    def resize_disk(
        self, old_size: int, new_size: int, *, preallocation: str, restart: bool
    ) -> str:
        if preallocation != "off":
            # Blocks first: if the host has none left, the disk keeps its old size.
            self.disk.file.reserve(old_size, new_size - old_size)
        self.disk.resize(new_size)
        self.disk.flush()
        return ""

    def grow_device(self, new_size: int) -> None:
        from growdisk.storage.device import resize_device

        resize_device(self.disk.path, new_size)
        # The disk has the size that it had when it was opened: all above it must learn the new one.
        self.disk.base_resized()

    def confirm_size(self, old_size: int, new_size: int, *, zeros: bool) -> None:
        if self.disk.size != new_size:
            raise verify_failed("resize-image", f"{self.disk.size} bytes", f"{new_size} bytes")
        if not zeros:
            return
        # Both ends of the new space, not all of it: it may be terabytes.
        sample = min(_ZERO_SAMPLE, new_size - old_size)
        for offset in (old_size, new_size - sample):
            if any(self.disk.read(offset, sample)):
                raise verify_failed("resize-image", "old bytes in the grown area", "zeros")

    def write_table(
        self, before: PartitionTable, after: PartitionTable, moves: Sequence[Move]
    ) -> WorkFacts:
        # Made before anything is copied: a copy may go over the old chain of logical partitions.
        changes = (
            rewrite(self.disk, self.path, after)
            if before.kind == after.kind
            else gpt_sectors(after, self.disk.read(0, after.sector_size))
        )
        facts: WorkFacts = {"sectors": len(changes)}
        for move in moves:
            facts[move.name] = copy(
                self.disk, move, self.run_backend.check_stop, before.sector_size
            )
        # Compared before the table is switched: until then the guest knows the old places alone.
        require_copied(self.disk, moves, facts)
        apply_changes(self.disk, changes)
        return facts

    def reread(self, table: PartitionTable) -> str:
        with self.run_backend.started("reading the table") as backend:
            if differences(table, backend.kernel_partitions(), self.disk_name):
                backend.reread()
            return f"{backend.table_reader} sees {names_in(table, self.disk_name)}"

    def grow_luks(self, step: str, place: DevicePath) -> WorkFacts:
        activity = f"opening {place.name_on(self.disk_name)}"
        with self.run_backend.volumes(activity, place) as appliance:
            return {"size": appliance.size_of(place.device)}

    def grow_pv(self, step: str, place: DevicePath) -> None:
        owner = self._owner_of(place)
        with self.run_backend.volumes("growing the physical volume", place) as appliance:
            appliance.grow_physical_volume(place.device, owner)
            appliance.sync()

    def grow_lv(self, step: str, place: DevicePath, volume: LvLayer, extents: int) -> None:
        owner = self._owner_of(place)
        grown = place.within_volume(volume.group, volume.volume)
        with self.run_backend.volumes("growing the logical volume", grown) as appliance:
            appliance.grow_logical_volume(volume.group, volume.volume, extents, owner)
            appliance.sync()

    def _owner_of(self, place: DevicePath) -> str:
        """The system ID of the group there; "" if it has none."""
        group = self.group(place)
        return group.system_id if group else ""

    def grow_filesystem(
        self, step: str, place: DevicePath, kind: str, *, old_size: int, new_size: int
    ) -> str:
        plain = is_plain_ext(kind, place.layers)
        with self.run_backend.started("growing the file system", [place]) as backend:
            if is_ext(kind):
                remark = _grow_ext(backend, place, new_size)
            else:
                remark = ""
                self._grow_other(backend, place, kind)
            backend.judge(kind, place.device)
            backend.sync()
        # In an appliance the judge has let its kernel mount it already; host tools cannot.
        if plain:
            self._ask_a_kernel(place, old_size, new_size)
        return remark

    def _grow_other(self, backend: Backend, place: DevicePath, kind: str) -> None:
        content = self.content(place)
        number = content.device_id if isinstance(content, BtrfsContent) else 1
        # fsck.f2fs would cut off what was synced last; a kernel replays it.
        unclean = isinstance(content, F2fsContent) and not content.clean
        backend.grow_filesystem(kind, place.device, number, replay=unclean)

    def _ask_a_kernel(self, place: DevicePath, old_size: int, new_size: int) -> None:
        """Where e2fsck alone is not judge enough, and no kernel has looked yet."""
        content = self.content(place)
        if (
            isinstance(content, ExtContent)
            and doubt(content, new_size, old_size)
            and kernel_can_mount(content)
            and not content.external_journal
        ):
            self.run_backend.let_a_kernel_mount("ext4", place.device)

    @property
    def in_guest(self) -> GuestAtRest:
        # What mends a guest's files is loaded for a run that does it.
        from growdisk.steps.guest_at_rest import GuestAtRest

        return GuestAtRest(self.disk, self.run_backend, self.path)

    def conclude(self, step: str) -> None:
        """Each step has been verified by itself."""


def _grow_ext(backend: Backend, place: DevicePath, new_size: int) -> str:
    check = backend.check_ext(place.device)
    if check.state is CheckState.DAMAGED:
        raise OperationFailed.named(
            "filesystem-broken",
            "the file system on partition {number} has errors that could not be mended",
            'e2fsck could not mend it, and its own words were: "{report}"',
            "mend it from inside or with a rescue system (e2fsck -f), then run growdisk again",
            {"number": place.number, "report": check.last_words},
        )
    backend.resize_ext(place.device, new_size)
    return ", errors mended first" if check.state is CheckState.MENDED else ""
