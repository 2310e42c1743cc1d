"""Reads files and directories of an unmounted ext2/3/4 file system, and where their blocks are.

Nothing that the disk says is trusted: every number is checked against the device before it is
followed. Unsupported structures are refused by name (Unknown), never guessed. The journal must have
been replayed before. Spec: Linux Documentation/filesystems/ext4 (inode, extent tree, block map,
directory entries).
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Collection, Iterator

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import ExtContent
from growdisk.filesystems.ext import SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, read_ext, read_superblock
from growdisk.filesystems.ext_features import unknown_layout
from growdisk.filesystems.ext_growth import has_superblock
from growdisk.filesystems.file_tree import (
    LARGEST,
    FileTree,
    Node,
    Run,
    Unknown,
    decode_name,
    more_blocks,
    wanted_size,
)

ROOT = 2
META_BG = 0x10
_EXTENTS, _INLINE = 0x80000, 0x10000000
_STRANGE = {
    0x4: "compressed",
    0x10: "immutable",
    0x20: "append-only",
    0x800: "encrypted",
    0x100000: "sealed with fs-verity",
    _INLINE: "kept inside its inode (inline_data)",
}
# Mode, low half of the size, flags, block pointers (60 bytes), high half of the size.
_INODE = struct.Struct("<HxxI24xI4x60s8xI")
# Header: magic, entries, room for entries, depth. Leaf: first block of the file, length, high and
# low half of the first block on the disk. Index: first block of the file, low and high half of the
# child. All three are 12 bytes long.
_EXTENT_HEADER = struct.Struct("<HHHH4x")
_EXTENT, _INDEX = struct.Struct("<IHHI"), struct.Struct("<IIHxx")
_EXTENT_MAGIC, _DEEPEST = 0xF30A, 5
# EXT_INIT_MAX_LEN: a longer extent is unwritten, and is by so much shorter than it says.
_UNWRITTEN = 32768
# What does not fit into the block pointers is the attribute system.data; 7 stands for "system."
# (EXT4_XATTR_INDEX_SYSTEM).
_ATTRIBUTES, _SYSTEM_DATA = b"\0\0\x02\xea", (7, b"data")
# length of the name, its first part, where the value is, its size
_ATTRIBUTE = struct.Struct("<BBH4xI4x")
# A directory entry: inode, length of the entry, length of the name, type.
_DIRECT, _ENTRY = 12, struct.Struct("<IHBB")


@dataclass(frozen=True)
class Inode(Node):
    flags: int
    pointers: bytes
    inline: bytes = b""  # what is kept inside the inode, if it is

    @property
    def strangeness(self) -> str:
        """Why its content cannot simply be rewritten in its blocks; "" if it can."""
        return next((word for flag, word in _STRANGE.items() if self.flags & flag), "")


class ExtTree(FileTree):
    """Everything is read again at each call, so that another's writes are seen."""

    root = ROOT

    def __init__(self, device: BlockDevice) -> None:
        super().__init__(device)
        head = device.read(0, SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE)
        content, block = read_ext(head), read_superblock(head)
        if block is None or not isinstance(content, ExtContent):
            raise Unknown("it is not an ext file system")
        if unknown := unknown_layout(content):
            raise Unknown(f"it has {' and '.join(unknown)}, which growdisk does not read")
        self.content, self.block_size = content, content.block_size
        self._inode_tables: dict[int, int] = {}
        self._inode_size = block.real_inode_size
        # Not always the first data block: with bigalloc that is 0 for blocks of 1 KiB too.
        self._super_block = SUPERBLOCK_OFFSET // self.block_size
        # The device may be shorter than the file system says: then blocks after its end count as
        # damage.
        self._blocks = min(content.block_count, device.size // content.block_size)
        self._first_meta_block = block.first_meta_group
        if (
            not (block.blocks_per_group and block.inodes_per_group)
            or not 128 <= self._inode_size <= self.block_size
            or (content.has_64bit and block.descriptor_size != content.descriptor_size)
        ):
            raise Unknown("its superblock is damaged")

    def has_room_for(self, growing: Collection[tuple[int, int]]) -> bool:
        # One more for each file, for its extents.
        wanted = more_blocks(growing, self.block_size) + len(growing)
        return wanted * self.block_size <= (self.content.size or 0) - (self.content.used or 0)

    def inode(self, number: int) -> Inode:
        group, index = divmod(number - 1, self.content.inodes_per_group)
        if number < 1 or group >= self.content.groups:
            raise Unknown(f"there is no inode {number}")
        place = self._inode_table(group) + index * self._inode_size
        raw = self._bytes(place, 128)
        mode, low, flags, pointers, high = _INODE.unpack_from(raw)
        # In a directory of ext2 and ext3 these bytes were i_dir_acl. A directory cannot be so
        # large.
        high = 0 if stat.S_ISDIR(mode) and high >> 30 else high
        whole = self._bytes(place, self._inode_size) if flags & _INLINE else b""
        return Inode(
            number,
            mode,
            low | high << 32,
            flags,
            pointers,
            pointers + _inline_rest(whole) if whole else b"",
        )

    def _inode_table(self, group: int) -> int:
        """The byte that it starts at: nobody moves it while the file system is looked into."""
        if (place := self._inode_tables.get(group)) is None:
            size = self.content.descriptor_size
            descriptor = self._bytes(self._descriptor_at(group, size), size)
            # bg_inode_table_lo and, in descriptors of 64 bytes, bg_inode_table_hi
            table = int.from_bytes(descriptor[8:12], "little")
            if size >= 64:
                table |= int.from_bytes(descriptor[0x28:0x2C], "little") << 32
            place = self._inode_tables[group] = table * self.block_size
        return place

    def _descriptor_at(self, group: int, size: int) -> int:
        """The byte of a group's descriptor."""
        per_block = self.block_size // size
        block, index = divmod(group, per_block)
        # The descriptors follow the superblock's block, one after the other.
        start: int = self._super_block + 1 + block
        if self.content.incompat & META_BG and block >= max(self._first_meta_block, 1):
            first = block * per_block
            # With meta_bg each block of them lies in the first of the groups that it describes,
            # after the copy of the superblock if there is one.
            start = self.content.first_data_block + first * self.content.blocks_per_group
            start += has_superblock(self.content, first)
        return start * self.block_size + index * size

    def runs(self, inode: Inode) -> list[Run]:
        """Where its blocks lie, in order, holes left out."""
        if inode.flags & _INLINE:
            raise Unknown(f"inode {inode.number} is {_STRANGE[_INLINE]}")
        found = sorted(
            self._extents(inode.pointers, None, set())
            if inode.flags & _EXTENTS
            else self._mapped(inode)
        )
        # Runs are sorted by their place in the file: an overlap, or a block outside of the file
        # system, is damage. Callers write through these runs, so nothing wrong may pass here.
        end = 0
        for run in found:
            if (
                run.logical < end
                or run.physical <= self._super_block
                or run.physical + run.length > self._blocks
            ):
                raise Unknown(f"the block map of inode {inode.number} is damaged")
            end = run.logical + run.length
        return found

    def read(self, inode: Node, limit: int = LARGEST) -> bytes:
        assert isinstance(inode, Inode), inode
        # A fast symlink: its target stands in the place of the block pointers.
        if inode.is_link and inode.size < len(inode.pointers) and not inode.flags & _EXTENTS:
            return inode.pointers[: inode.size]
        size = wanted_size(inode, limit)
        if inode.flags & _INLINE:
            return inode.inline[:size]
        return self._assembled(self.runs(inode), size)

    def entries(self, directory: Node) -> dict[str, int]:
        assert isinstance(directory, Inode), directory
        found: dict[str, int] = {}
        if directory.flags & _INLINE:
            # The parent's number, entries, and more of them in an attribute.
            inline, first = directory.inline, len(directory.pointers)
            parts = (inline[4:first], inline[first:])
            return {name: number for part in parts for name, number in self._names(part)}
        raw = self.read(directory)
        for start in range(0, len(raw), self.block_size):
            found.update(self._names(raw[start : start + self.block_size]))
        return {name: number for name, number in found.items() if name not in (".", "..")}

    def _names(self, block: bytes) -> Iterator[tuple[str, int]]:
        """The entries of one block; inner blocks of a hash tree look like one that is empty."""
        at = 0
        while at + _ENTRY.size <= len(block):
            number, length, name_length, _ = _ENTRY.unpack_from(block, at)
            # A block of 64 KiB does not fit into the field of 16 bits: both values stand for it.
            length = length if length not in (0, 65535) else 65536
            if length < _ENTRY.size or length % 4 or _ENTRY.size + name_length > length:
                raise Unknown("a directory is damaged")
            # Inode 0 is an unused entry, or the checksum at the end of a block.
            if number and name_length:
                yield decode_name(block[at + 8 : at + 8 + name_length]), number
            at += length

    def _extents(self, node: bytes, expected: int | None, seen: set[int]) -> Iterator[Run]:
        """The leaves below `node`, which is `expected` levels high (None: the root, any height)."""
        magic, count, _, depth = _EXTENT_HEADER.unpack_from(node)
        wrong_depth = depth > _DEEPEST if expected is None else depth != expected
        if magic != _EXTENT_MAGIC or wrong_depth or (count + 1) * _EXTENT.size > len(node):
            raise Unknown("an extent tree is damaged")
        # The header takes the place of the first entry.
        for at in range(_EXTENT.size, (count + 1) * _EXTENT.size, _EXTENT.size):
            if depth:
                _, low, high = _INDEX.unpack_from(node, at)
                child = low | high << 32
                # Each block has one parent: one that comes again would be a loop, or shared.
                if child in seen:
                    raise Unknown("an extent tree has a loop")
                seen.add(child)
                yield from self._extents(self._block(child), depth - 1, seen)
            else:
                logical, length, high, low = _EXTENT.unpack_from(node, at)
                written = length <= _UNWRITTEN
                yield Run(
                    logical, low | high << 32, length if written else length - _UNWRITTEN, written
                )

    def _mapped(self, inode: Inode) -> Iterator[Run]:
        """The block map of ext2 and ext3: twelve direct pointers, then trees of 1 to 3 levels."""
        pointers = struct.unpack("<15I", inode.pointers)
        # `logical` must not pass the end of the file: pointers after it may be garbage.
        blocks = -(-min(inode.size, LARGEST) // self.block_size)
        logical = _DIRECT
        physical = list(enumerate(pointers[:_DIRECT]))
        # Pointers 12, 13 and 14 are the single, double and triple indirect block.
        for level in (1, 2, 3):
            if pointers[_DIRECT + level - 1] and logical < blocks:
                physical += self._indirect(pointers[_DIRECT + level - 1], level, logical, blocks)
            logical += (self.block_size // 4) ** level
        for number, block in physical:
            if block:
                yield Run(number, block, 1, True)

    def _indirect(
        self, block: int, level: int, logical: int, end: int
    ) -> Iterator[tuple[int, int]]:
        covered = (self.block_size // 4) ** (level - 1)
        for pointer in struct.unpack(f"<{self.block_size // 4}I", self._block(block)):
            if logical >= end:
                return
            if pointer and level == 1:
                yield logical, pointer
            elif pointer:
                yield from self._indirect(pointer, level - 1, logical, end)
            logical += covered

    def _block(self, number: int) -> bytes:
        return self._bytes(self._place(number), self.block_size)


def _inline_rest(inode: bytes) -> bytes:
    """Of inline data, the part after the first 60 bytes: the attribute system.data."""
    extra = int.from_bytes(inode[128:130], "little")
    # Attributes follow the fixed part of the inode (i_extra_isize); the last bytes are zeros.
    at = 128 + extra
    if inode[at : at + 4] != _ATTRIBUTES:
        return b""
    first = at = at + 4
    while at + _ATTRIBUTE.size <= len(inode) and any(inode[at : at + 4]):
        length, index, offset, size = _ATTRIBUTE.unpack_from(inode, at)
        if (index, inode[at + _ATTRIBUTE.size :][:length]) == _SYSTEM_DATA:
            # e_value_offs counts from the first entry, which comes after the magic.
            return inode[first + offset : first + offset + size]
        at += (_ATTRIBUTE.size + length + 3) & ~3
    return b""
