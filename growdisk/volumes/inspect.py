"""What stands in a partition, through encrypted containers that open and logical volumes."""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import NamedTuple, dataclass, replace
from growdisk.filesystems.content import Content, LuksContent, PhysicalVolumeContent
from growdisk.filesystems.identify import identify
from growdisk.filesystems.lvm import VolumeGroupUnreadable
from growdisk.volumes.keyring import Keyring
from growdisk.volumes.lvm import LogicalVolumeView, PhysicalVolumeFinder, is_readable

_DEPTH = 4  # LUKS in LVM in LUKS is the most that anybody has


@dataclass(frozen=True)
class InnerLook:
    """Looks into containers and groups, of which `depth` lie one in the other.

    What no key opens stays closed; `pv_finder` looks for what a group has elsewhere.
    """

    keyring: Keyring
    pv_finder: PhysicalVolumeFinder

    def content(self, device: BlockDevice, depth: int = 0) -> Content | None:
        """As identify(), with what is inside."""
        content, inner = self._opened(device, depth)
        found = tuple((view.name, self.content(view.device, depth + 1)) for view in inner)
        match content:
            case PhysicalVolumeContent():
                return replace(content, volumes=found)
            case LuksContent() if found:
                return replace(content, unlocked=True, inside=found[0][1])
        return content

    def views(
        self, node: str, device: BlockDevice, depth: int = 0
    ) -> Iterator[tuple[str, BlockDevice, Content]]:
        """What can be mounted, or stays closed: the appliance's device name, a device to read."""
        content, inner = self._opened(device, depth)
        for view in inner:
            yield from self.views(view.node, view.device, depth + 1)
        # A group without a volume that can be read has nothing inside.
        if content is not None and not inner and not isinstance(content, PhysicalVolumeContent):
            yield node, device, content

    def _opened(self, device: BlockDevice, depth: int) -> tuple[Content | None, list[_View]]:
        """What is on a device, with all that its metadata say, and what can be read in it."""
        content = identify(device)
        match content:
            case PhysicalVolumeContent() if depth < _DEPTH:
                return self._group(device, content)
            case LuksContent() if depth < _DEPTH:
                return self._container(device, content)
        return content, []

    def _group(
        self, device: BlockDevice, content: PhysicalVolumeContent
    ) -> tuple[Content, list[_View]]:
        group = content.group
        if group is None:
            return content, []
        try:
            devices = self.pv_finder.of(group, device)
        except VolumeGroupUnreadable as error:
            return replace(content, unreadable=str(error)), []
        others = tuple(key for key in devices if key != group.own)
        readable = (volume for volume in group.visible if is_readable(volume, devices))
        views = [
            _View(v.name, f"/dev/{group.name}/{v.name}", LogicalVolumeView(devices, group, v))
            for v in readable
        ]
        return replace(content, other_pvs=others), views

    def _container(self, device: BlockDevice, content: LuksContent) -> tuple[Content, list[_View]]:
        from growdisk.block.sector_cipher import UnknownCipher
        from growdisk.volumes.luks import LuksUnreadable, read_luks_header

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
        except LuksUnreadable as error:
            return replace(content, fixed=str(error), cure=error.cure), []
        except UnknownCipher as error:
            return replace(content, fixed=f"growdisk does not know its cipher, {error}"), []
        # The name that the appliance gives it: steps open it there by the same rule.
        node = f"/dev/mapper/growdisk-{content.uuid}"
        return content, [_View("", node, view)] if view is not None else []


class _View(NamedTuple):
    """`node` is its name in the appliance."""

    name: str
    node: str
    device: BlockDevice
