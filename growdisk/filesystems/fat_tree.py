"""Reads files and directories of FAT12, FAT16 and FAT32, with long names: an EFI system partition.

An inode's number here is where its directory entry lies on the device; the root's is 0. Names are
compared without case by the caller. Spec: Microsoft's fatgen103.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Collection, Iterator
from itertools import islice

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.fat import layout_of, read_fat
from growdisk.filesystems.file_tree import LARGEST, FileTree, Node, Unknown, more_blocks

# Name and extension, attributes, case flags, high and low half of the first cluster, size.
_ENTRY = struct.Struct("<8s3sBB7xH4xHI")
# All four low attributes at once (read-only, hidden, system, volume label) mark a piece of a long
# name: no real file has them together.
_LONG, _DIRECTORY, _VOLUME = 0x0F, 0x10, 0x08
_DELETED, _END = 0xE5, 0x00
# Of the piece of a long name that comes first, and is its end.
_LAST_PIECE = 0x40
_FILE_MODE, _DIRECTORY_MODE = stat.S_IFREG | 0o700, stat.S_IFDIR | 0o700
# A directory has no size of its own: its chain is followed, up to what fatgen103 allows (65,536
# entries of 32 bytes).
_LARGEST_DIRECTORY = 2 << 20
_LARGEST_FAT = 64 << 20  # of 512 GiB in clusters of 32 KiB


@dataclass(frozen=True)
class _FatNode(Node):
    cluster: int


class FatTree(FileTree):
    root, ignores_case = 0, True

    def __init__(self, device: BlockDevice) -> None:
        super().__init__(device)
        head = self._bytes(0, 512)
        if read_fat(head) is None:
            raise Unknown("it is not a FAT file system")
        layout = self._layout = layout_of(head)
        self.block_size, self._clusters = layout.cluster_size, layout.clusters
        self._bits = layout.bits
        self._root_cluster = int.from_bytes(head[44:48], "little") if self._bits == 32 else 0
        # A lying header must not make this read more than the clusters can need, 4 bytes each.
        length = min(layout.fat_size, (layout.clusters + 2) * 4)
        if length > _LARGEST_FAT:
            raise Unknown(f"its FAT has {length} bytes")
        self._fat = self._bytes(layout.fat_at, length)
        self._known: dict[int, _FatNode] = {}

    def has_room_for(self, growing: Collection[tuple[int, int]]) -> bool:
        wanted = more_blocks(growing, self.block_size)
        free = (cluster for cluster in range(2, self._clusters + 2) if self._next(cluster) == 0)
        return len([*islice(free, wanted)]) == wanted

    def inode(self, number: int) -> _FatNode:
        if number == self.root:
            return _FatNode(0, _DIRECTORY_MODE, 0, self._root_cluster)
        if number not in self._known:
            # Numbers are known from listing the directory: an entry alone cannot be found again.
            raise Unknown(f"there is no directory entry at {number}")
        return self._known[number]

    def entries(self, directory: Node) -> dict[str, int]:
        found: dict[str, int] = {}
        assert isinstance(directory, _FatNode), directory
        for name, inode in self._listed(directory):
            if name not in (".", ".."):
                self._known[inode.number] = inode
                found[name] = inode.number
        return found

    def read(self, inode: Node, limit: int = LARGEST) -> bytes:
        assert isinstance(inode, _FatNode), inode
        size = min(inode.size, limit)
        places = self._places(inode.cluster, size)
        content = b"".join(self._bytes(at, self.block_size) for at in places)[:size]
        if len(content) < size:
            raise Unknown("a file ends too early")
        return content

    def _places(self, cluster: int, size: int) -> Iterator[int]:
        """Where its clusters lie, as many as `size` bytes need."""
        for _ in range(-(-size // self.block_size)):
            # The chain ended (an end mark is higher than any cluster), or is damaged. read()
            # notices if bytes are missing.
            if not 2 <= cluster < self._clusters + 2:
                return
            yield self._layout.data_at + (cluster - 2) * self.block_size
            cluster = self._next(cluster)

    def _next(self, cluster: int) -> int:
        if self._bits == 12:
            # Two entries share three bytes: an odd one has the upper twelve bits of its pair.
            at = cluster * 3 // 2
            pair = int.from_bytes(self._fat[at : at + 2], "little")
            return pair >> 4 if cluster & 1 else pair & 0xFFF
        width = self._bits // 8
        entry = int.from_bytes(self._fat[cluster * width : (cluster + 1) * width], "little")
        return entry & 0x0FFFFFFF  # the upper four bits of a FAT32 entry are reserved

    def _listed(self, directory: _FatNode) -> Iterator[tuple[str, _FatNode]]:
        pieces: list[bytes] = []
        for at, raw in self._rows(directory):
            base, extension, attributes, case, high, low, size = _ENTRY.unpack(raw)
            # No entry after this one was ever used.
            if raw[0] == _END:
                return
            if raw[0] == _DELETED:
                pieces = []
            elif attributes & _LONG == _LONG:
                pieces = [raw] if raw[0] & _LAST_PIECE else [*pieces, raw]
            elif attributes & _VOLUME:
                pieces = []
            else:
                name = _long_name(pieces, raw[:11]) or _short_name(base, extension, case)
                mode = _DIRECTORY_MODE if attributes & _DIRECTORY else _FILE_MODE
                # A directory's own size field is always 0.
                size = 0 if attributes & _DIRECTORY else size
                yield name, _FatNode(at, mode, size, high << 16 | low)
                pieces = []

    def _rows(self, directory: _FatNode) -> Iterator[tuple[int, bytes]]:
        blocks: list[tuple[int, int]] = []
        if directory.cluster:
            places = self._places(directory.cluster, _LARGEST_DIRECTORY)
            blocks = [(place, self.block_size) for place in places]
        elif directory.number == self.root:
            # Only FAT12 and FAT16: a FAT32 root has a first cluster like any directory.
            blocks = [(self._layout.root_at, self._layout.root_size)]
        for place, length in blocks:
            raw = self._bytes(place, length)
            yield from ((place + at, raw[at : at + 32]) for at in range(0, length, 32))


def _long_name(pieces: list[bytes], short: bytes) -> str:
    """The name that the pieces make; "" if they are another's, left by an older program."""
    # They count down to 1, and each has the checksum of the short name.
    numbers = [piece[0] & ~_LAST_PIECE for piece in pieces]
    if numbers != [*range(len(pieces), 0, -1)]:
        return ""
    if any(piece[13] != _checksum(short) for piece in pieces):
        return ""
    text = b"".join(piece[1:11] + piece[14:26] + piece[28:32] for piece in reversed(pieces))
    return text.decode("utf-16-le", "surrogateescape").split("\0")[0]


def _checksum(short: bytes) -> int:
    total = 0
    for byte in short:
        # a turn to the right by one bit, and the next byte
        total = ((total & 1) << 7 | total >> 1) + byte & 0xFF
    return total


def _short_name(base: bytes, extension: bytes, case: int) -> str:
    """`case`: which of the two is shown in small letters."""
    words = [part.decode("cp437").rstrip() for part in (base, extension)]
    words = [word.lower() if case & bit else word for word, bit in zip(words, (8, 16), strict=True)]
    return ".".join(word for word in words if word)
