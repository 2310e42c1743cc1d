"""Volumes that say where they start say their new place after a move, judged by their own tools."""

from __future__ import annotations

import hashlib
import re
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.steps.moving import Move, copy, digest
from growdisk.units import MiB

_OLD, _NEW, _SIZE = MiB, 61 * MiB, 48 * MiB
_MAKERS = {
    "fat12": ["mkfs.vfat", "-F", "12", "-s", "64"],
    "fat16": ["mkfs.vfat", "-F", "16", "-h", "63"],
    "fat32": ["mkfs.vfat", "-F", "32", "-s", "1"],
    "ntfs": ["mkntfs", "-q", "-F", "-f", "-p", "2048", "-H", "255", "-S", "63"],
    "exfat": ["mkfs.exfat"],
}  # fmt: skip
_JUDGES = {
    "fat": ["fsck.vfat", "-n"],
    "ntf": ["ntfsresize", "-i", "-f"],
    "exf": ["fsck.exfat", "-n"],
}


def run(*command: str | Path) -> str:
    return subprocess.run(
        command, check=True, text=True, capture_output=True, env={"PATH": "/usr/sbin:/usr/bin"}
    ).stdout


def made(folder: Path, kind: str) -> bytes:
    file = folder / "volume"
    with file.open("wb") as volume:
        volume.truncate(_SIZE)
    run(*_MAKERS[kind], file)
    return file.read_bytes()


def moved(folder: Path, volume: bytes, new: int = _NEW, sector_size: int = 512) -> bytes:
    """What stands at the new place."""
    disk = folder / "disk"
    with closing(RawFile.create(disk, 128 * MiB)) as device:
        device.write(_OLD, volume)
        move = Move(2, _OLD, new, _SIZE)
        told = copy(device, move, lambda: None, sector_size)
        assert told == digest(device, move)
        return device.read(new, _SIZE)


def start_in(raw: bytes, kind: str, boot_sector: int = 0) -> int:
    at, length = (64, 8) if kind == "exfat" else (28, 4)
    return int.from_bytes(raw[boot_sector + at :][:length], "little")


@pytest.mark.parametrize("kind", _MAKERS)
def test_a_moved_volume_says_its_new_start_and_is_sound(tmp_path: Path, kind: str) -> None:
    new = moved(tmp_path, made(tmp_path, kind))
    assert start_in(new, kind) == _NEW // 512
    (tmp_path / "new").write_bytes(new)
    run(*_JUDGES[kind[:3]], tmp_path / "new")


@pytest.mark.parametrize(
    ("kind", "backup"), [("fat32", 6 * 512), ("ntfs", _SIZE - 512), ("exfat", 12 * 512)]
)  # fmt: skip
def test_the_backup_of_the_boot_sector_says_it_too(tmp_path: Path, kind: str, backup: int) -> None:
    assert start_in(moved(tmp_path, made(tmp_path, kind)), kind, backup) == _NEW // 512


def test_exfat_is_still_found_sound_by_its_backup_alone(tmp_path: Path) -> None:
    new = bytearray(moved(tmp_path, made(tmp_path, "exfat")))
    new[: 12 * 512] = new[12 * 512 : 24 * 512]
    (tmp_path / "new").write_bytes(new)
    assert re.search("clean", run("fsck.exfat", "-n", tmp_path / "new"))


def test_nothing_but_the_start_changes(tmp_path: Path) -> None:
    volume = made(tmp_path, "fat32")
    new = bytearray(moved(tmp_path, volume))
    for at in (28, 6 * 512 + 28):
        new[at : at + 4] = volume[at : at + 4]
    assert new == volume


def test_a_place_that_overlaps_the_old_one_is_told_as_well(tmp_path: Path) -> None:
    new = moved(tmp_path, made(tmp_path, "ntfs"), new=_OLD + 4 * MiB)
    assert start_in(new, "ntfs") == start_in(new, "ntfs", _SIZE - 512) == 5 * 2048


def test_sectors_are_those_of_the_disk(tmp_path: Path) -> None:
    assert (
        start_in(moved(tmp_path, made(tmp_path, "fat16"), sector_size=4096), "fat16")
        == _NEW // 4096
    )


def test_what_says_nothing_of_its_start_moves_byte_for_byte(tmp_path: Path) -> None:
    file = tmp_path / "volume"
    with file.open("wb") as volume:
        volume.truncate(_SIZE)
    run("mke2fs", "-q", "-t", "ext4", file)
    raw = file.read_bytes()
    assert hashlib.sha256(moved(tmp_path, raw)).digest() == hashlib.sha256(raw).digest()
