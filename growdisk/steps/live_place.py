"""Where something is inside a running guest: a DevicePath, by the guest's own open devices.

The same places as for a guest that is off (place_at_rest.py), by the mapped devices of the
guest.
"""

from __future__ import annotations

from growdisk.block.device import BlockDevice
from growdisk.block.window import Window
from growdisk.filesystems.content import Content
from growdisk.filesystems.lvm import VolumeGroupUnreadable, read_volume_group
from growdisk.filesystems.volume_group import VolumeGroup
from growdisk.live.guest_block_device import GuestBlockDevice
from growdisk.live.guest_volumes import GuestVolumes, look_in_guest, partition_device
from growdisk.steps.device_path import DevicePath, LuksLayer
from growdisk.steps.failures import DeviceNotReadable


def guest_device_at(
    seen: GuestBlockDevice, volumes: GuestVolumes, place: DevicePath
) -> BlockDevice:
    """The place as the guest has it now. DeviceNotReadable if it is not open there."""
    layer = place.innermost
    if layer is None:
        # The place has its planned size; before the disk has grown, it reaches beyond the guest's
        # disk.
        end = min(place.start + place.size, seen.size)
        return Window(seen, place.start, end - place.start)
    found = (
        volumes.opened(layer.uuid)
        if isinstance(layer, LuksLayer)
        else _volume(seen, volumes, place, layer.volume)
    )
    if found is None:
        raise DeviceNotReadable(place.name, reason="the guest does not have it open")
    return found


def content_at(seen: GuestBlockDevice, volumes: GuestVolumes, place: DevicePath) -> Content | None:
    device = guest_device_at(seen, volumes, place)
    name = (
        device.device
        # What is opened or activated has a device of its own; a Window is a part of the disk's, so
        # the partition's device is looked for by its start.
        if isinstance(device, GuestBlockDevice)
        else partition_device(seen, place.start)
    )
    return look_in_guest(device, name, volumes)


def group_at(
    seen: GuestBlockDevice, volumes: GuestVolumes, place: DevicePath
) -> VolumeGroup | None:
    """The group whose physical volume is at `place`; None if its metadata cannot be read."""
    try:
        return read_volume_group(guest_device_at(seen, volumes, place))
    except VolumeGroupUnreadable:
        return None


def _volume(
    seen: GuestBlockDevice, volumes: GuestVolumes, place: DevicePath, name: str
) -> GuestBlockDevice | None:
    group = group_at(seen, volumes, place.around)
    volume = group.by_name(name) if group else None
    return volumes.volume(group.uuid, volume.uuid) if group and volume else None
