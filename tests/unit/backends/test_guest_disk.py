"""A guest's disk through a shell: here the shell of this machine, and a file for the disk."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from growdisk.filesystems.content import XfsContent
from growdisk.live.guest_block_device import (
    GuestBlockDevice,
    SeenDisk,
    SeenPartition,
    guest_disk_at,
    seen_disks,
)
from growdisk.live.guest_shell import GuestAnswer, GuestLost
from growdisk.live.guest_volumes import GuestVolumes, MappedDevice, look_in_guest, volumes_of
from growdisk.units import KiB, MiB
from tests.guests.tools import ToolFailed, run
from tests.unit.backends.this_machine import ThisMachine


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a 'disk'"
    path.write_bytes(random.Random(1).randbytes(MiB + 512))
    return path


def test_what_is_read_is_what_is_there_and_a_stretch_is_one_call(file: Path) -> None:
    shell, whole = ThisMachine(), file.read_bytes()
    disk = GuestBlockDevice(shell, str(file), len(whole), ())
    assert disk.read(0, 300 * KiB) == whole[: 300 * KiB]
    assert shell.calls == 1
    for offset, length in (
        (1, 1),
        (64 * KiB - 1, 2),
        (250 * KiB, 200 * KiB),
        (MiB, 512),
        (MiB + 511, 1),
        (0, 0),
    ):
        assert disk.read(offset, length) == whole[offset : offset + length]


def test_a_partition_is_read_from_its_own_device(file: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"p" * 128 * KiB)
    disk = GuestBlockDevice(
        ThisMachine(), str(file), MiB, (SeenPartition(1, str(part), 256 * KiB, 128 * KiB),)
    )
    whole = file.read_bytes()
    expected = whole[200 * KiB : 256 * KiB] + b"p" * 128 * KiB + whole[384 * KiB : 400 * KiB]
    assert disk.read(200 * KiB, 200 * KiB) == expected


def test_a_device_that_ends_early_is_noticed(file: Path) -> None:
    with pytest.raises(GuestLost):
        GuestBlockDevice(ThisMachine(), str(file), 4 * MiB, ()).read(2 * MiB, 512)


class SysFolder(ThisMachine):
    """A guest whose /sys is a folder."""

    def __init__(self, sys: Path) -> None:
        super().__init__()
        self._sys = sys

    def run(self, script: str, timeout: float) -> GuestAnswer:
        return super().run(script.replace("/sys/", f"{self._sys}/"), timeout)


@pytest.mark.parametrize(
    ("kernel", "part", "device"),
    [
        ("sda", "sda1", "/dev/sda"),
        ("nvme0n1", "nvme0n1p1", "/dev/nvme0n1"),
        ("cciss!c0d0", "cciss!c0d0p1", "/dev/cciss/c0d0"),
    ],
)
def test_disks_and_partitions_are_found_by_what_sysfs_calls_them(
    tmp_path: Path, kernel: str, part: str, device: str
) -> None:
    for root in ("block", "class/block"):
        folder = tmp_path / root / kernel
        (folder / part).mkdir(parents=True)
        for name, value in {"size": 4096, "serial": "one"}.items():
            (folder / name).write_text(f"{value}\n")
        for name, value in {"partition": 1, "start": 2048, "size": 2047}.items():
            (folder / part / name).write_text(f"{value}\n")
    shell = SysFolder(tmp_path)
    assert seen_disks(shell) == (SeenDisk(device, 2 * MiB, "one"),)
    found = guest_disk_at(shell, device)
    partition = device + part.removeprefix(kernel)
    assert found.size == 2 * MiB
    assert found.partitions == (SeenPartition(1, partition, MiB, 2047 * 512),)


def test_a_path_to_an_nvme_disk_is_no_disk(tmp_path: Path) -> None:
    """With several controllers, or one of a QEMU that says so, nvme0n1 has nvme0c0n1 beside it."""
    for name, hidden in {"nvme0n1": 0, "nvme0c0n1": 1}.items():
        folder = tmp_path / "block" / name
        folder.mkdir(parents=True)
        for file, value in {"size": 4096, "serial": "one", "hidden": hidden}.items():
            (folder / file).write_text(f"{value}\n")
    assert seen_disks(SysFolder(tmp_path)) == (SeenDisk("/dev/nvme0n1", 2 * MiB, "one"),)


def test_what_is_mounted_is_asked_of_by_what_sysfs_calls_it(tmp_path: Path) -> None:
    number = Path("/proc").stat().st_dev
    folder = tmp_path / "class/block/cciss!c0d0p1"
    folder.mkdir(parents=True)
    (folder / "dev").write_text(f"{os.major(number)}:{os.minor(number)}\n")
    assert GuestVolumes(SysFolder(tmp_path), ()).mounted("/dev/cciss/c0d0p1") is not None


def test_mapped_devices_are_known_by_what_the_kernel_calls_them() -> None:
    uuid = "0f0f0f0f-0000-4000-8000-000000000001"
    mapped = [
        MappedDevice("/dev/dm-0", MiB, f"CRYPT-LUKS2-{uuid.replace('-', '')}-name"),
        MappedDevice("/dev/dm-2", 3 * MiB, "LVM-GROUP1ROOT01-real"),
        MappedDevice("/dev/dm-3", MiB, "LVM-GROUP1ROOT01-cow"),
        MappedDevice("/dev/dm-1", 2 * MiB, "LVM-GROUP1ROOT01"),
        MappedDevice("/dev/dm-4", 3 * MiB, "LVM-GROUP1ROOT02-real"),
    ]
    volumes = GuestVolumes(ThisMachine(), mapped)
    opened, volume = volumes.opened(uuid), volumes.volume("GROU-P1", "ROOT-01")
    assert opened is not None and volume is not None
    assert (opened.device, volume.device) == ("/dev/dm-0", "/dev/dm-1")
    assert volumes.opened("11111111-0000-4000-8000-000000000001") is None
    assert volumes.volume("GROU-P1", "ROOT-02") is None


def test_this_machine_can_be_asked() -> None:
    assert isinstance(volumes_of(ThisMachine()), GuestVolumes)


@pytest.fixture
def mounted_xfs(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An XFS on a loop device, grown after its mount, as a running guest's; its place is a trap."""
    image, place = tmp_path / "xfs", tmp_path / 'a $(touch pwned) \\040 "b"'
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(320 * MiB)
    run("mkfs.xfs", "-q", image)
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    try:
        loop = run("losetup", "--find", "--show", image).strip()
    except ToolFailed as error:
        pytest.skip(f"no loop devices here: {error}")
    try:
        run("mount", loop, place)
        try:
            yield loop, image
        finally:
            run("umount", place)
    finally:
        run("losetup", "--detach", loop)


def test_a_mounted_xfs_is_asked_for_its_size_which_its_device_tells_late(
    mounted_xfs: tuple[str, Path],
) -> None:
    loop, image = mounted_xfs
    shell = ThisMachine()
    volumes = GuestVolumes(shell, ())
    before = look_in_guest(GuestBlockDevice(shell, loop, 320 * MiB, ()), loop, volumes)
    assert isinstance(before, XfsContent) and before.size == 320 * MiB
    os.truncate(image, 640 * MiB)
    run("losetup", "--set-capacity", loop)
    run("xfs_growfs", loop)
    device = GuestBlockDevice(shell, loop, 640 * MiB, ())
    after = look_in_guest(device, loop, volumes)
    assert isinstance(after, XfsContent) and after.size == 640 * MiB
    assert not list(image.parent.rglob("pwned")) and not Path("pwned").exists()
