"""How full a file system is, by its superblock alone; judged by the tools and kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from growdisk.filesystems.content import ExtContent
from growdisk.units import MiB
from tests.guests.tools import run
from tests.unit.filesystems.reading import content_of


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
def test_a_fat_is_as_full_as_the_files_in_it(
    tmp_path: Path, blob: Path, bits: str, size: int
) -> None:
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


@pytest.mark.parametrize(
    "options",
    [
        "", "-b 1024", "-t ext2", "-t ext3", "-O ^has_journal", "-O bigalloc", "-O sparse_super2",
        "-O ^64bit",
        "-g 4096", "-O ^sparse_super,^resize_inode", "-O meta_bg,^resize_inode",
        "-O meta_bg,^resize_inode -b 1024 -g 1024", "-O fast_commit",
    ],
)  # fmt: skip
def test_an_ext_counts_its_own_tables_as_mke2fs_does(tmp_path: Path, options: str) -> None:
    image = sized(tmp_path / "ext4.raw", 300 * MiB)
    run("mkfs.ext4", "-q", "-F", *options.split(), image)
    clusters = re.search(r"Overhead clusters: +(\d+)", run("dumpe2fs", "-h", image))
    content = content_of(image)
    assert isinstance(content, ExtContent) and clusters is not None
    each = content.cluster_size if "bigalloc" in options else content.block_size
    assert content.overhead == int(clusters[1]) * each
    assert content.fullness is not None and content.fullness < 0.001


def test_an_empty_xfs_has_its_log_and_what_the_kernel_keeps(tmp_path: Path) -> None:
    image = sized(tmp_path / "xfs.raw", 700 * MiB)
    run("mkfs.xfs", "-q", image)
    log = re.search(r"log +=internal log .* blocks=(\d+)", run("xfs_db", "-r", "-c", "info", image))
    assert log is not None
    content = content_of(image)
    assert content.overhead == int(log[1]) * 4096
    # a mounted one: 0.06, with what its trees may need
    assert content.fullness == pytest.approx(0.05, abs=0.01)


def test_what_only_root_may_fill_is_no_room(tmp_path: Path) -> None:
    image = sized(tmp_path / "ext4.raw", 64 * MiB)
    run("mkfs.ext4", "-q", "-F", "-m", "50", image)
    content = content_of(image)
    kept = 64 * MiB // 50 // 1024 * 1024  # by the kernel, of blocks of 1 KiB
    assert content.reserved == 32 * MiB + kept
    assert content.fullness == pytest.approx(
        (content.used - content.overhead) / (64 * MiB - content.overhead - content.reserved)  # type: ignore[operator]
    )
