"""The steps that grow what lies around a file system: a LUKS container, LVM's volumes."""

from __future__ import annotations

from typing import ClassVar

from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.volume_group import LogicalVolume
from growdisk.guest_scripts.script_plan import GuestLayer
from growdisk.steps.device_path import DevicePath, LuksLayer, LvLayer
from growdisk.steps.failures import verify_failed, volumes_changed
from growdisk.steps.step_traits import OpenedTraits
from growdisk.steps.worker import DiskView, Worker
from growdisk.units import format_change, format_size
from growdisk.workflow.step import AlreadyDone, Blocked, Check, Evidence, Ready, Scope


@dataclass(frozen=True)
class GrowLuks(OpenedTraits):
    """`place` is the container's content, `new_size` what it will have.

    `running`: a running guest has it open.
    """

    place: DevicePath
    old_size: int
    new_size: int
    suffix: str = ""
    running: bool = False

    touches: ClassVar[frozenset[Scope]] = frozenset()

    @property
    def name(self) -> str:
        return f"grow-luks{self.suffix}"

    @property
    def uuid(self) -> str:
        """The container's own."""
        layer = self.place.innermost
        assert isinstance(layer, LuksLayer), self.place
        return layer.uuid

    def guest_layer(self, group: str) -> GuestLayer:
        # The id is what device-mapper has in its UUID: without hyphens.
        return GuestLayer("luks", self.uuid.replace("-", ""), self.place.name, self.new_size)

    def described(self, disk: str) -> str:
        words = f"{self.place.name_on(disk)} {format_change(self.old_size, self.new_size)}"
        return f"{words}, open as it is" if self.running else words

    def check(self, context: DiskView) -> Check:
        if not self.running:
            return Ready()  # in every process that goes on it has to be opened again
        size = context.device(self.place).size
        return (
            AlreadyDone(f"it has {format_size(size)} already") if size >= self.new_size else Ready()
        )

    def apply(self, context: Worker) -> Evidence:
        facts = context.grow_luks(self.name, self.place)
        opened = "" if self.running else "opened, "
        return Evidence(
            f"{opened}{format_change(self.old_size, int(facts.get('size', self.new_size)))}", facts
        )

    def verify(self, context: DiskView, evidence: Evidence) -> None:
        """By our own reader of the header, or the guest's kernel.

        If a kernel opened it here, the size that it reported must be the same.
        """
        found = context.device(self.place).size
        expected = evidence.facts.get("size", found)
        # All three: our reader of the header, the plan, and the kernel if one was asked.
        if not found == self.new_size == expected:
            raise verify_failed(
                self.name, found=f"{expected} bytes", expected=f"{self.new_size} bytes"
            )

    def has_begun(self, context: DiskView) -> bool:
        return context.device(self.place).size > self.old_size


@dataclass(frozen=True)
class GrowPhysicalVolume(OpenedTraits):
    """Grow the physical volume at `place`, of the group `uuid`, to `extents` extents.

    An extent has `extent_size` bytes. `running`: it is a running guest's, in use.
    """

    place: DevicePath
    group: str
    uuid: str
    old_extents: int
    extents: int
    extent_size: int
    suffix: str = ""
    running: bool = False

    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.CONTENT})
    programs: ClassVar[tuple[str, ...]] = ("lvm",)

    @property
    def name(self) -> str:
        return f"grow-pv{self.suffix}"

    @property
    def opens_group(self) -> str:
        return self.uuid

    def guest_layer(self, group: str) -> GuestLayer:
        return GuestLayer("pv", "", self.group, extents=self.extents)

    def described(self, disk: str) -> str:
        words = f"physical volume on {self.place.name_on(disk)} (group {self.group}) {self._sizes}"
        return f"{words}, in use" if self.running else words

    @property
    def _sizes(self) -> str:
        old, new = self.old_extents * self.extent_size, self.extents * self.extent_size
        return format_change(old, new)

    def check(self, context: DiskView) -> Check:
        group = context.group(self.place)
        # Also None if the copies of the metadata do not agree: nothing is written to such a group.
        if group is None or group.uuid != self.uuid:
            return Blocked(volumes_changed(self.group, found=group.name if group else "none"))
        if group.own_volume.pe_count == self.extents:
            return AlreadyDone(f"it fills {self.place.name_on(context.disk_name)} already")
        return Ready()

    def apply(self, context: Worker) -> Evidence:
        context.grow_pv(self.name, self.place)
        return Evidence(self._sizes)

    def verify(self, context: DiskView, evidence: Evidence) -> None:
        """LVM's metadata on the disk, by our own reader."""
        group = context.group(self.place)
        found = group.own_volume.pe_count if group and group.uuid == self.uuid else None
        if found != self.extents:
            raise verify_failed(
                self.name, found=f"{found} extents", expected=f"{self.extents} extents"
            )

    def has_begun(self, context: DiskView) -> bool:
        group = context.group(self.place)
        return group is None or group.own_volume.pe_count > self.old_extents


