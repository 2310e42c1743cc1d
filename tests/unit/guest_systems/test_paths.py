"""Paths in directories that no system would have written so."""

from __future__ import annotations

import stat

from growdisk.filesystems.file_tree import LARGEST, FileTree, Node
from growdisk.guest_systems.paths import GuestPaths, MountRoot


class Tree(FileTree):
    """One directory, with these names for the file 2."""

    root = 1

    def __init__(self, *names: str) -> None:
        self.names = names

    def inode(self, number: int) -> Node:
        return Node(number, stat.S_IFDIR if number == self.root else stat.S_IFREG, 0)

    def entries(self, directory: Node) -> dict[str, int]:
        return dict.fromkeys(self.names, 2)

    def read(self, inode: Node, limit: int = LARGEST) -> bytes:
        return b""


def test_a_damaged_directory_with_an_empty_name_is_gone_through() -> None:
    paths = GuestPaths(MountRoot(Tree("", "a.conf", ".b.conf"), 1))
    assert paths.matching("/*.conf") == ["/a.conf"]
    assert paths.matching("/.*.conf") == ["/.b.conf"]
