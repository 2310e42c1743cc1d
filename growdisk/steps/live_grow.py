"""grow-luks, grow-pv, grow-lv and grow-filesystem in a running guest: everything inside the partition, in use.

The guest's grow script does one layer at a time; what it did is read back through the guest's block devices by our own
readers. Nothing of this can be taken back while it is in use, but by a snapshot of the whole guest.
"""

from __future__ import annotations

from typing import ClassVar

from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.volume_group import LogicalVolume, VolumeGroup
from growdisk.guest_scripts.script_plan import Phase
from growdisk.steps.failures import FilesystemChanged, VerifyFailed, VolumesChanged
from growdisk.steps.grow_filesystem_at import GrowFilesystemAt
from growdisk.steps.grow_luks import GrowLuks
from growdisk.steps.grow_lv import GrowLogicalVolume
from growdisk.steps.grow_pv import GrowPhysicalVolume
from growdisk.steps.live_context import LiveContext
from growdisk.steps.live_steps import conclude
from growdisk.units import format_change, format_size
from growdisk.workflow.step import AlreadyDone, Blocked, Check, Evidence, Ready, Scope

_LAST_GROUP = 128 << 20
_BTRFS = "btrfs"


@dataclass(frozen=True)
class LiveGrowLuks:
    """The open container reaches to the new end of its partition.

    For the guest's script: `number` is the layer's, `growth` that of the file system in the guest plan.
    """

    planned: GrowLuks
    number: int
    growth: int = 0

    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.CONTENT})

    @property
    def name(self) -> str:
        return self.planned.name

    def describe(self) -> str:
        return f"{self.planned.describe()}, open as it is"

    def check(self, context: LiveContext) -> Check:
        size = context.opened(self.planned.place).size
        return AlreadyDone(f"it has {format_size(size)} already") if size >= self.planned.new_size else Ready()

    def apply(self, context: LiveContext) -> Evidence:
        context.run(Phase.GROW, growth=self.growth, up_to=self.number)
        return Evidence(format_change(self.planned.old_size, self.planned.new_size))

    def verify(self, context: LiveContext, evidence: Evidence) -> None:
        size = context.opened(self.planned.place).size
        if size != self.planned.new_size:
            raise VerifyFailed(self.name, found=f"{size} bytes", expected=f"{self.planned.new_size} bytes")

    def has_begun(self, context: LiveContext) -> bool:
        return context.opened(self.planned.place).size > self.planned.old_size


@dataclass(frozen=True)
class LiveGrowPhysicalVolume:
    """pvresize, by the guest."""

    planned: GrowPhysicalVolume
    number: int
    growth: int = 0

    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.CONTENT})

    @property
    def name(self) -> str:
        return self.planned.name

    def describe(self) -> str:
        return f"{self.planned.describe()}, in use"

    def check(self, context: LiveContext) -> Check:
        group = self._group(context)
        if group is None or group.uuid != self.planned.uuid:
            return Blocked(VolumesChanged(self.planned.group, found=group.name if group else "none"))
        if group.own_volume.pe_count == self.planned.extents:
            return AlreadyDone(f"it fills {self.planned.place.name} already")
        return Ready()

    def apply(self, context: LiveContext) -> Evidence:
        context.run(Phase.GROW, growth=self.growth, up_to=self.number)
        return Evidence(f"{self.planned.old_extents} -> {self.planned.extents} extents")

    def verify(self, context: LiveContext, evidence: Evidence) -> None:
        group = self._group(context)
        found = group.own_volume.pe_count if group and group.uuid == self.planned.uuid else None
        if found != self.planned.extents:
            raise VerifyFailed(self.name, found=f"{found} extents", expected=f"{self.planned.extents} extents")

    def has_begun(self, context: LiveContext) -> bool:
        group = self._group(context)
        return group is None or group.own_volume.pe_count > self.planned.old_extents

    def _group(self, context: LiveContext) -> VolumeGroup | None:
        return context.group(self.planned.place)


