"""Where something stands: in a partition, or further in, through containers and logical volumes.

    DevicePath(5, ..., ("luks:cff1…", "lv:vg0/root"))
    sda5 → what LUKS encrypts in it → the volume root of vg0

The same place is opened in two ways: by our own engine, to look, and inside the appliance, to
work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from growdisk.block.device import BlockDevice
from growdisk.block.window import Window
from growdisk.fast_dataclass import dataclass, replace
from growdisk.filesystems.lvm import VolumeGroupUnreadable, read_volume_group
from growdisk.partitions.table import FIRST_DISK
from growdisk.steps.failures import DeviceNotReadable
from growdisk.volumes.keyring import Keyring
from growdisk.volumes.lv_device import LogicalVolumeView, is_readable
from growdisk.volumes.other_pvs import PhysicalVolumeFinder

if TYPE_CHECKING:
    from growdisk.backends.appliance import Appliance
    from growdisk.steps.disk import Disk


@dataclass(frozen=True)
class DevicePath:
    """A place: partition `number` (0: the whole disk), bytes [start, start+size) of the disk.

    `layers` are those inside it, from the outermost in, as plans have them; `chain` is what they
    mean.
    """

    number: int
    start: int
    size: int
    layers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.name_on(FIRST_DISK)

    def name_on(self, disk: str) -> str:
        """For people, on the guest's disk of that name: sda5, vg0/root, LUKS in sda5."""
        match self.innermost:
            case None:
                return f"{disk}{self.number or ''}"
            case LvLayer(name=name):
                return name
            case LuksLayer():
                return f"LUKS in {self.around.name_on(disk)}"

    @property
    def device(self) -> str:
        """As the appliance has it."""
        return self.innermost.device if self.innermost else f"/dev/{FIRST_DISK}{self.number or ''}"

    @property
    def chain(self) -> tuple[Layer, ...]:
        return tuple(map(layer_of, self.layers))

    @property
    def openers(self) -> tuple[str, ...]:
        """The programs that open it, from the outermost layer in."""
        return tuple(layer.opener for layer in self.chain)

    @property
    def innermost(self) -> Layer | None:
        """None: what is meant stands in the partition itself."""
        return layer_of(self.layers[-1]) if self.layers else None

    @property
    def around(self) -> DevicePath:
        return replace(self, layers=self.layers[:-1])

    def within_luks(self, uuid: str) -> DevicePath:
        return replace(self, layers=(*self.layers, str(LuksLayer(uuid))))

    def within_volume(self, group: str, volume: str) -> DevicePath:
        return replace(self, layers=(*self.layers, str(LvLayer(group, volume))))


def device_at(
    disk: Disk, place: DevicePath, keyring: Keyring, sector_size: int = 512
) -> BlockDevice:
    """The place through our own engine. DeviceNotReadable if it cannot be read."""
    return look_through(disk, place, keyring, neighbours_of(disk, sector_size))


def look_through(
    device: BlockDevice, place: DevicePath, keyring: Keyring, neighbours: PhysicalVolumeFinder
) -> BlockDevice:
    """The same on any device; what a volume group has elsewhere is found among `neighbours`."""
    layer = place.innermost
    if layer is None:
        return Window(device, place.start, place.size)
    outer = look_through(device, place.around, keyring, neighbours)
    if isinstance(layer, LvLayer):
        return _volume(outer, place, layer.volume, neighbours)
    return _decrypted(outer, place, keyring)


def neighbours_of(disk: Disk, sector_size: int) -> PhysicalVolumeFinder:
    """The physical volumes on all the disks of a run."""
    return PhysicalVolumeFinder(
        [(each, each.path) for each in (disk, *disk.extra_disks)], sector_size
    )


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
    # From the outermost layer in: each layer's device is there only when what is around it is open.
    open_inside(appliance, disk, place.around, keyring, sector_size)
    if isinstance(layer, LvLayer):
        # The system ID: LVM leaves alone a group that another system owns, unless it is told to be
        # that one.
        group = read_volume_group(device_at(disk, place.around, keyring, sector_size))
        appliance.volumes.activate(layer.name, group.system_id if group else "")
        return
    from growdisk.volumes.luks import read_luks_header

    outer = device_at(disk, place.around, keyring, sector_size)
    # The appliance gets the volume key, never a passphrase.
    key = keyring.volume_key(outer, read_luks_header(outer))
    if key is None:
        raise DeviceNotReadable(place.around.name, reason="no passphrase that was given opens it")
    appliance.volumes.open_luks(place.around.device, layer.mapping, key)


def _volume(
    outer: BlockDevice, place: DevicePath, name: str, neighbours: PhysicalVolumeFinder
) -> BlockDevice:
    try:
        group = read_volume_group(outer)
        devices = neighbours.of(group, outer) if group else {}
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
        raise DeviceNotReadable(place.around.name, reason=str(error)) from error
    if view is None:
        raise DeviceNotReadable(place.around.name, reason="no passphrase that was given opens it")
    return view


# What lies between a partition and what grows in it: a LUKS container, or a logical volume.
#
# Written plans hold a layer as text, `luks:UUID` or `lv:GROUP/VOLUME`. It is taken apart here
# alone.

_LUKS, _VOLUME = "luks:", "lv:"


@dataclass(frozen=True)
class LuksLayer:
    uuid: str

    opener: ClassVar[str] = "cryptsetup"

    def __str__(self) -> str:
        return _LUKS + self.uuid

    @property
    def mapping(self) -> str:
        """Its name below /dev/mapper in the appliance."""
        return f"growdisk-{self.uuid}"

    @property
    def device(self) -> str:
        """As the appliance has it."""
        return f"/dev/mapper/{self.mapping}"


@dataclass(frozen=True)
class LvLayer:
    group: str
    volume: str

    opener: ClassVar[str] = "lvm"

    def __str__(self) -> str:
        return f"{_VOLUME}{self.name}"

    @property
    def name(self) -> str:
        return f"{self.group}/{self.volume}"

    @property
    def device(self) -> str:
        """As the appliance has it."""
        return f"/dev/{self.name}"


Layer = LuksLayer | LvLayer


def layer_of(text: str) -> Layer:
    """The layer that a plan has written as `text`."""
    if text.startswith(_LUKS):
        return LuksLayer(text.removeprefix(_LUKS))
    group, _, volume = text.removeprefix(_VOLUME).partition("/")
    return LvLayer(group, volume)
