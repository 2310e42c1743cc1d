"""What stands in a partition, through encrypted containers that open and logical volumes."""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import replace
from growdisk.filesystems.content import Content, LuksContent, PhysicalVolumeContent
from growdisk.filesystems.identify import identify
from growdisk.filesystems.lvm import VolumeGroupUnreadable
from growdisk.volumes.keyring import Keyring
from growdisk.volumes.lv_device import LogicalVolumeView, is_readable
from growdisk.volumes.other_pvs import PhysicalVolumeFinder

_DEPTH = 4  # LUKS in LVM in LUKS is the most that anybody has


def look_inside(
    device: BlockDevice, keyring: Keyring, neighbours: PhysicalVolumeFinder, depth: int = 0
) -> Content | None:
    """As identify(), with what is inside.

    What does not open with the keys that there are stays closed; what a volume group has elsewhere
    is looked for among `neighbours`.
    """
    content = identify(device)
    if depth >= _DEPTH:
        return content
    match content:
        case PhysicalVolumeContent():
            return _with_volumes(device, content, keyring, neighbours, depth)
        case LuksContent():
            return _with_payload(device, content, keyring, neighbours, depth)
    return content


def views_inside(
    node: str,
    device: BlockDevice,
    keyring: Keyring,
    neighbours: PhysicalVolumeFinder,
    depth: int = 0,
) -> Iterator[tuple[str, BlockDevice, Content]]:
    """What can be mounted in it, at any depth: the appliance's device name, a device to read from.

    A container that stays closed is one of them, with its LuksContent.
    """
    content = identify(device)
    if content is None:
        return
    if depth < _DEPTH and isinstance(content, PhysicalVolumeContent):
        yield from _volume_views(device, content, keyring, neighbours, depth)
    elif (
        depth < _DEPTH
        and isinstance(content, LuksContent)
        and (view := _opened(device, keyring)) is not None
    ):
        yield from views_inside(
            f"/dev/mapper/growdisk-{content.uuid}", view, keyring, neighbours, depth + 1
        )
    else:
        yield node, device, content


def _volume_views(
    device: BlockDevice,
    content: PhysicalVolumeContent,
    keyring: Keyring,
    neighbours: PhysicalVolumeFinder,
    depth: int,
) -> Iterator[tuple[str, BlockDevice, Content]]:
    group = content.group
    if group is None:
        return
    try:
        devices = neighbours.of(group, device)
    except VolumeGroupUnreadable:
        return
    for volume in group.visible:
        if is_readable(volume, devices):
            view = LogicalVolumeView(devices, group, volume)
            yield from views_inside(
                f"/dev/{group.name}/{volume.name}", view, keyring, neighbours, depth + 1
            )


def _opened(device: BlockDevice, keyring: Keyring) -> BlockDevice | None:
    from growdisk.volumes.luks import LuksUnreadable, UnknownCipher, read_luks_header

    try:
        return None if keyring.is_empty else keyring.open(device, read_luks_header(device))
    except (LuksUnreadable, UnknownCipher):
        return None


def _with_volumes(
    device: BlockDevice,
    content: PhysicalVolumeContent,
    keyring: Keyring,
    neighbours: PhysicalVolumeFinder,
    depth: int,
) -> Content:
    group = content.group
    if group is None:
        return content
    try:
        devices = neighbours.of(group, device)
    except VolumeGroupUnreadable as error:
        return replace(content, unreadable=str(error))
    views = [
        (v.name, LogicalVolumeView(devices, group, v))
        for v in group.visible
        if is_readable(v, devices)
    ]
    return replace(
        content,
        beside=tuple(key for key in devices if key != group.own),
        volumes=tuple(
            (name, look_inside(view, keyring, neighbours, depth + 1)) for name, view in views
        ),
    )


def _with_payload(
    device: BlockDevice,
    content: LuksContent,
    keyring: Keyring,
    neighbours: PhysicalVolumeFinder,
    depth: int,
) -> Content:
    from growdisk.volumes.luks import LuksUnreadable, UnknownCipher, read_luks_header

    try:
        header = read_luks_header(device)
        content = replace(
            content,
            size=max(device.size - header.payload, 0),
            payload=header.payload,
            fixed=header.fixed,
            sector_size=header.sector_size,
            tried=not keyring.is_empty,
            registers=header.registers,
        )
        view = None if keyring.is_empty else keyring.open(device, header)
        if view is None:
            return content
        return replace(
            content, unlocked=True, inside=look_inside(view, keyring, neighbours, depth + 1)
        )
    except LuksUnreadable as error:
        return replace(content, fixed=str(error), cure=error.cure)
    except UnknownCipher as error:
        return replace(content, fixed=str(error))
