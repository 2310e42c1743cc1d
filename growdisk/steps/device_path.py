"""Where something stands: in a partition, or further in, through containers and logical volumes.

    DevicePath(5, ..., ("luks:cff1…", "lv:vg0/root"))   sda5 → what LUKS encrypts in it → the volume root of vg0

The same place is opened on two roads: by our own engine, to look, and inside the appliance, to work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from growdisk.block.device import BlockDevice
from growdisk.block.window import Window
from growdisk.fast_dataclass import dataclass, replace
from growdisk.filesystems.lvm import VolumeGroupUnreadable, read_volume_group
from growdisk.steps.failures import DeviceNotReadable
from growdisk.volumes.keyring import Keyring
from growdisk.volumes.lv_device import LogicalVolumeView, is_readable
from growdisk.volumes.other_pvs import PhysicalVolumeFinder

if TYPE_CHECKING:
    from growdisk.backends.appliance import Appliance
    from growdisk.steps.disk import Disk

_LUKS, _VOLUME = "luks:", "lv:"


@dataclass(frozen=True)
class DevicePath:
    """Partition `number` (0: the whole disk), bytes [start, start+size) of the disk; `layers` from the outermost in."""

    number: int
    start: int
    size: int
    layers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For people: sda5, vg0/root, LUKS in sda5."""
        partition = f"sda{self.number or ''}"
        if not self.layers:
            return partition
        kind, _, what = self.layers[-1].partition(":")
        return what if kind == "lv" else f"LUKS in {self.around.name}"

    @property
    def device(self) -> str:
        """As the appliance has it."""
        if not self.layers:
            return f"/dev/sda{self.number or ''}"
        kind, _, what = self.layers[-1].partition(":")
        return f"/dev/{what}" if kind == "lv" else f"/dev/mapper/{mapping_name(what)}"

    @property
    def around(self) -> DevicePath:
        return replace(self, layers=self.layers[:-1])

    def within_luks(self, uuid: str) -> DevicePath:
        return replace(self, layers=(*self.layers, _LUKS + uuid))

    def within_volume(self, group: str, volume: str) -> DevicePath:
        return replace(self, layers=(*self.layers, f"{_VOLUME}{group}/{volume}"))


def mapping_name(luks_uuid: str) -> str:
    return f"growdisk-{luks_uuid}"


def look_at(disk: Disk, place: DevicePath, keyring: Keyring, sector_size: int = 512) -> BlockDevice:
    """The place through our own engine. DeviceNotReadable where it cannot be read."""
    return look_through(disk, place, keyring, neighbours_of(disk, sector_size))


def look_through(
    device: BlockDevice, place: DevicePath, keyring: Keyring, neighbours: PhysicalVolumeFinder
) -> BlockDevice:
    """The same on any device; what a volume group has elsewhere is found among `neighbours`."""
    if not place.layers:
        return Window(device, place.start, place.size)
    outer = look_through(device, place.around, keyring, neighbours)
    kind, _, what = place.layers[-1].partition(":")
    if kind == "lv":
        return _volume(outer, place, what, neighbours)
    return _decrypted(outer, place, keyring)


def neighbours_of(disk: Disk, sector_size: int) -> PhysicalVolumeFinder:
    """The physical volumes on all the disks of a run."""
    return PhysicalVolumeFinder([(each, each.path) for each in (disk, *disk.companions)], sector_size)


def is_openable(disk: Disk, place: DevicePath, keyring: Keyring) -> bool:
    """Whether the keys that there are open the outermost container of a place, however large its partition is now."""
    if not place.layers[:1] or not place.layers[0].startswith(_LUKS):
        return True
    from growdisk.volumes.luks import LuksUnreadable, read_header

    device = Window(disk, place.start, min(place.size, disk.size - place.start))
    try:
        return keyring.volume_key(device, read_header(device)) is not None
    except LuksUnreadable:
        return False


def open_inside(appliance: Appliance, disk: Disk, place: DevicePath, keyring: Keyring, sector_size: int = 512) -> None:
    """Make the place's device be there inside the appliance."""
    if not place.layers:
        return
    open_inside(appliance, disk, place.around, keyring, sector_size)
    kind, _, what = place.layers[-1].partition(":")
    if kind == "lv":
        group = read_volume_group(look_at(disk, place.around, keyring, sector_size))
        appliance.volumes.activate(what.partition("/")[0], group.system_id if group else "")
        return
    from growdisk.volumes.luks import read_header

    outer = look_at(disk, place.around, keyring, sector_size)
    key = keyring.volume_key(outer, read_header(outer))
    if key is None:
        raise DeviceNotReadable(place.around.name, reason="no passphrase that was given opens it")
    appliance.volumes.open_luks(place.around.device, mapping_name(what), key)


def _volume(outer: BlockDevice, place: DevicePath, name: str, neighbours: PhysicalVolumeFinder) -> BlockDevice:
    try:
        group = read_volume_group(outer)
        devices = neighbours.of(group, outer) if group else {}
    except VolumeGroupUnreadable as error:
        raise DeviceNotReadable(place.name, reason=str(error)) from error
    volume = group.by_name(name.partition("/")[2]) if group else None
    if group is None or volume is None or not is_readable(volume, devices):
        raise DeviceNotReadable(place.name, reason="there is no such logical volume any more")
    return LogicalVolumeView(devices, group, volume)


def _decrypted(outer: BlockDevice, place: DevicePath, keyring: Keyring) -> BlockDevice:
    from growdisk.volumes.luks import LuksUnreadable, read_header

    try:
        view = keyring.open(outer, read_header(outer))
    except LuksUnreadable as error:
        raise DeviceNotReadable(place.around.name, reason=str(error)) from error
    if view is None:
        raise DeviceNotReadable(place.around.name, reason="no passphrase that was given opens it")
    return view
