"""What stands in a partition, through encrypted containers that open and logical volumes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import dataclass, replace
from growdisk.filesystems.content import Content, LuksContent, PhysicalVolumeContent
from growdisk.filesystems.identify import identify
from growdisk.filesystems.lvm import VolumeGroupUnreadable
from growdisk.filesystems.volume_group import VolumeGroup
from growdisk.volumes.keyring import Keyring
from growdisk.volumes.lvm import LogicalVolumeView, PhysicalVolumeFinder, is_readable

_DEPTH = 4  # LUKS in LVM in LUKS is the most that anybody has


def look_inside(
    device: BlockDevice, keyring: Keyring, pv_finder: PhysicalVolumeFinder
) -> Content | None:
    """As identify(), with what is inside.

    What does not open with the keys that there are stays closed; what a volume group has elsewhere
    is looked for among `neighbours`.
    """
    return _Looker(keyring, pv_finder).content(device, 0)


def views_inside(
    node: str, device: BlockDevice, keyring: Keyring, pv_finder: PhysicalVolumeFinder
) -> Iterator[tuple[str, BlockDevice, Content]]:
    """What can be mounted in it, at any depth: the appliance's device name, a device to read from.

    A container that stays closed is one of them, with its LuksContent.
    """
    return _Looker(keyring, pv_finder).views(node, device, 0)


@dataclass(frozen=True)
class _Looker:
    """Looks into containers and groups; `depth` of them are around what it looks at."""

    keyring: Keyring
    pv_finder: PhysicalVolumeFinder

    def content(self, device: BlockDevice, depth: int) -> Content | None:
        content = identify(device)
        if depth < _DEPTH and isinstance(content, PhysicalVolumeContent):
            return self._with_volumes(device, content, depth)
        if depth < _DEPTH and isinstance(content, LuksContent):
            return self._with_payload(device, content, depth)
        return content

    def views(
        self, node: str, device: BlockDevice, depth: int
    ) -> Iterator[tuple[str, BlockDevice, Content]]:
        content = identify(device)
        if depth < _DEPTH and isinstance(content, PhysicalVolumeContent):
            # Without a group (none yet, or one that cannot be read) there is nothing inside.
            if content.group is not None:
                yield from self._volume_views(device, content.group, depth)
        elif (
            depth < _DEPTH
            and isinstance(content, LuksContent)
            and (view := self._opened(device)) is not None
        ):
            # The name that the appliance gives it: steps open it there by the same rule.
            yield from self.views(f"/dev/mapper/growdisk-{content.uuid}", view, depth + 1)
        elif content is not None:
            yield node, device, content

    def _volume_views(
        self, device: BlockDevice, group: VolumeGroup, depth: int
    ) -> Iterator[tuple[str, BlockDevice, Content]]:
        try:
            devices = self.pv_finder.of(group, device)
        except VolumeGroupUnreadable:
            return
        for name, view in _volumes(group, devices):
            yield from self.views(f"/dev/{group.name}/{name}", view, depth + 1)

    def _opened(self, device: BlockDevice) -> BlockDevice | None:
        from growdisk.volumes.luks import LuksUnreadable, UnknownCipher, read_luks_header

        if self.keyring.is_empty:
            return None
        try:
            return self.keyring.open(device, read_luks_header(device))
        except (LuksUnreadable, UnknownCipher):
            return None

    def _with_volumes(
        self, device: BlockDevice, content: PhysicalVolumeContent, depth: int
    ) -> Content:
        group = content.group
        if group is None:
            return content
        try:
            devices = self.pv_finder.of(group, device)
        except VolumeGroupUnreadable as error:
            return replace(content, unreadable=str(error))
        beside = tuple(key for key in devices if key != group.own)
        views = _volumes(group, devices)
        volumes = tuple((name, self.content(view, depth + 1)) for name, view in views)
        return replace(content, beside=beside, volumes=volumes)

    def _with_payload(self, device: BlockDevice, content: LuksContent, depth: int) -> Content:
        from growdisk.volumes.luks import LuksUnreadable, UnknownCipher, read_luks_header

        try:
            header = read_luks_header(device)
            # Kept even if no key opens it: a plan has to know where the payload lies.
            content = replace(
                content,
                size=max(device.size - header.payload, 0),
                payload=header.payload,
                fixed=header.fixed,
                sector_size=header.sector_size,
                tried=not self.keyring.is_empty,
                registers=header.registers,
            )
            view = None if self.keyring.is_empty else self.keyring.open(device, header)
            if view is None:
                return content
            return replace(content, unlocked=True, inside=self.content(view, depth + 1))
        except LuksUnreadable as error:
            return replace(content, fixed=str(error), cure=error.cure)
        except UnknownCipher as error:
            return replace(content, fixed=str(error))


def _volumes(
    group: VolumeGroup, devices: Mapping[str, BlockDevice]
) -> Iterator[tuple[str, LogicalVolumeView]]:
    """Those that can be read, by their names."""
    for volume in group.visible:
        if is_readable(volume, devices):
            yield volume.name, LogicalVolumeView(devices, group, volume)
