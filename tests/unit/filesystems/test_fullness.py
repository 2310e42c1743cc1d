"""How full a file system is, by its superblock alone; the judges are the tools and the kernel that made it so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.filesystems.content import Content
from growdisk.filesystems.identify import identify
from growdisk.units import MiB
from tests.guests.tools import run


def content_of(image: Path) -> Content:
    file = RawFile.open(image)
    try:
        found = identify(file)
    finally:
        file.close()
    assert found is not None
    return found


def sized(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


@pytest.fixture
def blob(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "blob"
    path.write_bytes(bytes(range(256)) * 4096)  # a MiB
    yield path


@pytest.mark.parametrize(("bits", "size"), [("12", 3 * MiB), ("16", 64 * MiB), ("32", 600 * MiB)])
def test_a_fat_is_as_full_as_the_files_in_it(tmp_path: Path, blob: Path, bits: str, size: int) -> None:
    image = sized(tmp_path / "fat.raw", size)
    run("mkfs.vfat", "-F", bits, image)
    empty = content_of(image).used
    run("mcopy", "-i", image, blob, "::blob")
    full = content_of(image).used
    assert empty is not None and full is not None
    assert MiB <= full - empty <= MiB + 64 * 1024


def test_an_ntfs_is_as_full_as_ntfsinfo_says(tmp_path: Path, blob: Path) -> None:
    image = sized(tmp_path / "ntfs.raw", 61 * MiB + 512)
    run("mkfs.ntfs", "-q", "-F", image)
    run("ntfscp", "-q", image, blob, "blob")
    said = run("ntfsinfo", "-m", image)
    free = int(re.search(r"Free Clusters: (\d+)", said)[1])  # type: ignore[index]
    all_of_them = int(re.search(r"Volume Size in Clusters: (\d+)", said)[1])  # type: ignore[index]
    assert content_of(image).used == (all_of_them - free) * 4096


def test_a_new_f2fs_has_what_its_checkpoint_says(tmp_path: Path) -> None:
    image = sized(tmp_path / "f2fs.raw", 128 * MiB)
    run("mkfs.f2fs", "-q", image)
    said = run("dump.f2fs", "-d", "1", image)
    user = int(re.search(r"user_block_count\s+\[0x\s*([0-9a-f]+)", said)[1], 16)  # type: ignore[index]
    valid = int(re.search(r"valid_block_count\s+\[0x\s*([0-9a-f]+)", said)[1], 16)  # type: ignore[index]
    assert content_of(image).used == 128 * MiB - (user - valid) * 4096


def test_an_exfat_that_does_not_know_has_no_level(tmp_path: Path) -> None:
    image = sized(tmp_path / "exfat.raw", 16 * MiB)
    run("mkfs.exfat", image)
    with image.open("r+b") as file:
        file.seek(112)
        file.write(b"\xff")
    assert content_of(image).used is None
    assert content_of(image).fullness is None


def test_what_only_root_may_fill_is_no_room(tmp_path: Path) -> None:
    image = sized(tmp_path / "ext4.raw", 64 * MiB)
    run("mkfs.ext4", "-q", "-F", "-m", "50", image)
    content = content_of(image)
    assert content.reserved == 32 * MiB
    assert content.fullness == pytest.approx(content.used / (32 * MiB))  # type: ignore[operator]
