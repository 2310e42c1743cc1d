"""grow-pv: the physical volume takes all of its device (pvresize)."""

from __future__ import annotations

from typing import ClassVar

from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.lvm import VolumeGroupUnreadable, read_volume_group
from growdisk.filesystems.volume_group import VolumeGroup
from growdisk.steps.context import RunContext
from growdisk.steps.device_path import DevicePath, look_at, neighbours_of
from growdisk.steps.failures import VerifyFailed, VolumesChanged
from growdisk.units import format_change
from growdisk.workflow.step import AlreadyDone, Blocked, Check, Evidence, Ready, Scope


@dataclass(frozen=True)
class GrowPhysicalVolume:
    """The physical volume at `place`, of the group with `uuid`, to `extents` extents of `extent_size` bytes."""

    place: DevicePath
    group: str
    uuid: str
    old_extents: int
    extents: int
    extent_size: int
    suffix: str = ""

    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.CONTENT})

    @property
    def name(self) -> str:
        return f"grow-pv{self.suffix}"

    def describe(self) -> str:
        return f"physical volume on {self.place.name} (group {self.group}) {self._sizes}"

    @property
    def _sizes(self) -> str:
        old, new = self.old_extents * self.extent_size, self.extents * self.extent_size
        return format_change(old, new)

    def check(self, context: RunContext) -> Check:
        group = read_group(context, self.place)
        if group is None or group.uuid != self.uuid:
            return Blocked(VolumesChanged(self.group, found=group.name if group else "none"))
        if group.own_volume.pe_count == self.extents:
            return AlreadyDone(f"it fills {self.place.name} already")
        return Ready()

    def apply(self, context: RunContext) -> Evidence:
        owner = owner_of(context, self.place)
        with context.hands.volumes("growing the physical volume") as appliance:
            appliance.volumes.grow_physical_volume(self.place.device, owner)
            appliance.sync()
        return Evidence(self._sizes)

    def verify(self, context: RunContext, evidence: Evidence) -> None:
        """LVM's metadata on the image, by our own reader."""
        group = read_group(context, self.place)
        found = group.own_volume.pe_count if group and group.uuid == self.uuid else None
        if found != self.extents:
            raise VerifyFailed(self.name, found=f"{found} extents", expected=f"{self.extents} extents")


def owner_of(context: RunContext, place: DevicePath) -> str:
    """The system ID of the group there; "" where it has none."""
    group = read_group(context, place)
    return group.system_id if group else ""


def read_group(context: RunContext, place: DevicePath) -> VolumeGroup | None:
    """The group that the physical volume at `place` belongs to, as the images have it: None also where its other
    physical volumes say something else."""
    size = context.hands.sector_size
    try:
        device = look_at(context.disk, place, context.hands.keyring, size)
        group = read_volume_group(device)
        if group is not None:
            neighbours_of(context.disk, size).of(group, device)
    except VolumeGroupUnreadable:
        return None
    return group
