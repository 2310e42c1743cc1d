"""grow-lv: a logical volume takes free extents of its group (lvextend)."""

from __future__ import annotations

from typing import ClassVar

from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.volume_group import LogicalVolume
from growdisk.steps.context import RunContext
from growdisk.steps.device_path import DevicePath
from growdisk.steps.failures import VerifyFailed, VolumesChanged
from growdisk.steps.grow_pv import owner_of, read_group
from growdisk.units import format_change
from growdisk.workflow.step import AlreadyDone, Blocked, Check, Evidence, Ready, Scope


@dataclass(frozen=True)
class GrowLogicalVolume:
    """The volume with `uuid` in `group`, whose physical volume is at `place`, to `extents` extents."""

    place: DevicePath
    group: str
    volume: str
    uuid: str
    old_extents: int
    extents: int
    extent_size: int
    suffix: str = ""

    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.CONTENT})

    @property
    def name(self) -> str:
        return f"grow-lv{self.suffix}"

    def describe(self) -> str:
        return f"logical volume {self.group}/{self.volume} {self._sizes}"

    @property
    def _sizes(self) -> str:
        old, new = self.old_extents * self.extent_size, self.extents * self.extent_size
        return format_change(old, new)

    def check(self, context: RunContext) -> Check:
        volume = self._volume(context)
        if volume is None:
            return Blocked(VolumesChanged(f"{self.group}/{self.volume}", found="none"))
        if volume.extents == self.extents:
            return AlreadyDone(f"it has {self.extents} extents already")
        return Ready()

    def apply(self, context: RunContext) -> Evidence:
        owner = owner_of(context, self.place)
        with context.hands.volumes("growing the logical volume") as appliance:
            appliance.volumes.grow_logical_volume(self.group, self.volume, self.extents, owner)
            appliance.sync()
        return Evidence(self._sizes)

    def verify(self, context: RunContext, evidence: Evidence) -> None:
        """LVM's metadata on the image, by our own reader."""
        volume = self._volume(context)
        found = volume.extents if volume else None
        if found != self.extents:
            raise VerifyFailed(self.name, found=f"{found} extents", expected=f"{self.extents} extents")

    def _volume(self, context: RunContext) -> LogicalVolume | None:
        group = read_group(context, self.place)
        return next((v for v in group.logical_volumes if v.uuid == self.uuid), None) if group else None
