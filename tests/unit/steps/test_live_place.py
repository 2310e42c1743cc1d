"""What a running guest has at a place: a part of its disk, or what it has opened."""

from __future__ import annotations

import pytest

from growdisk.block.window import Window
from growdisk.filesystems.volume_group import LogicalVolume, VolumeGroup
from growdisk.steps.device_path import DevicePath
from growdisk.steps.failures import DeviceNotReadable
from growdisk.steps.live_place import GuestDevices
from growdisk.units import MiB

PARTITION = DevicePath(5, MiB, 8 * MiB)
ROOT = LogicalVolume("root", "lv-uuid", True, ())
GROUP = VolumeGroup("vg", "vg-uuid", 1, 4 * MiB, ("RESIZEABLE",), (), (ROOT,), "pv0")


class Seen:
    size = 4 * MiB
    writable = False


class Opened:
    """One container and one logical volume, by the identifiers that they are asked for with."""

    def opened(self, uuid: str) -> str | None:
        return "crypt" if uuid == "5e1f" else None

    def volume(self, group: str, volume: str) -> str | None:
        return f"{group}/{volume}"


class Devices(GuestDevices):
    def group(self, place: DevicePath) -> object:
        assert place == PARTITION
        return GROUP


def test_a_partition_ends_where_the_guests_disk_does() -> None:
    device = GuestDevices(Seen(), Opened()).device(PARTITION)
    assert isinstance(device, Window) and device.size == 3 * MiB


def test_containers_and_volumes_are_those_that_are_open() -> None:
    devices = Devices(Seen(), Opened())
    assert devices.device(PARTITION.within_luks("5e1f")) == "crypt"
    assert devices.device(PARTITION.within_volume("vg", "root")) == "vg-uuid/lv-uuid"


@pytest.mark.parametrize(
    "place", [PARTITION.within_luks("other"), PARTITION.within_volume("vg", "none")]
)
def test_what_is_closed_is_not_readable(place: DevicePath) -> None:
    with pytest.raises(DeviceNotReadable, match="does not have it open"):
        Devices(Seen(), Opened()).device(place)
