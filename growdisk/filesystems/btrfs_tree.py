"""Reads files, directories and subvolumes of an unmounted btrfs on one device.

An inode's number here is SUBVOLUME << 64 | OBJECT, so that one tree shows all subvolumes from the
top level down, as a mount of subvolid=5 does. The tree log of an unclean file system is not
replayed: what only it knows is not seen. Spec: btrfs documentation, "On-disk format" and "Btree
items".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import Any

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import NamedTuple
from growdisk.filesystems.btrfs import SUPERBLOCK_OFFSET, read_btrfs
from growdisk.filesystems.content import BtrfsContent
from growdisk.filesystems.file_tree import (
    LARGEST,
    FileTree,
    Node,
    Subvolume,
    Unknown,
    decode_name,
    wanted_size,
)
from growdisk.units import align_up

TOP_LEVEL, FIRST_OBJECT = 5, 256
_ROOT_TREE_DIRECTORY = 6
# Objects and items of what goes on over several mounts: a balance, the replacement of a device.
_BALANCE, _TEMPORARY_ITEM, _DEVICE_TREE, _DEVICE_REPLACE = (1 << 64) - 4, 248, 4, 250
_REPLACE_STATE, _REPLACING = struct.Struct("<32xQ"), (1, 4)  # started, suspended
_INODE_ITEM, _INODE_REF, _DIR_ITEM, _DIR_INDEX, _EXTENT_DATA = 1, 12, 84, 96, 108
_ROOT_ITEM, _ROOT_BACKREF, _CHUNK_ITEM = 132, 144, 228
_LAST = (1 << 64) - 1
_READ_ONLY = 1
# Magic, root tree, chunk tree; node size, size of the system chunk array; the levels of both trees;
# this device's id.
_SUPER = struct.Struct("<64x8s8xQQ52xI8xI34xBBxQ")
_SYSTEM_CHUNKS = 0x32B
# A node: its own logical address, the number of its items, its level (0 is a leaf).
_HEADER = struct.Struct("<48xQ40xIB")
# An item of a leaf: key, offset of its data (counted from the end of the header), their size.
_ITEM = struct.Struct("<QBQII")
# A pointer of an inner node: the first key below it, the logical address of the child.
_POINTER = struct.Struct("<QBQQ8x")
_KEY = struct.Struct("<QBQ")
# A chunk: length, type, number of stripes (and of sub-stripes). A stripe: device, physical byte.
_CHUNK, _STRIPE = struct.Struct("<Q16xQ12xHH"), struct.Struct("<QQ16x")
_STRIPED = 0b111001000  # RAID0, RAID10, RAID5, RAID6
# What is used of a group of blocks, and what for: in a tree of its own (11), or that of extents.
_BLOCK_GROUP, _GROUP, _DATA = 192, struct.Struct("<Q8xQ"), 1
_GROUP_TREE, _EXTENT_TREE = 11, 2
# Bytes of the device that chunks have; at its start, and at its end, are some that none gets.
_DEVICE_TAKEN, _NEVER_TAKEN = struct.Struct("<217xQ"), 2 << 20
_DIR_ENTRY = struct.Struct("<QBQ8xHHB")
# Unpacked size, compression, encryption, other encoding, type (0: the data follow inside the item).
# If they do not: place and size on disk, and which part of the unpacked data the file shows.
_EXTENT_HEAD, _EXTENT_BODY = struct.Struct("<8xQBBHB"), struct.Struct("<QQQQ")
_INODE = struct.Struct("<16xQ28xI")
# After a root's inode: the tree's top node, flags, its level.
_ROOT = struct.Struct("<176xQ24xQ22xB")
# Before a name: the directory it is in, and its own length; the length alone.
_ROOT_REF, _INODE_NAME = struct.Struct("<Q8xH"), struct.Struct("<8xH")
_PARENT = 263  # UUID of what it is a snapshot of
_DEEPEST = 7
_NONE, _ZLIB, _LZO, _ZSTD = range(4)
_MOST_COMPRESSED = 128 << 10  # of an extent, before and after: BTRFS_MAX_UNCOMPRESSED

Key = tuple[int, int, int]


class _Chunk(NamedTuple):
    logical: int
    length: int
    physical: int


class _TreeNode(NamedTuple):
    """`values`: of a leaf where each item's data lie in `raw`, and their size; else children."""

    logical: int
    level: int
    keys: list[Key]
    values: list[tuple[int, ...]]
    raw: bytes

    @classmethod
    def read(cls, raw: bytes) -> _TreeNode:
        logical, count, level = _HEADER.unpack_from(raw)
        form = _POINTER if level else _ITEM
        if _HEADER.size + count * form.size > len(raw):
            raise Unknown("a tree node is damaged")
        rows = [form.unpack_from(raw, _HEADER.size + at * form.size) for at in range(count)]
        keys = [row[:3] for row in rows]
        if any(key >= following for key, following in pairwise(keys)):
            raise Unknown("a tree node is damaged")
        return cls(logical, level, keys, [row[3:] for row in rows], raw)


