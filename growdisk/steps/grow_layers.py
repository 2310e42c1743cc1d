"""The steps that grow what a file system lies in: a LUKS container, LVM's volumes."""

from __future__ import annotations

from typing import ClassVar

from growdisk.fast_dataclass import dataclass
from growdisk.guest_scripts.script_plan import GuestLayer
from growdisk.steps.device_path import DevicePath, LuksLayer, LvLayer
from growdisk.steps.failures import verify_failed, volumes_changed
from growdisk.steps.step_traits import StepTraits
from growdisk.steps.worker import DiskView, Worker
from growdisk.units import format_change, format_size
from growdisk.workflow.step import AlreadyDone, Blocked, Check, Evidence, Ready


class LayerStep(StepTraits):
    """The base of steps that grow a layer at `place`, as a kernel has it open."""

    verb: ClassVar[str]
    programs: ClassVar[tuple[str, ...]] = ()
    needs_kernel: ClassVar[bool] = True
    place: DevicePath

    @property
    def name(self) -> str:
        return f"{self.verb}{self.suffix}"

    @property
    def works_at(self) -> DevicePath:
        return self.place

    @property
    def kernel_tools(self) -> tuple[str, ...]:
        return (*self.programs, *self.place.openers)

    @property
    def opens(self) -> DevicePath:
        """Where that which it makes larger stands open, for what lies in it."""
        return self.place

    @property
    def opens_group(self) -> str:
        """The UUID of the volume group whose physical volume it makes larger; "" if it is none."""
        return ""

    def guest_layer(self, group: str) -> GuestLayer:
        """The same for guest scripts; `group` is the UUID of its volume group, or ""."""
        raise NotImplementedError


@dataclass(frozen=True)
class GrowLuks(LayerStep):
    """`place` is the container's content, `new_size` what it will have.

    `running`: a running guest has it open.
    """

    place: DevicePath
    old_size: int
    new_size: int
    suffix: str = ""
    running: bool = False

    verb: ClassVar[str] = "grow-luks"

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
            raise verify_failed(self.name, f"{expected} bytes", f"{self.new_size} bytes")

    def has_begun(self, context: DiskView) -> bool:
        return context.device(self.place).size > self.old_size


@dataclass(frozen=True)
class LvmStep(LayerStep):
    """The base of LVM's, which count in extents: from `old_extents` to `extents`.

    `place` is that of a physical volume of `group`; `uuid` is of what grows.
    """

    place: DevicePath
    group: str
    uuid: str
    old_extents: int
    extents: int
    extent_size: int

    programs: ClassVar[tuple[str, ...]] = ("lvm",)

    def extents_now(self, context: DiskView) -> int | None:
        """By our own reader of LVM's metadata; None if it is not there any more."""
        raise NotImplementedError

    @property
    def new_size(self) -> int:
        return self.extents * self.extent_size

    @property
    def sizes(self) -> str:
        return format_change(self.old_extents * self.extent_size, self.new_size)

    def in_words(self, what: str) -> str:
        return f"{what} {self.sizes}{', in use' if self.running else ''}"

    def verify(self, context: DiskView, evidence: Evidence) -> None:
        if (found := self.extents_now(context)) != self.extents:
            raise verify_failed(self.name, f"{found} extents", f"{self.extents} extents")

    def has_begun(self, context: DiskView) -> bool:
        found = self.extents_now(context)
        return found is None or found > self.old_extents


@dataclass(frozen=True)
class GrowPhysicalVolume(LvmStep):
    """grow-pv: the physical volume takes all of its device. `uuid` is the group's.

    `running`: it is a running guest's, in use.
    """

    suffix: str = ""
    running: bool = False

    verb: ClassVar[str] = "grow-pv"

    @property
    def opens_group(self) -> str:
        return self.uuid

    def guest_layer(self, group: str) -> GuestLayer:
        return GuestLayer("pv", "", self.group, extents=self.extents)

    def described(self, disk: str) -> str:
        return self.in_words(f"physical volume on {self.place.name_on(disk)} (group {self.group})")

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
        return Evidence(self.sizes)

    def extents_now(self, context: DiskView) -> int | None:
        group = context.group(self.place)
        return group.own_volume.pe_count if group and group.uuid == self.uuid else None


@dataclass(frozen=True)
class GrowLogicalVolume(LvmStep):
    """grow-lv: the volume takes free extents of its group.

    `running`: of a running guest, in use.
    """

    volume: str
    suffix: str = ""
    running: bool = False

    verb: ClassVar[str] = "grow-lv"

    @property
    def layer(self) -> LvLayer:
        return LvLayer(self.group, self.volume)

    @property
    def opens(self) -> DevicePath:
        # `place` is the group's physical volume: the volume lies one layer further in.
        return self.place.within_volume(self.group, self.volume)

    def guest_layer(self, group: str) -> GuestLayer:
        # Device-mapper's UUID of a volume is LVM-, the group's and the volume's.
        uuid = f"{group}{self.uuid}".replace("-", "")
        return GuestLayer("lv", uuid, self.layer.name, self.new_size, self.extents)

    def described(self, disk: str) -> str:
        return self.in_words(f"logical volume {self.layer.name}")

    def check(self, context: DiskView) -> Check:
        extents = self.extents_now(context)
        if extents is None:
            return Blocked(volumes_changed(self.layer.name, found="none"))
        # LVM's metadata come first: after a crash in between the kernel has the old size.
        if extents == self.extents and self._kernel_size(context) == self.new_size:
            return AlreadyDone(f"it has {self.extents} extents already")
        return Ready()

    def apply(self, context: Worker) -> Evidence:
        context.grow_lv(self.name, self.place, self.layer, self.extents)
        return Evidence(self.sizes)

    def verify(self, context: DiskView, evidence: Evidence) -> None:
        """If a kernel has the volume open, its size must be right there too."""
        super().verify(context, evidence)
        if (size := self._kernel_size(context)) != self.new_size:
            raise verify_failed(self.name, found=f"{size} bytes", expected=f"{self.new_size} bytes")

    def extents_now(self, context: DiskView) -> int | None:
        group = context.group(self.place)
        volumes = group.logical_volumes if group else ()
        return next((volume.extents for volume in volumes if volume.uuid == self.uuid), None)

    def _kernel_size(self, context: DiskView) -> int:
        """The new size, too, if no kernel is to be asked."""
        size = context.kernel_size(self.opens)
        return self.new_size if size is None else size
