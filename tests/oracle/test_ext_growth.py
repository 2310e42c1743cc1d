"""resize2fs is the judge of our own arithmetic of how large it makes a file system."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.filesystems.ext_growth import grown_size, written_by_growth
from growdisk.filesystems.identify import identify

MKFS_OPTIONS = (
    (),
    ("-b", "1024"),
    ("-O", "^64bit"),
    ("-O", "^sparse_super,^resize_inode"),
    ("-O", "sparse_super2,^resize_inode"),
    ("-t", "ext3"),
    ("-t", "ext2", "-b", "2048"),
)


@pytest.mark.parametrize("options", MKFS_OPTIONS)
def test_a_grown_file_system_has_exactly_the_size_that_was_foretold(
    tmp_path: Path, options: tuple[str, ...]
):
    chance = random.Random(repr(options))
    for number in range(4):
        disk = tmp_path / f"{number}.img"
        old = chance.randint(20, 200) << 20
        new = old + chance.randint(1, 400) * chance.choice(
            (512, 1 << 20, (1 << 20) + 4096, 123 * 512)
        )
        run("truncate", "-s", str(old), disk)
        run("mkfs.ext4", "-q", "-F", *options, disk)
        foretold = grown_size(read(disk), new)
        run("truncate", "-s", str(new), disk)
        subprocess.run(["e2fsck", "-fp", disk], capture_output=True, check=False)
        run("resize2fs", disk)
        assert read(disk).size == foretold
        assert grown_size(read(disk), new) == foretold  # and there is nothing left to do
        disk.unlink()


@pytest.mark.parametrize("copies", [0, 1, 2])
def test_a_small_last_group_needs_room_for_its_copy_of_the_superblock_if_it_has_one(
    tmp_path: Path, copies: int
):
    disk, old = tmp_path / "disk", 100 << 20
    # In the last group 502 blocks of inodes, two of bitmaps, 50 of data; three for a copy.
    for blocks in (548, 552, 556, 560):
        run("truncate", "-s", str(old), disk)
        options = f"-b 1024 -O sparse_super2,^resize_inode -E num_backup_sb={copies} -N 26104"
        run("mkfs.ext4", "-q", "-F", *options.split(), disk)
        assert read(disk).inode_blocks_per_group == 502
        new = (200 << 20) + (blocks << 10)
        foretold = grown_size(read(disk), new)
        run("truncate", "-s", str(new), disk)
        run("resize2fs", disk)
        assert read(disk).size == foretold, blocks
        disk.unlink()


@pytest.mark.parametrize("copies", [0, 1, 2])
def test_with_sparse_super2_growth_writes_one_copy_of_the_descriptors_at_most(
    tmp_path: Path, copies: int
):
    disk, old, new = tmp_path / "disk", 100 << 20, 2000 << 20
    run("truncate", "-s", str(old), disk)
    options = f"-b 1024 -O sparse_super2,^resize_inode,^flex_bg -E num_backup_sb={copies}"
    run("mkfs.ext4", "-q", "-F", *options.split(), disk)
    _, written = written_by_growth(read(disk), new)
    run("truncate", "-s", str(new), disk)
    run("resize2fs", disk)
    places = subprocess.run(["dumpe2fs", disk], capture_output=True, text=True, check=True).stdout
    backups = re.findall(r"Backup superblock at (\d+), Group descriptors at (\d+)-(\d+)", places)
    fresh = [int(b) - int(a) + 1 for at, a, b in backups if int(at) << 10 > old]
    assert written == sum(fresh) << 10


def read(disk: Path):
    device = RawFile.open(disk)
    try:
        return identify(device)
    finally:
        device.close()


def run(*words: str | Path) -> None:
    subprocess.run(words, check=True, capture_output=True)
