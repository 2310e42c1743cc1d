"""What identify() says, with blkid and dumpe2fs as the judges."""

from __future__ import annotations

import os
import random
import struct
import subprocess
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.block.window import Window
from growdisk.filesystems.content import (
    AmbiguousContent,
    Content,
    ExtContent,
    LuksContent,
    PhysicalVolumeContent,
    SwapContent,
)
from growdisk.filesystems.ext import crc32c
from growdisk.filesystems.identify import identify
from growdisk.units import KiB, MiB

MAKERS = {
    "ext2": (8, ["mkfs.ext2", "-q", "-L", "small blocks"]),
    "ext3": (16, ["mkfs.ext3", "-q", "-b", "4096"]),
    "ext4": (64, ["mkfs.ext4", "-q", "-L", "sixteen-letters!"]),
    "ext4 of old": (32, ["mkfs.ext4", "-q", "-O", "^64bit,^metadata_csum,^resize_inode"]),
    "ext4 without journal": (32, ["mkfs.ext4", "-q", "-O", "^has_journal"]),
    "ext4 of 64 KiB blocks": (64, ["mkfs.ext4", "-q", "-F", "-b", "65536"]),
    "swap": (8, ["mkswap", "-L", "paging"]),
    "swap of large pages": (8, ["mkswap", "-p", "65536"]),
    "luks1": (20,
        ["cryptsetup", "-q", "luksFormat", "--type", "luks1", "--pbkdf-force-iterations", "1000"]),
    "luks2": (
        20,
        ["cryptsetup", "-q", "luksFormat", "--label", "vault", "--type", "luks2",
         "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"],
    ),
    "xfs": (310, ["mkfs.xfs", "-q", "-L", "twelve-chars"]),
    "btrfs": (120, ["mkfs.btrfs", "-q", "-L", "better"]),
    "ntfs": (8, ["mkfs.ntfs", "-F", "-f", "-q"]),
    "fat16": (32, ["mkfs.vfat", "-F", "16", "-n", "SIXTEEN"]),
    "fat32": (64, ["mkfs.vfat", "-F", "32"]),
    "exfat": (16, ["mkfs.exfat"]),
    "f2fs": (64, ["mkfs.f2fs", "-q", "-l", "flash drive"]),
}  # fmt: skip


def run(*command: str | Path) -> str:
    environment = {"LC_ALL": "C", "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    done = subprocess.run(
        command, input="key", env=environment, check=True, text=True, capture_output=True
    )
    return done.stdout


