"""Files of an ext4, read by us and as mke2fs put them there; features that we know nothing of."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.filesystems.ext_tree import ExtTree
from growdisk.filesystems.file_tree import Unknown
from growdisk.guest_systems.file_rewriter import unfit, unfit_for_swap_file
from growdisk.guest_systems.paths import FoundInode
from growdisk.units import MiB
from tests.guests.tools import run

_TWO_COPIES = "-b 1024 -O meta_bg,^resize_inode,sparse_super2"


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (200, "-b 1024"),
        (200, "-b 1024 -O meta_bg,^resize_inode"),
        (200, "-b 1024 -O meta_bg,^resize_inode,^sparse_super"),
        # 25 groups, whose descriptors are in the groups 0 and 16
        (200, f"{_TWO_COPIES},^sparse_super"),
        # group 16 is the last one, and has a copy of the superblock in spite of sparse_super
        (17 * 8, _TWO_COPIES),
        (17 * 8, f"{_TWO_COPIES},^sparse_super"),
        (200, "-b 1024 -O bigalloc -C 16384"),
        (200, "-b 1024 -O bigalloc,meta_bg,^resize_inode -C 2048 -g 8192"),
    ],
)
def test_every_file_is_what_was_put_there(tmp_path: Path, size: int, options: str) -> None:
    # 16 inodes in each group of 8 MiB: all groups are in use.
    files = {f"file{number:03}": f"{number}\n".encode() * 500 for number in range(2 * size - 20)}
    image = _made(tmp_path, files, f"{options} -N {2 * size}", size * MiB)
    with closing(RawFile.open(image)) as device:
        tree = ExtTree(device)
        numbers = tree.entries(tree.inode(tree.root))
        found = {name: tree.read(tree.inode(numbers[name])) for name in files}
    assert {name for name in files if found[name] != files[name]} == set()


@pytest.mark.parametrize("feature", ["dirdata", "compression", "FEATURE_I20"])
def test_what_may_lie_elsewhere_is_not_read(tmp_path: Path, feature: str) -> None:
    image = _made(tmp_path, {"fstab": b"x"}, "-O ^metadata_csum", 16 * MiB)
    _set_feature(image, feature)
    with closing(RawFile.open(image)) as device, pytest.raises(Unknown, match=feature):
        ExtTree(device)


@pytest.mark.parametrize("feature", ["shared_blocks", "read-only", "FEATURE_R20"])
def test_into_files_that_nobody_may_write_to_nothing_is_written(
    tmp_path: Path, feature: str
) -> None:
    image = _made(tmp_path, {"fstab": b"x"}, "-O ^metadata_csum", 16 * MiB)
    with closing(RawFile.open(image)) as device:
        assert _why_unfit(ExtTree(device)) == ("", "")
    _set_feature(image, feature)
    with closing(RawFile.open(image)) as device:
        assert all(feature in reason for reason in _why_unfit(ExtTree(device)))


@pytest.mark.parametrize("size", [0, 16, 48, 65535])
def test_descriptors_of_an_impossible_size_are_damage(tmp_path: Path, size: int) -> None:
    image = _made(tmp_path, {"fstab": b"x"}, "-O 64bit,^metadata_csum", 16 * MiB)
    with image.open("r+b") as file:
        file.seek(1024 + 0xFE)
        file.write(size.to_bytes(2, "little"))
    with closing(RawFile.open(image)) as device, pytest.raises(Unknown, match="damaged"):
        ExtTree(device)


def _made(folder: Path, files: dict[str, bytes], options: str, size: int) -> Path:
    source, image = folder / "files", folder / "ext4.raw"
    source.mkdir()
    for name, content in files.items():
        (source / name).write_bytes(content)
    with image.open("wb") as file:
        file.truncate(size)
    run("mke2fs", "-q", "-t", "ext4", "-F", *options.split(), "-d", source, image)
    return image


def _set_feature(image: Path, feature: str) -> None:
    run("debugfs", "-w", "-R", f"feature {feature}", image)


def _why_unfit(tree: ExtTree) -> tuple[str, str]:
    inode = tree.inode(tree.entries(tree.inode(tree.root))["fstab"])
    return unfit(FoundInode(tree, inode)), unfit_for_swap_file(tree, MiB)