@dataclass(frozen=True)
class GrowLogicalVolume(OpenedTraits):
    """The volume with `uuid` in `group`, whose physical volume is at `place`, to `extents` extents.

    `running`: of a running guest, in use.
    """

    place: DevicePath
    group: str
    volume: str
    uuid: str
    old_extents: int
    extents: int
    extent_size: int
    suffix: str = ""
    running: bool = False

    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.CONTENT})
    programs: ClassVar[tuple[str, ...]] = ("lvm",)

    @property
    def name(self) -> str:
        return f"grow-lv{self.suffix}"

    @property
    def opens(self) -> DevicePath:
        # `place` is the group's physical volume: the volume lies one layer further in.
        return self.place.within_volume(self.group, self.volume)

    def guest_layer(self, group: str) -> GuestLayer:
        # Device-mapper's UUID of a volume is LVM-, the group's and the volume's.
        uuid = f"{group}{self.uuid}".replace("-", "")
        name = f"{self.group}/{self.volume}"
        return GuestLayer("lv", uuid, name, self._new_size, self.extents)

    def described(self, disk: str) -> str:
        words = f"logical volume {self.group}/{self.volume} {self._sizes}"
        return f"{words}, in use" if self.running else words

    @property
    def _sizes(self) -> str:
        return format_change(self.old_extents * self.extent_size, self._new_size)

    @property
    def _new_size(self) -> int:
        return self.extents * self.extent_size

    def check(self, context: DiskView) -> Check:
        volume = self._volume(context)
        if volume is None:
            return Blocked(volumes_changed(f"{self.group}/{self.volume}", found="none"))
        # LVM writes its metadata before the kernel gets the new mapping: a crash in between leaves
        # the kernel with the old size.
        if volume.extents == self.extents and self._kernel_size(context) == self._new_size:
            return AlreadyDone(f"it has {self.extents} extents already")
        return Ready()

    def apply(self, context: Worker) -> Evidence:
        context.grow_lv(self.name, self.place, LvLayer(self.group, self.volume), self.extents)
        return Evidence(self._sizes)

    def verify(self, context: DiskView, evidence: Evidence) -> None:
        """By our own reader of LVM's metadata.

        If a kernel has the volume open, its size must be right there too.
        """
        volume = self._volume(context)
        found = volume.extents if volume else None
        if found != self.extents:
            raise verify_failed(
                self.name, found=f"{found} extents", expected=f"{self.extents} extents"
            )
        if (size := self._kernel_size(context)) != self._new_size:
            raise verify_failed(
                self.name, found=f"{size} bytes", expected=f"{self._new_size} bytes"
            )

    def has_begun(self, context: DiskView) -> bool:
        volume = self._volume(context)
        return volume is None or volume.extents > self.old_extents

    def _kernel_size(self, context: DiskView) -> int:
        """The new size, too, if no kernel is to be asked."""
        size = context.kernel_size(self.opens)
        return self._new_size if size is None else size

    def _volume(self, context: DiskView) -> LogicalVolume | None:
        group = context.group(self.place)
        return (
            next((v for v in group.logical_volumes if v.uuid == self.uuid), None) if group else None
        )