def blank(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def made(path: Path, name: str) -> Path:
    size, command = MAKERS[name]
    run(*command, blank(path, size * MiB))
    return path


def content_of(path: Path) -> Content | None:
    device = RawFile.open(path, lock=False)
    try:
        return identify(device)
    finally:
        device.close()


def write_at(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def blkid(path: Path) -> dict[str, str]:
    lines = run("blkid", "-p", "-o", "export", path).splitlines()
    return dict(line.replace("\\ ", " ").replace("\\!", "!").split("=", 1) for line in lines)


def dumpe2fs(path: Path) -> dict[str, str]:
    lines = run("dumpe2fs", "-h", path).splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("name", MAKERS)
def test_kind_uuid_and_label_are_those_of_blkid(tmp_path: Path, name: str) -> None:
    disk = made(tmp_path / "fs", name)
    content, judge = content_of(disk), blkid(disk)
    assert content is not None
    assert (content.kind, content.uuid) == (judge["TYPE"], judge["UUID"])
    assert content.label == judge.get("LABEL", "")


@pytest.mark.parametrize("name", [name for name in MAKERS if name.startswith("ext")])
def test_ext_counts_and_features_are_those_of_dumpe2fs(tmp_path: Path, name: str) -> None:
    disk = made(tmp_path / "fs", name)
    content, judge = content_of(disk), dumpe2fs(disk)
    assert isinstance(content, ExtContent)
    assert content.block_count == int(judge["Block count"])
    assert content.block_size == int(judge["Block size"])
    assert content.size == content.block_size * content.block_count == disk.stat().st_size
    assert content.used == content.size - content.block_size * int(judge["Free blocks"])
    assert (content.clean, content.needs_recovery) == (True, False)
    assert content.has_64bit == ("64bit" in judge["Filesystem features"])
    assert content.growable == "resize2fs"


def test_the_high_half_of_a_block_count_is_read(tmp_path: Path) -> None:
    disk = made(tmp_path / "fs", "ext4")
    raw = bytearray(disk.read_bytes()[1024:2048])
    struct.pack_into("<I", raw, 0x150, 1)
    struct.pack_into("<I", raw, 1020, crc32c(bytes(raw[:1020])))
    write_at(disk, 1024, bytes(raw))
    content = content_of(disk)
    assert isinstance(content, ExtContent)
    assert content.block_count == (1 << 32) + 64 * MiB // content.block_size


def test_a_label_beyond_ascii(tmp_path: Path) -> None:
    disk = made(tmp_path / "fs", "ext2")
    run("e2label", disk, "größer")
    content = content_of(disk)
    assert content is not None
    assert content.label == run("e2label", disk).strip() == "größer"


@pytest.mark.parametrize("kind", ["fat16", "fat32", "exfat", "swap"])
def test_kinds_that_do_not_grow_here_say_so(tmp_path: Path, kind: str) -> None:
    content = content_of(made(tmp_path / "fs", kind))
    assert content is not None
    assert content.growable is None


def test_sizes_cover_the_device(tmp_path: Path) -> None:
    for name in ("xfs", "btrfs", "ntfs", "fat16", "fat32", "exfat", "f2fs", "swap"):
        disk = made(tmp_path / name.replace(" ", ""), name)
        content = content_of(disk)
        assert content is not None
        assert content.size == disk.stat().st_size, name


def test_an_unclean_ext4_is_seen(tmp_path: Path) -> None:
    disk = made(tmp_path / "fs", "ext4 of old")
    run("debugfs", "-w", "-R", "feature needs_recovery", disk)
    run("debugfs", "-w", "-R", "ssv state 2", disk)
    content = content_of(disk)
    assert isinstance(content, ExtContent)
    assert (content.clean, content.needs_recovery) == (False, True)


def test_resize2fs_is_seen_in_the_superblock(tmp_path: Path) -> None:
    disk = made(tmp_path / "fs", "ext4")
    os.truncate(disk, 200 * MiB)
    run("e2fsck", "-fp", disk)
    run("resize2fs", disk)
    content = content_of(disk)
    assert content is not None
    assert content.size == 200 * MiB


def test_a_superblock_with_a_wrong_checksum_is_none(tmp_path: Path) -> None:
    disk = made(tmp_path / "fs", "ext4")
    write_at(disk, 1024 + 4, b"\x01")
    assert content_of(disk) is None


@pytest.mark.parametrize(
    "signature", [b"S1SUSPEND\0", b"S2SUSPEND\0", b"ULSUSPEND\0", b"LINHIB0001"]
)
def test_a_sleeping_system_in_the_swap_is_noticed(tmp_path: Path, signature: bytes) -> None:
    disk = made(tmp_path / "fs", "swap")
    awake = content_of(disk)
    write_at(disk, 4096 - 10, signature)
    asleep = content_of(disk)
    assert isinstance(awake, SwapContent)
    assert isinstance(asleep, SwapContent)
    assert (awake.hibernated, asleep.hibernated) == ("", signature.rstrip(b"\0").decode())
    assert (asleep.kind, asleep.uuid, asleep.label) == ("swap", awake.uuid, "paging")


def test_luks_versions(tmp_path: Path) -> None:
    for version in (1, 2):
        content = content_of(made(tmp_path / f"luks{version}", f"luks{version}"))
        assert isinstance(content, LuksContent)
        assert content.version == version


def lvm_crc(data: bytes) -> int:
    crc = 0xF597A6CF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return crc


def test_a_physical_volume_of_lvm(tmp_path: Path) -> None:
    disk = blank(tmp_path / "fs", 8 * MiB)
    uuid = b"abcdefGHIJ0123klmnopqrstUVWXyz45"
    body = struct.pack("<I8s", 32, b"LVM2 001") + struct.pack("<32sQ", uuid, 8 * MiB)
    body = body.ljust(512 - 20, b"\0")
    write_at(disk, 512, struct.pack("<8sQI", b"LABELONE", 1, lvm_crc(body)) + body)
    content, judge = content_of(disk), blkid(disk)
    assert isinstance(content, PhysicalVolumeContent)
    assert (content.uuid, content.size, content.group) == (judge["UUID"], 8 * MiB, None)
    assert "0 metadata areas" in content.unreadable
    assert judge["TYPE"] == "LVM2_member"


def test_two_signatures_at_once_are_not_guessed_about(tmp_path: Path) -> None:
    disk = made(tmp_path / "fs", "ext4 of old")
    write_at(disk, 0, b"XFSB")
    write_at(disk, 4096 - 10, b"SWAPSPACE2")
    content = content_of(disk)
    assert isinstance(content, AmbiguousContent)
    assert "ext4" in content.candidates
    assert content.growable is None


def test_a_partition_is_read_through_its_window(tmp_path: Path) -> None:
    filesystem = made(tmp_path / "fs", "ext2")
    disk = blank(tmp_path / "disk", 10 * MiB)
    write_at(disk, MiB, filesystem.read_bytes())
    device = RawFile.open(disk, lock=False)
    try:
        assert identify(Window(device, MiB, 8 * MiB)) == content_of(filesystem)
        assert identify(Window(device, 0, MiB)) is None
    finally:
        device.close()


@pytest.mark.parametrize("size", [0, 1, 512, 1024, 1535, 2048, 4096, 4100, 65536, 69632])
def test_blank_and_tiny_devices_hold_nothing(tmp_path: Path, size: int) -> None:
    assert content_of(blank(tmp_path / "fs", size)) is None


@pytest.mark.parametrize(
    "name", ["ext4", "ext4 of old", "swap", "luks2", "xfs", "btrfs", "ntfs", "fat32"]
)
def test_noise_and_truncation_never_end_in_a_traceback(tmp_path: Path, name: str) -> None:
    disk = made(tmp_path / "fs", name)
    with disk.open("rb") as file:
        clean = file.read(68 * KiB)
    dice, target = random.Random(11), blank(tmp_path / "noise", 68 * KiB)
    for _ in range(100):
        broken = bytearray(clean[: dice.choice((68 * KiB, 68 * KiB, 5000, 1030, 600))])
        for _ in range(dice.choice((1, 5, 200))):
            broken[dice.randrange(min(len(broken), 2048))] = dice.randrange(256)
        target.write_bytes(broken)
        content_of(target)


def test_the_check_value_of_crc32c() -> None:
    assert crc32c(b"123456789") ^ 0xFFFFFFFF == 0xE3069283
