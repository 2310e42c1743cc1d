"""What steps declare: where they work, by which programs, and their names in plans."""

from __future__ import annotations

import pytest

from growdisk.guest_config.removed_partition import SwapRemedy
from growdisk.steps.device_path import DevicePath, LuksLayer, LvLayer, layer_of
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.grow_layers import GrowLuks, GrowPhysicalVolume
from growdisk.steps.guest_steps import MakeSwapFile, RepairGuest
from growdisk.steps.registry import STEP_KINDS, DiskStep
from growdisk.steps.resize_image import ResizeImage

PARTITION = DevicePath(5, 1 << 20, 1 << 30)
CONTAINER = PARTITION.within_luks("cff1-22")
VOLUME = CONTAINER.within_volume("vg-0", "root")


def filesystem(kind: str, place: DevicePath = PARTITION) -> GrowFilesystem:
    return GrowFilesystem(
        place.number, place.start, place.size, "u", 1, 2, kind=kind, layers=place.layers
    )


@pytest.mark.parametrize(
    ("place", "name", "device"),
    [
        (DevicePath(0, 0, 9), "sda", "/dev/sda"),
        (PARTITION, "sda5", "/dev/sda5"),
        (CONTAINER, "LUKS in sda5", "/dev/mapper/growdisk-cff1-22"),
        (VOLUME, "vg-0/root", "/dev/vg-0/root"),
        (VOLUME.within_luks("aa"), "LUKS in vg-0/root", "/dev/mapper/growdisk-aa"),
    ],
)
def test_a_place_has_a_name_for_people_and_a_device_in_the_appliance(
    place: DevicePath, name: str, device: str
) -> None:
    assert (place.name, place.device) == (name, device)


def test_layers_are_what_plans_have_always_had() -> None:
    assert VOLUME.layers == ("luks:cff1-22", "lv:vg-0/root")
    assert VOLUME.chain == (LuksLayer("cff1-22"), LvLayer("vg-0", "root"))
    assert tuple(map(str, map(layer_of, VOLUME.layers))) == VOLUME.layers


@pytest.mark.parametrize(
    ("step", "needs_kernel", "own_tools", "kernel_tools"),
    [
        (ResizeImage(1, 2), False, (), ()),
        (filesystem("ext4"), False, (), ()),
        (filesystem("ntfs"), False, ("ntfsresize", "ntfsresize"), ("ntfsresize", "ntfsresize")),
        (filesystem("xfs"), True, ("xfs_growfs",), ("xfs_growfs",)),
        (filesystem("ext4", VOLUME), True, ("resize2fs",), ("resize2fs", "cryptsetup", "lvm")),
        (GrowLuks(CONTAINER, 1, 2), True, (), ("cryptsetup",)),
        (RepairGuest("/dev/sda1", (), SwapRemedy.DROP), False, (), ()),
        (RepairGuest("/dev/vg-0/root", (), SwapRemedy.DROP), False, (), ("lvm",)),
        (MakeSwapFile(CONTAINER.device, 1, "u"), False, (), ("cryptsetup",)),
    ],
)
def test_a_step_says_which_programs_do_it(
    step: DiskStep, needs_kernel: bool, own_tools: tuple[str, ...], kernel_tools: tuple[str, ...]
) -> None:
    assert (step.needs_kernel, step.own_tools) == (needs_kernel, own_tools)
    assert step.kernel_tools == kernel_tools


def test_every_kind_of_step_is_written_under_its_own_name() -> None:
    assert all(kind.__name__ == name for name, kind in STEP_KINDS.items())
    assert GrowPhysicalVolume in STEP_KINDS.values() and len(STEP_KINDS) == 11
