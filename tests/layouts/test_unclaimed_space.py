"""Space that no partition has, and somebody's data in it: it is not grown over."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.guests.tools import run
from tests.layouts.refusing import SECTOR, assert_refused, disk, put, volume
from tests.unit.cli.command import in_process

_GAP = "label: dos\n1: start=2048,size=32768,type=83\n2: start=98304,size=32768,type=83\n"


@pytest.mark.parametrize("maker", [
    ("mke2fs", "-q", "-F", "-t", "ext4"), ("mkfs.vfat",), ("mkntfs", "-q", "-F", "-f"),
    ("sh", "-c",
        'echo key | cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$0"'),
])  # fmt: skip
@pytest.mark.parametrize("offset", [17 * MiB, 25 * MiB])
def test_a_volume_behind_the_last_partition_that_no_entry_names_is_not_grown_over(
    tmp_path: Path, maker: tuple[str, ...], offset: int
) -> None:
    root = volume(tmp_path / "root", ext4=True, pieces=[], size=16 * MiB)
    lost = volume(tmp_path / "lost", ext4=False, pieces=[], size=16 * MiB)
    run(*maker, lost)
    image = disk(
        tmp_path / "disk.raw", "label: dos\nstart=2048,size=32768,type=83\n", 64 * MiB, s2048=root
    )
    put(image, offset, lost.read_bytes())
    said = assert_refused(image, "+100M", naming="where no partition is")
    assert f"sector {offset // SECTOR}" in said


def test_a_boot_loader_between_two_partitions_is_not_grown_over(tmp_path: Path) -> None:
    root = volume(tmp_path / "root", ext4=True, pieces=[], size=16 * MiB)
    image = disk(tmp_path / "disk.raw", _GAP, 64 * MiB, s2048=root)
    assert in_process("plan", image, "--partition", "1").code == 0
    put(image, 20 * MiB, random.Random(1).randbytes(300 << 10))
    assert_refused(image, "--partition", "1", naming="no partition speaks of")


@pytest.mark.parametrize(
    "start", [b"\xd0\x0d\xfe\xed", b"\x27\x05\x19\x56", b"ANDROID!", b"\0\0\0\xeaeGON.BT0"]
)
def test_what_a_board_starts_by_is_not_grown_over_behind_the_last_partition(
    tmp_path: Path, start: bytes
) -> None:
    root = volume(tmp_path / "root", ext4=True, pieces=[], size=16 * MiB)
    image = disk(
        tmp_path / "disk.raw", "label: dos\nstart=2048,size=32768,type=83\n", 64 * MiB, s2048=root
    )
    put(image, 24 * MiB, start + random.Random(3).randbytes(4000))
    assert_refused(image, "+100M", naming="boot")


def test_boot_records_of_logical_partitions_that_are_no_more_are_nobodys(tmp_path: Path) -> None:
    root = volume(tmp_path / "root", ext4=True, pieces=[], size=16 * MiB)
    logicals = "start=34816,size=90000,type=5\nstart=36864,size=8192\nstart=47104,size=8192\n"
    script = f"label: dos\nstart=2048,size=32768,type=83\n{logicals}"
    image = disk(tmp_path / "disk.raw", script, 64 * MiB, s2048=root)
    run("sfdisk", "-q", "--no-reread", "--delete", image, "2")
    assert in_process("plan", image, "+100M").code == 0


def test_the_boot_record_of_a_logical_partition_that_moves_is_nobodys_data(tmp_path: Path) -> None:
    """It lies in the MiB between the two, at the end of the one that grows."""
    root = volume(tmp_path / "root", ext4=True, pieces=[], size=16 * MiB)
    swap = volume(tmp_path / "swap", ext4=False, pieces=[], size=8 * MiB)
    run("mkswap", "-q", swap)
    logicals = "5: start=4096,size=32768,type=83\n6: start=38912,size=16384,type=82\n"
    script = f"label: dos\n1: start=2048,size=90000,type=5\n{logicals}"
    image = disk(tmp_path / "disk.raw", script, 64 * MiB, s4096=root, s38912=swap)
    assert in_process("plan", image, "+100M", "--swap", "move").code == 0
    put(image, 36868 * SECTOR, b"data")
    assert_refused(image, "+100M", "--swap", "move", naming="no partition speaks of")


def test_noise_and_old_swap_behind_the_last_partition_are_nobodys(tmp_path: Path) -> None:
    root = volume(tmp_path / "root", ext4=True, pieces=[], size=16 * MiB)
    swap = volume(tmp_path / "swap", ext4=False, pieces=[], size=16 * MiB)
    run("mkswap", "-q", swap)
    image = disk(
        tmp_path / "disk.raw", "label: dos\nstart=2048,size=32768,type=83\n", 64 * MiB, s2048=root
    )
    put(image, 17 * MiB, swap.read_bytes())
    put(image, 40 * MiB, random.Random(2).randbytes(MiB))
    assert in_process("plan", image, "+100M").code == 0


def test_a_loader_where_a_gpt_would_have_its_sectors_hinders_to_gpt(tmp_path: Path) -> None:
    root = volume(tmp_path / "root", ext4=True, pieces=[], size=16 * MiB)
    image = disk(
        tmp_path / "disk.raw", "label: dos\nstart=2048,size=32768,type=83\n", 64 * MiB, s2048=root
    )
    assert in_process("plan", image, "+100M", "--to-gpt").code == 0
    put(image, 16 * SECTOR, b"\0\0\0\xeaeGON.BT0" + os.urandom(500))
    assert_refused(image, "+100M", "--to-gpt", naming="boot loader")
