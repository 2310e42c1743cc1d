"""grow-pv: the physical volume takes all of its device (pvresize)."""

from __future__ import annotations

from typing import ClassVar

from growdisk.fast_dataclass import dataclass
from growdisk.guest_scripts.script_plan import GuestLayer
from growdisk.steps.device_path import DevicePath
from growdisk.steps.failures import verify_failed, volumes_changed
from growdisk.steps.step_traits import OpenedTraits
from growdisk.steps.worker import DiskView, Worker
from growdisk.units import format_change
from growdisk.workflow.step import AlreadyDone, Blocked, Check, Evidence, Ready, Scope


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
        context.grow_pv(self)
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
