"""resize2fs is the judge of our own arithmetic of how large it makes a file system."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.filesystems.ext_growth import grown_size
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


def read(disk: Path):
    device = RawFile.open(disk)
    try:
        return identify(device)
    finally:
        device.close()


def run(*words: str | Path) -> None:
    subprocess.run(words, check=True, capture_output=True)