class _Root(NamedTuple):
    logical: int
    level: int
    flags: int = 0
    parent: bytes = bytes(16)


class BtrfsTree(FileTree):
    """`root` is the top level; root_of() that of a subvolume."""

    root = TOP_LEVEL << 64 | FIRST_OBJECT
    copies_on_write = True

    def __init__(self, device: BlockDevice) -> None:
        super().__init__(device)
        head = self._bytes(SUPERBLOCK_OFFSET, 4096)
        magic, root, chunk_root, self._node_size, array_size, *rest = _SUPER.unpack_from(head)
        level, chunk_level, self._device_id = rest
        if magic != b"_BHRfS_M":
            raise Unknown("it is not a btrfs file system")
        # The kernel's limits (BTRFS_MAX_METADATA_BLOCKSIZE, BTRFS_SYSTEM_CHUNK_ARRAY_SIZE).
        if not 4096 <= self._node_size <= 65536 or array_size > 2048:
            raise Unknown("its superblock is damaged")
        self._nodes: dict[int, _TreeNode] = {}
        self._roots: dict[int, _Root] = {}
        self._chunks: list[_Chunk] = []
        # The chunk tree has its addresses mapped by itself; the superblock has the chunks that it
        # takes to read it.
        self._read_system_chunks(head[_SYSTEM_CHUNKS : _SYSTEM_CHUNKS + array_size])
        chunk_tree = _Root(chunk_root, chunk_level)
        for key, data in self._between(chunk_tree, (0, 0, 0), (_LAST, 255, _LAST)):
            if key[1] == _CHUNK_ITEM:
                self._add_chunk(key[2], data)
        self._root_tree = _Root(root, level)

    def has_room_for(self, growing: Collection[tuple[int, int]]) -> bool:
        head = self._bytes(0, SUPERBLOCK_OFFSET + 4096)
        content = read_btrfs(head)
        if not isinstance(content, BtrfsContent) or content.devices > 1:
            return True
        (taken,) = _DEVICE_TAKEN.unpack_from(head, SUPERBLOCK_OFFSET)
        free: int = max(content.device_size - taken - _NEVER_TAKEN, 0)
        own = any(self._items(self._root_tree, _GROUP_TREE, _ROOT_ITEM))
        tree = self._root(_GROUP_TREE if own else _EXTENT_TREE)
        for chunk in self._chunks:
            for _, data in self._items(tree, chunk.logical, _BLOCK_GROUP):
                used, kind = _fields(_GROUP, data)
                free += chunk.length - used if kind & _DATA else 0
        # All of it is written again, before what was there is given back.
        return (
            sum(align_up(size + more, content.sector_size or 4096) for size, more in growing)
            <= free
        )

    def root_of(self, subvolume: int) -> int:
        return subvolume << 64 | FIRST_OBJECT

    @property
    def mounted_root(self) -> int:
        """Of the default subvolume, which need not be the top level."""
        return self.root_of(self.default_subvolume)

    @property
    def default_subvolume(self) -> int:
        """What a mount without subvol= shows."""
        for _, data in self._items(self._root_tree, _ROOT_TREE_DIRECTORY, _DIR_ITEM):
            for name, kind, number in _directory_entries(data):
                if name == "default" and kind == _ROOT_ITEM:
                    return number
        return TOP_LEVEL

    @property
    def under_way(self) -> str:
        """What a kernel goes on with after a mount, and resizes no device meanwhile; or ""."""
        if any(self._items(self._root_tree, _BALANCE, _TEMPORARY_ITEM)):
            return "balance"
        for _, data in self._items(self._root(_DEVICE_TREE), 0, _DEVICE_REPLACE):
            if _fields(_REPLACE_STATE, data)[0] in _REPLACING:
                return "replace"
        return ""

    def subvolumes(self) -> list[Subvolume]:
        parents: dict[int, tuple[int, int, str]] = {}
        first, last = (FIRST_OBJECT, _ROOT_BACKREF, 0), (_LAST, _ROOT_BACKREF, _LAST)
        for key, data in self._between(self._root_tree, first, last):
            if key[1] == _ROOT_BACKREF:
                directory, length = _fields(_ROOT_REF, data)
                # A subvolume has one place. Its key: (subvolume, ROOT_BACKREF, the subvolume that
                # it lies in).
                parents.setdefault(key[0], (key[2], directory, decode_name(data[18 : 18 + length])))
        found = [Subvolume(TOP_LEVEL, "", read_only=False, is_copy=False)]
        for number in sorted(parents):
            path, root = self._path_of(number, parents), self._root(number)
            found.append(Subvolume(number, path, bool(root.flags & _READ_ONLY), any(root.parent)))
        return found

    def inode(self, number: int) -> Node:
        subvolume, objectid = number >> 64, number & _LAST
        for _, data in self._items(self._root(subvolume), objectid, _INODE_ITEM):
            size, mode = _fields(_INODE, data)
            return Node(number, mode, size)
        raise Unknown(f"subvolume {subvolume} has no inode {objectid}")

    def entries(self, directory: Node) -> dict[str, int]:
        subvolume, objectid = directory.number >> 64, directory.number & _LAST
        found: dict[str, int] = {}
        for _, data in self._items(self._root(subvolume), objectid, _DIR_INDEX):
            for name, kind, number in _directory_entries(data):
                # An entry that leads to a subvolume names only that; its top directory is always
                # object 256.
                is_root = kind == _ROOT_ITEM
                found[name] = self.root_of(number) if is_root else subvolume << 64 | number
        return found

    def read(self, inode: Node, limit: int = LARGEST) -> bytes:
        subvolume, objectid = inode.number >> 64, inode.number & _LAST
        content, end = bytearray(wanted_size(inode, limit)), 0
        for key, data in self._items(self._root(subvolume), objectid, _EXTENT_DATA):
            # The key's last part is the offset in the file: all that follows lies beyond what is
            # asked for.
            if key[2] >= len(content):
                break
            # Each byte once: a few items could have the same data read without an end.
            if key[2] < end:
                raise Unknown("extents overlap")
            piece = self._extent(data, len(content) - key[2])
            end = key[2] + len(piece)
            content[key[2] : end] = piece
        return bytes(content)

    # --- trees ----------------------------------------------------------------------------------

    def _root(self, subvolume: int) -> _Root:
        if subvolume not in self._roots:
            for _, data in self._items(self._root_tree, subvolume, _ROOT_ITEM):
                logical, flags, level = _fields(_ROOT, data)
                self._roots[subvolume] = _Root(logical, level, flags, data[_PARENT : _PARENT + 16])
        if subvolume not in self._roots:
            raise Unknown(f"there is no subvolume {subvolume}")
        return self._roots[subvolume]

    def _items(self, root: _Root, objectid: int, kind: int) -> Iterator[tuple[Key, bytes]]:
        """An object's items of one kind, in order."""
        return self._between(root, (objectid, kind, 0), (objectid, kind, _LAST))

    def _between(self, root: _Root, first: Key, last: Key) -> Iterator[tuple[Key, bytes]]:
        """The items with keys from `first` to `last`, in order."""
        return self._below(root.logical, root.level, first, last)

    def _below(
        self, logical: int, level: int, first: Key, last: Key, own: Key | None = None
    ) -> Iterator[tuple[Key, bytes]]:
        """`own` is the key of the pointer to the node."""
        node = self._node(logical, level)
        keys = node.keys
        # Keys ascend, and a pointer's is the first one below it: so each node has one parent, and
        # no tree takes longer than its nodes.
        if own is not None and keys[:1] != [own]:
            raise Unknown("a tree node is damaged")
        for number, key in enumerate(keys):
            if key > last:
                return
            if not level:
                if key >= first:
                    start, size = node.values[number]
                    yield key, node.raw[_HEADER.size + start :][:size]
            # All below lies before the key of the next pointer.
            elif number + 1 == len(keys) or keys[number + 1] >= first:
                yield from self._below(node.values[number][0], level - 1, first, last, key)

    def _node(self, logical: int, level: int) -> _TreeNode:
        if (node := self._nodes.get(logical)) is None:
            node = self._nodes[logical] = _TreeNode.read(self._at(logical, self._node_size))
        if node.logical != logical or node.level != level or level > _DEEPEST:
            raise Unknown("a tree node is damaged")
        return node

    def _path_of(self, number: int, parents: dict[int, tuple[int, int, str]]) -> str:
        names: list[str] = []
        while number != TOP_LEVEL:
            if number not in parents or len(names) > 64:
                raise Unknown("a subvolume lies nowhere")
            parent, directory, name = parents[number]
            # From the inside out: what is found now goes before what was found already.
            names[:0] = [*self._folders(parent, directory), name]
            number = parent
        return "/".join(names)

    def _folders(self, subvolume: int, directory: int) -> list[str]:
        names: list[str] = []
        # Both loops stop at 64: parents that lead back to themselves must not keep it going.
        while directory != FIRST_OBJECT and len(names) < 64:
            above = next(self._items(self._root(subvolume), directory, _INODE_REF), None)
            if above is None:
                raise Unknown("a directory lies nowhere")
            (length,) = _fields(_INODE_NAME, above[1])
            names.insert(0, decode_name(above[1][10 : 10 + length]))
            directory = above[0][2]
        return names

    # --- data -----------------------------------------------------------------------------------

    def _extent(self, item: bytes, wanted: int) -> bytes:
        """The data of one extent item, at most `wanted` bytes."""
        ram_bytes, compression, encryption, _, kind = _fields(_EXTENT_HEAD, item)
        most = _MOST_COMPRESSED if compression else LARGEST
        if encryption or ram_bytes > most:
            raise Unknown("an extent is encrypted or damaged")
        # Type 0 is inline: the data are the rest of the item.
        if kind == 0:
            return _decompressed(item[_EXTENT_HEAD.size :], compression, ram_bytes)[:wanted]
        place, length, offset, count = _fields(_EXTENT_BODY, item[_EXTENT_HEAD.size :])
        count = min(count, wanted)
        # Place 0 is a hole; kind 2 is preallocated, and has never been written.
        if not place or kind != 1:
            return bytes(count)
        if compression == _NONE:
            return self._at(place + offset, count)
        # Compressed data can only be unpacked from the start of the extent; the file's part is cut
        # out then.
        return _decompressed(self._at(place, min(length, most)), compression, ram_bytes)[
            offset : offset + count
        ]

    def _at(self, logical: int, length: int) -> bytes:
        pieces = []
        while length > 0:
            chunk = next(
                (c for c in self._chunks if c.logical <= logical < c.logical + c.length), None
            )
            if chunk is None:
                raise Unknown("some of it lies on another device, or is striped")
            count = min(length, chunk.logical + chunk.length - logical)
            pieces.append(self._bytes(chunk.physical + logical - chunk.logical, count))
            logical, length = logical + count, length - count
        return b"".join(pieces)

    def _read_system_chunks(self, array: bytes) -> None:
        at = 0
        while at + _KEY.size + _CHUNK.size <= len(array):
            _, kind, logical = _KEY.unpack_from(array, at)
            if kind != _CHUNK_ITEM:
                raise Unknown("its superblock is damaged")
            at += _KEY.size
            at += self._add_chunk(logical, array[at:])

    def _add_chunk(self, logical: int, item: bytes) -> int:
        """Note where it lies on this device. Returns how long the item is."""
        length, kind, stripes, _ = _fields(_CHUNK, item)
        end: int = _CHUNK.size + stripes * _STRIPE.size
        # One stripe suffices: in single, DUP and RAID1 each stripe has the whole chunk. Chunks that
        # are striped, or that have no copy on this device, are not noted, and _at() refuses what
        # lies in them.
        for at in range(_CHUNK.size, min(end, len(item) - _STRIPE.size + 1), _STRIPE.size):
            device, physical = _STRIPE.unpack_from(item, at)
            if device == self._device_id and not kind & _STRIPED:
                self._chunks.append(_Chunk(logical, length, physical))
                break
        return end


def _fields(form: struct.Struct, item: bytes) -> tuple[Any, ...]:
    try:
        return form.unpack_from(item)
    except struct.error as error:
        raise Unknown("an item of a tree is too short") from error


def _directory_entries(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, the type of what it leads to (an inode, or a subvolume), and its number."""
    at = 0
    while at + _DIR_ENTRY.size <= len(data):
        number, kind, _, data_length, length, _ = _DIR_ENTRY.unpack_from(data, at)
        at += _DIR_ENTRY.size
        yield decode_name(data[at : at + length]), kind, number
        # data_length is only in use for extended attributes, which share this layout.
        at += length + data_length


def _decompressed(data: bytes, compression: int, size: int) -> bytes:
    try:
        if compression == _NONE:
            return data
        if compression == _ZLIB:
            return zlib.decompressobj().decompress(data, size)
        if compression == _ZSTD:
            from growdisk.filesystems.unpacking import unpacked

            return unpacked(data, size)
    except (zlib.error, ValueError) as error:
        raise Unknown(f"compressed data are damaged: {error}") from error
    raise Unknown(
        "it is compressed with " + ("lzo" if compression == _LZO else f"method {compression}")
    )
