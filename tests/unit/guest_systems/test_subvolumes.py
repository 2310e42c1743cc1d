"""What fstab mounts of a btrfs: a subvolume by its path, or by its number alone."""

from __future__ import annotations

import pytest

from growdisk.filesystems.btrfs_tree import BtrfsTree
from growdisk.filesystems.file_tree import Subvolume
from growdisk.guest_config.etc_tables import Entry
from growdisk.guest_systems.look import _inner


class Tree(BtrfsTree):
    """With a subvolume @boot."""

    def __init__(self) -> None:
        pass

    @property
    def default_subvolume(self) -> int:
        return 256

    def subvolumes(self) -> list[Subvolume]:
        return [
            Subvolume(n, path, read_only=False, is_copy=False)
            for n, path in ((5, ""), (256, "@"), (257, "@boot"))
        ]


@pytest.mark.parametrize(
    ("options", "path", "number"),
    [("defaults", "", 256), ("subvol=@boot", "@boot", 257), ("rw,subvolid=257", "@boot", 257),
     ("subvolid=257,subvol=/@boot", "@boot", 257), ("subvolid=5", "/", 5), ("subvolid=0", "/", 5),
     ("subvol=/", "/", 5)],
)  # fmt: skip
def test_a_subvolume_is_known_by_its_path_or_its_number(
    options: str, path: str, number: int
) -> None:
    found = _inner(Tree(), Entry("UUID=1", "/boot", "btrfs", options))
    assert found is not None
    assert (found[0], found[1].number) == (path, Tree().root_of(number))


@pytest.mark.parametrize("options", ["subvol=@other", "subvolid=300"])
def test_a_subvolume_that_there_is_not_is_none(options: str) -> None:
    assert _inner(Tree(), Entry("UUID=1", "/boot", "btrfs", options)) is None
