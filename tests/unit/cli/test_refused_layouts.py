"""Layouts that cannot grow, and wishes that a disk cannot fulfil: refused, nothing touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.conftest import Copier
from tests.guests.layouts import Layout
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run
from tests.unit.cli.command import (
    fingerprint,
    in_process,
)
from tests.unit.cli.refusing import refused


def test_fat(tmp_path: Path) -> None:
    image = make_disk(tmp_path / "fat.raw", SmallDisk(Layout.PLAIN, 64 * MiB, image_format="raw"))
    run("mkfs.vfat", "--offset=2048", image, str(63 * 1024 - 1))
    refused(image, why="its partitions hold vfat")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("label: dos\n", "its partition table is empty"),
        ("label: dos\nstart=2048, type=82\n", "unknown content"),
        ("label: gpt\nstart=2048\n", "unknown content"),
    ],
)
def test_disks_without_a_file_system(tmp_path: Path, script: str, why: str) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(bytes(16 * MiB))
    run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", image, stdin=script)
    refused(image, why=why)


def test_physical_volume(tmp_path: Path) -> None:
    image = tmp_path / "disk.raw"
    image.write_bytes(bytes(16 * MiB))
    run(
        "sfdisk",
        "-q",
        "--no-reread",
        "--no-tell-kernel",
        image,
        stdin="label: dos\nstart=2048, type=8e\n",
    )
    with image.open("r+b") as file:
        file.seek(MiB + 512)
        file.write(b"LABELONE" + (1).to_bytes(8, "little") + bytes(8) + b"LVM2 001" + b"x" * 32)
    before = fingerprint(image)
    answer = in_process("expand", image, "+64M")
    assert (answer.code, fingerprint(image)) == (3, before)


def test_hibernated_guest(tmp_path: Path) -> None:
    image = make_disk(tmp_path / "guest.qcow2", SmallDisk(size=128 * MiB, hibernated=True))
    refused(image, why="its memory lies in the swap space of sda5")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("64M",), "growdisk never shrinks a disk"),
        (("+64M", "--partition", "7"), "its partitions are: sda1, sda2, sda5"),
        (("+64M", "--partition", "sda5"), "it holds swap"),
        (("+64M", "--delete", "3"), "its partitions are: sda1, sda2, sda5"),
        (("3T",), "32 bits"),
        (("+64M", "--preallocation", "full"), "qcow2 images are grown here with: off"),
    ],
)
def test_wish_that_this_disk_cannot_fulfil(
    copied: Copier, words: tuple[str, ...], why: str
) -> None:
    refused(copied("guest.qcow2"), *words, why=why)
