"""The base of all readers of unmounted file systems: inodes by number, names, contents.

Readers trust nothing that the disk says: unsupported or inconsistent structures raise Unknown.
"""

from __future__ import annotations

import stat
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from typing import ClassVar

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import NamedTuple, dataclass
from growdisk.units import format_size

LARGEST = 1 << 30  # no file that is read here comes near
_LARGEST_DIRECTORY = 64 << 20


class Unknown(ValueError):
    """An on-disk structure that is not supported, or inconsistent. The text says which."""


@dataclass(frozen=True)
class Node:
    """A file, directory or symbolic link. `number` is unique in its tree; `size` in bytes."""

    number: int
    mode: int
    size: int

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.mode)


class Run(NamedTuple):
    """`length` blocks, `logical` in the file, `physical` on the device; `written`: with data."""

    logical: int
    physical: int
    length: int
    written: bool


class Subvolume(NamedTuple):
    """A subvolume; `path` is below the top level, "" for that itself.

    `is_copy`: it is a snapshot of another one.
    """

    number: int
    path: str
    read_only: bool
    is_copy: bool


def more_blocks(growing: Iterable[tuple[int, int]], unit: int) -> int:
    """What files of these sizes take to become that much longer, in blocks of `unit` bytes."""
    return sum(-(-(size + more) // unit) - -(-size // unit) for size, more in growing)


class FileTree(ABC):
    """`root` is the number of the top directory, `block_size` what a Run counts in.

    A tree takes its own nodes only: those of inode().
    """

    root: int
    block_size: int
    ignores_case: ClassVar[bool] = False
    copies_on_write: ClassVar[bool] = False

    def __init__(self, device: BlockDevice) -> None:
        self.device = device

    @abstractmethod
    def inode(self, number: int) -> Node: ...

    @abstractmethod
    def entries(self, directory: Node) -> dict[str, int]:
        """Names and inode numbers, without . and .. ; names that are not UTF-8 are escaped."""

    @abstractmethod
    def read(self, inode: Node, limit: int = LARGEST) -> bytes:
        """The content (of a link: its target), at most the first `limit` bytes."""

    @property
    def mounted_root(self) -> int:
        """The number of the directory that a mount without options shows."""
        return self.root

    def subvolumes(self) -> list[Subvolume]:
        """All of them, the top level first; none if its kind has no such thing."""
        return []

    def root_of(self, _subvolume: int) -> int:
        """The number of a subvolume's top directory."""
        return self.root

    def has_room_for(self, growing: Collection[tuple[int, int]]) -> bool:
        """Whether files of these sizes can become that much longer, all of them.

        True if that is not known. What `copies_on_write` needs room even for what does not grow.
        """
        return True

    def _bytes(self, offset: int, length: int) -> bytes:
        """Unknown instead of an error if the range leaves the device."""
        if offset < 0 or length < 0 or offset + length > self.device.size:
            raise Unknown("it points beyond its end")
        return self.device.read(offset, length)

    def _place(self, block: int) -> int:
        """The byte of a block of the device."""
        return block * self.block_size

    def _assembled(self, runs: Iterable[Run], size: int) -> bytes:
        """The first `size` bytes of a file with these runs, in order; holes are zeros."""
        found, end = [b""], 0
        for run in runs:
            start = run.logical * self.block_size
            length = min(run.length * self.block_size, size - start)
            if not run.written or length <= 0:
                continue
            # Each byte once: a small tree could have the same blocks read without an end.
            if start < end:
                raise Unknown("extents overlap")
            found += [bytes(start - end), self._bytes(self._place(run.physical), length)]
            end = start + length
        found = [piece for piece in (*found, bytes(size - end)) if piece]
        # most files are one piece: nothing is copied
        return found[0] if len(found) == 1 else b"".join(found)


def wanted_size(inode: Node, limit: int) -> int:
    """How much of its content read() returns. Unknown if all is asked for, and is too much."""
    largest = _LARGEST_DIRECTORY if inode.is_directory else LARGEST
    if inode.size > largest and limit >= largest:
        # The upper bits are btrfs's subvolume.
        number = inode.number & (1 << 64) - 1
        raise Unknown(f"inode {number} is larger than {format_size(largest)}")
    return min(inode.size, limit)


def decode_name(raw: bytes) -> str:
    """A name as the readers return it."""
    return raw.decode("utf-8", "surrogateescape")
