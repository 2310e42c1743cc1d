"""The interface of readers of unmounted file systems: inodes by number, names, contents.

Readers trust nothing that the disk says: unsupported or inconsistent structures raise Unknown.
"""

from __future__ import annotations

import stat
from typing import Protocol

from growdisk.block.device import BlockDevice

LARGEST = 1 << 30  # no file or directory that is read here comes near


class Unknown(ValueError):
    """An on-disk structure that is not supported, or inconsistent. The text says which."""


class Node(Protocol):
    """A file, directory or symbolic link. `number` is unique in its tree; `size` in bytes."""

    @property
    def number(self) -> int: ...
    @property
    def mode(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def is_file(self) -> bool: ...
    @property
    def is_directory(self) -> bool: ...
    @property
    def is_link(self) -> bool: ...


class FileTree(Protocol):
    """`root` is the number of the top directory."""

    device: BlockDevice
    root: int

    def inode(self, number: int) -> Node: ...

    def entries(self, directory: Node) -> dict[str, int]:
        """Names and inode numbers, without . and .. ; names that are not UTF-8 are escaped."""
        ...

    def read(self, inode: Node, limit: int = LARGEST) -> bytes:
        """The content (of a link: its target), at most the first `limit` bytes."""
        ...


class NodeKinds:
    """What the mode of an inode says that it is."""

    mode: int

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)


class PlainNode(NodeKinds):
    """A Node of the readers that only look."""

    def __init__(self, number: int, mode: int, size: int) -> None:
        self.number, self.mode, self.size = number, mode, size


def decode_name(raw: bytes) -> str:
    """A name as the readers return it."""
    return raw.decode("utf-8", "surrogateescape")


def read_device(device: BlockDevice, offset: int, length: int) -> bytes:
    """Unknown instead of an error if the range leaves the device."""
    if offset < 0 or length < 0 or offset + length > device.size:
        raise Unknown("it points beyond its end")
    return device.read(offset, length)
