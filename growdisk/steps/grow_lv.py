"""grow-lv: a logical volume takes free extents of its group (lvextend)."""

from __future__ import annotations

from typing import ClassVar

from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.volume_group import LogicalVolume
from growdisk.guest_scripts.script_plan import GuestLayer
from growdisk.steps.device_path import DevicePath
from growdisk.steps.failures import verify_failed, volumes_changed
from growdisk.steps.step_traits import OpenedTraits
from growdisk.steps.worker import DiskView, Worker
from growdisk.units import format_change
from growdisk.workflow.step import AlreadyDone, Blocked, Check, Evidence, Ready, Scope


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
        context.grow_lv(self)
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
