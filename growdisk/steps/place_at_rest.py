"""The device at a place of a disk at rest (device_path.py), opened in two ways.

That is by our own engine, to look, and inside the appliance, to work.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.block.device import BlockDevice
from growdisk.block.window import Window
from growdisk.filesystems.content import Content, LuksContent, PhysicalVolumeContent
from growdisk.filesystems.lvm import VolumeGroupUnreadable, read_volume_group
from growdisk.filesystems.volume_group import VolumeGroup
from growdisk.partitions.sectors import parts_of, read_table
from growdisk.steps.device_path import DevicePath, LuksLayer, LvLayer, opener_of
from growdisk.steps.failures import DeviceNotReadable
from growdisk.volumes.inspect import InnerLook
from growdisk.volumes.keyring import Keyring
from growdisk.volumes.lvm import LogicalVolumeView, PhysicalVolumeFinder, is_readable

if TYPE_CHECKING:
    from growdisk.backends.appliance import Appliance
    from growdisk.steps.disk import Disk


def device_at(
    disk: Disk, place: DevicePath, keyring: Keyring, sector_size: int = 512
) -> BlockDevice:
    """The place through our own engine. DeviceNotReadable if it cannot be read."""
    return look_through(disk, place, keyring, pv_finder_of(disk, sector_size))


def look_through(
    device: BlockDevice, place: DevicePath, keyring: Keyring, pv_finder: PhysicalVolumeFinder
) -> BlockDevice:
    """The same on any device; what a volume group has elsewhere is found by `pv_finder`."""
    layer = place.innermost
    if layer is None:
        return Window(device, place.start, place.size)
    outer = look_through(device, place.outer, keyring, pv_finder)
    if isinstance(layer, LvLayer):
        return _volume(outer, place, layer.volume, pv_finder)
    return _decrypted(outer, place, keyring)


def pv_finder_of(disk: Disk, sector_size: int) -> PhysicalVolumeFinder:
    """The physical volumes on all the disks of a run."""
    return PhysicalVolumeFinder([(d, d.path) for d in (disk, *disk.extra_disks)], sector_size)


def places_of(
    disk: Disk, path: Path, nodes: Collection[str], keyring: Keyring, sector_size: int = 512
) -> list[DevicePath]:
    """The containers and volumes on the disk that are `nodes` in an appliance, as it is now."""
    if not any(map(opener_of, nodes)):
        return []
    look = InnerLook(keyring, pv_finder_of(disk, sector_size))
    outermost = (
        (DevicePath(part.number, part.start, part.size) if part else DevicePath(0, 0, disk.size), d)
        for part, d in parts_of(disk, read_table(disk, path, sector_size))
    )
    return [
        place
        for outer, device in outermost
        for place in places_within(outer, look.content(device))
        if place.device in nodes
    ]


def places_within(place: DevicePath, content: Content | None) -> Iterator[DevicePath]:
    match content:
        case LuksContent(uuid=uuid, inside=inside):
            yield place.within_luks(uuid)
            yield from places_within(place.within_luks(uuid), inside)
        case PhysicalVolumeContent(group=VolumeGroup(name=group), volumes=volumes):
            for name, inner in volumes:
                yield place.within_volume(group, name)
                yield from places_within(place.within_volume(group, name), inner)


def is_openable(disk: Disk, place: DevicePath, keyring: Keyring) -> bool:
    """Whether the known keys open a place's outermost container, whatever the partition's size."""
    if not isinstance(next(iter(place.chain), None), LuksLayer):
        return True
    from growdisk.volumes.luks import LuksUnreadable, read_luks_header

    # The plan's size is that of the grown partition, which the disk may not have yet.
    device = Window(disk, place.start, min(place.size, disk.size - place.start))
    try:
        return keyring.volume_key(device, read_luks_header(device)) is not None
    except LuksUnreadable:
        return False


def open_inside(
    appliance: Appliance, disk: Disk, place: DevicePath, keyring: Keyring, sector_size: int = 512
) -> None:
    """Make the place's device be there inside the appliance."""
    layer = place.innermost
    if layer is None:
        return
    # From the outermost layer in: each layer's device is there only when the outer one is open.
    open_inside(appliance, disk, place.outer, keyring, sector_size)
    if isinstance(layer, LvLayer):
        # LVM leaves alone a group that another system owns, unless it is started as that one.
        group = read_volume_group(device_at(disk, place.outer, keyring, sector_size))
        appliance.activate_volume(layer.name, group.system_id if group else "")
        return
    from growdisk.volumes.luks import read_luks_header

    outer = device_at(disk, place.outer, keyring, sector_size)
    # The appliance gets the volume key, never a passphrase.
    key = keyring.volume_key(outer, read_luks_header(outer))
    if key is None:
        raise DeviceNotReadable(place.outer.name, reason="no passphrase that was given opens it")
    appliance.open_luks(place.outer.device, layer.mapping, key)


def _volume(
    outer: BlockDevice, place: DevicePath, name: str, pv_finder: PhysicalVolumeFinder
) -> BlockDevice:
    try:
        group = read_volume_group(outer)
        devices = pv_finder.of(group, outer) if group else {}
    except VolumeGroupUnreadable as error:
        raise DeviceNotReadable(place.name, reason=str(error)) from error
    volume = group.by_name(name) if group else None
    # Also if a part of the volume is on a physical volume that was not found, or is not linear.
    if group is None or volume is None or not is_readable(volume, devices):
        raise DeviceNotReadable(place.name, reason="there is no such logical volume any more")
    return LogicalVolumeView(devices, group, volume)


def _decrypted(outer: BlockDevice, place: DevicePath, keyring: Keyring) -> BlockDevice:
    from growdisk.volumes.luks import LuksUnreadable, read_luks_header

    try:
        view = keyring.open(outer, read_luks_header(outer))
    except LuksUnreadable as error:
        raise DeviceNotReadable(place.outer.name, reason=str(error)) from error
    if view is None:
        raise DeviceNotReadable(place.outer.name, reason="no passphrase that was given opens it")
    return view