@dataclass(frozen=True)
class LiveGrowLogicalVolume:
    """lvextend, by the guest."""

    planned: GrowLogicalVolume
    number: int
    growth: int = 0

    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.CONTENT})

    @property
    def name(self) -> str:
        return self.planned.name

    def describe(self) -> str:
        return f"{self.planned.describe()}, in use"

    def check(self, context: LiveContext) -> Check:
        volume = self._volume(context)
        if volume is None:
            return Blocked(VolumesChanged(f"{self.planned.group}/{self.planned.volume}", found="none"))
        if volume.extents == self.planned.extents and self._size(context) == self._wanted:
            return AlreadyDone(f"it has {self.planned.extents} extents already")
        return Ready()

    def apply(self, context: LiveContext) -> Evidence:
        context.run(Phase.GROW, growth=self.growth, up_to=self.number)
        return Evidence(f"{self.planned.old_extents} -> {self.planned.extents} extents")

    def verify(self, context: LiveContext, evidence: Evidence) -> None:
        """LVM's metadata by our own reader, and the size that the guest's kernel gives the volume."""
        volume = self._volume(context)
        found = (volume.extents if volume else None, self._size(context))
        if found != (self.planned.extents, self._wanted):
            raise VerifyFailed(self.name, found=f"{found}", expected=f"{self.planned.extents} extents")

    def has_begun(self, context: LiveContext) -> bool:
        volume = self._volume(context)
        return volume is None or volume.extents > self.planned.old_extents

    @property
    def _wanted(self) -> int:
        return self.planned.extents * self.planned.extent_size

    def _size(self, context: LiveContext) -> int:
        return context.opened(self.planned.place.within_volume(self.planned.group, self.planned.volume)).size

    def _volume(self, context: LiveContext) -> LogicalVolume | None:
        group = context.group(self.planned.place)
        return next((v for v in group.logical_volumes if v.uuid == self.planned.uuid), None) if group else None


@dataclass(frozen=True)
class LiveGrow:
    """grow-filesystem: the mounted file system is grown. A file system in use cannot be made smaller again."""

    planned: GrowFilesystemAt
    last: bool
    growth: int = 0

    touches: ClassVar[frozenset[Scope]] = frozenset({Scope.CONTENT})

    @property
    def name(self) -> str:
        return self.planned.name

    def describe(self) -> str:
        return f"{self.planned.describe()}, mounted"

    def check(self, context: LiveContext) -> Check:
        content = context.content(self.planned.place)
        if content is None or content.uuid != self.planned.uuid:
            found = content.kind if content else "nothing"
            return Blocked(FilesystemChanged(self.planned.number, found=found))
        return Ready()  # whether there is something left to grow is what the guest's own tool finds out

    def apply(self, context: LiveContext) -> Evidence:
        context.run(Phase.GROW, growth=self.growth)
        content = context.content(self.planned.place)
        grown = content.size if content and content.size else self.planned.new_size
        return Evidence(format_change(self.planned.old_size, grown), {"size": grown})

    def verify(self, context: LiveContext, evidence: Evidence) -> None:
        """By the superblock. A mounted file system may stop short of what one at rest grows to: a group at most."""
        content = context.content(self.planned.place)
        size = (content.size or 0) if content else 0
        if content is None or content.uuid != self.planned.uuid or size < self.planned.new_size - self._slack:
            raise VerifyFailed(self.name, found=f"{size} bytes", expected=f"{self.planned.new_size} bytes")
        conclude(context, last=self.last)

    def has_begun(self, context: LiveContext) -> bool:
        content = context.content(self.planned.place)
        return content is None or (content.size or 0) > self.planned.old_size

    @property
    def _slack(self) -> int:
        return _LAST_GROUP if self.planned.kind != _BTRFS else 0


LiveLayer = LiveGrowLuks | LiveGrowPhysicalVolume | LiveGrowLogicalVolume | LiveGrow
LIVE_LAYERS = (LiveGrowLuks, LiveGrowPhysicalVolume, LiveGrowLogicalVolume, LiveGrow)
