"""What stands in a partition, all the way in: through encrypted containers that open, into logical volumes."""

from __future__ import annotations

from dataclasses import replace

from growdisk.backends.volumes.keyring import Keyring
from growdisk.backends.volumes.logical import LogicalVolumeView, is_readable
from growdisk.backends.volumes.neighbours import Neighbours
from growdisk.block.device import BlockDevice
from growdisk.filesystems.content import Content, LuksContent, PhysicalVolumeContent
from growdisk.filesystems.identify import identify
from growdisk.filesystems.lvm import VolumeGroupUnreadable

_DEPTH = 4  # LUKS in LVM in LUKS is the most that anybody has


def look_inside(device: BlockDevice, keyring: Keyring, neighbours: Neighbours, depth: int = 0) -> Content | None:
    """As identify(), with what is inside. What does not open with the keys that there are stays closed; what a volume
    group has elsewhere is looked for among `neighbours`."""
    content = identify(device)
    if depth >= _DEPTH:
        return content
    match content:
        case PhysicalVolumeContent():
            return _with_volumes(device, content, keyring, neighbours, depth)
        case LuksContent():
            return _with_payload(device, content, keyring, neighbours, depth)
    return content


def _with_volumes(
    device: BlockDevice, content: PhysicalVolumeContent, keyring: Keyring, neighbours: Neighbours, depth: int
) -> Content:
    group = content.group
    if group is None:
        return content
    try:
        devices = neighbours.of(group, device)
    except VolumeGroupUnreadable as error:
        return replace(content, unreadable=str(error))
    views = [(v.name, LogicalVolumeView(devices, group, v)) for v in group.visible if is_readable(v, devices)]
    return replace(
        content, beside=tuple(key for key in devices if key != group.own),
        volumes=tuple((name, look_inside(view, keyring, neighbours, depth + 1)) for name, view in views),
    )  # fmt: skip


def _with_payload(
    device: BlockDevice, content: LuksContent, keyring: Keyring, neighbours: Neighbours, depth: int
) -> Content:
    from growdisk.backends.volumes.luks import LuksUnreadable, UnknownCipher, read_header

    try:
        header = read_header(device)
        content = replace(
            content, size=max(device.size - header.payload, 0), payload=header.payload, fixed=header.fixed,
            sector_size=header.sector_size, tried=not keyring.is_empty,
        )  # fmt: skip
        view = None if keyring.is_empty else keyring.open(device, header)
        if view is None:
            return content
        return replace(content, unlocked=True, inside=look_inside(view, keyring, neighbours, depth + 1))
    except LuksUnreadable as error:
        return replace(content, fixed=str(error), cure=error.cure)
    except UnknownCipher as error:
        return replace(content, fixed=str(error))
