"""Reads files and directories of an XFS file system (versions 4 and 5) that nobody has mounted.

The log of an unclean file system is not replayed: what only it knows is not seen. Spec: XFS
Algorithms & Data Structures (xfs.org), chapters "Inodes", "Data extents", "Directories", "Symbolic
links".
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import dataclass
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
from growdisk.filesystems.xfs import read_xfs

# Magic, block size, root inode, blocks per group, version, inode size; as logarithms: inodes per
# block, blocks per group (rounded up), blocks per directory block; features of version 4.
_SUPER = struct.Struct(">4sI48xQ20xI12xH2xH17xBB67xB7xI")
# Directory entries have a byte for the type: the bit of version 5, and that of version 4. The third
# is NREXT64.
_FTYPE, _FTYPE2, _MANY_EXTENTS = 0x1, 0x200, 0x20
# Where the data fork begins in an inode: version 3 of inodes, versions 1 and 2.
_CORE, _OLD_CORE = 176, 100
_LOCAL, _EXTENTS, _BTREE = 1, 2, 3
# Magic, mode, version, form of the data fork, extents (64 bits), size, extents (32 bits), those of
# the attribute fork, where that begins.
_INODE = struct.Struct(">2sHBB18xQ24xQ12xIHB")
_DEEPEST = 9
_FREE = 0xFFFF
# Blocks for a file that grows, should its extents' tree split at all levels, twice over.
_SET_ASIDE = 32
# What a kernel keeps of the whole for trees that may grow: of free inodes, of owners, of shared
# blocks (xfs_finobt_calc_reserves, xfs_rmapbt_calc_reserves, xfs_refcountbt_calc_reserves).
_FOR_TREES = {0x1: 0.0015, 0x2: 0.0125, 0x4: 0.0065}


@dataclass(frozen=True)
class _XfsInode(Node):
    form: int
    fork: bytes
    extents: int


class XfsTree(FileTree):
    def __init__(self, device: BlockDevice) -> None:
        super().__init__(device)
        head = self._bytes(0, 512)
        magic, size, root, group_blocks, version, inode_size, *rest = _SUPER.unpack_from(head)
        per_block, group_log, directory_log, features2 = rest
        if magic != b"XFSB":
            raise Unknown("it is not an XFS file system")
        # The lower four bits are the version; the others were its first feature bits.
        self._is_v5 = version & 0xF == 5
        incompatible = struct.unpack_from(">I", head, 216)[0] if self._is_v5 else 0
        ro_compatible = struct.unpack_from(">I", head, 212)[0] if self._is_v5 else 0
        shares = (share for bit, share in _FOR_TREES.items() if ro_compatible & bit)
        self._for_trees = int(sum(shares) * device.size)
        self._has_types = bool(incompatible & _FTYPE or (not self._is_v5 and features2 & _FTYPE2))
        if (
            # Bounds for what is shifted and multiplied below: the image may lie.
            not 512 <= size <= 65536
            or not group_blocks
            or inode_size < 256
            or group_log > 31
            or per_block > 8
        ):
            raise Unknown("its superblock is damaged")
        self.root = root
        self.block_size, self._group_blocks, self._inode_size = size, group_blocks, inode_size
        self._per_block, self._group_log = per_block, group_log
        self._directory_block = size << directory_log
        self._has_many_extents = bool(incompatible & _MANY_EXTENTS)

    def has_room_for(self, growing: Collection[tuple[int, int]]) -> bool:
        content = read_xfs(self._bytes(0, 512))
        assert content is not None
        # Without what the kernel keeps for itself, and what each transaction sets aside.
        free = (content.size or 0) - (content.used or 0) - content.held - self._for_trees
        wanted = more_blocks(growing, self.block_size) + _SET_ASIDE * len(growing)
        return wanted * self.block_size <= free

    def inode(self, number: int) -> _XfsInode:
        # An inode number is the number of its block and, in the low bits, its place in that block.
        block, index = number >> self._per_block, number & (1 << self._per_block) - 1
        raw = self._bytes(self._place(block) + index * self._inode_size, self._inode_size)
        magic, mode, version, form, big_extents, size, extents, _, fork_offset = _INODE.unpack_from(
            raw
        )
        if magic != b"IN":
            raise Unknown(f"there is no inode {number}")
        start = _CORE if version >= 3 else _OLD_CORE
        # The attribute fork shares the rest of the inode; its place is counted in 8 bytes from the
        # data fork.
        end = start + fork_offset * 8 if fork_offset else len(raw)
        # XFS_DIFLAG2_NREXT64: the number is in the field of 64 bits.
        extents = big_extents if self._has_many_extents and raw[127] & 0x10 else extents
        return _XfsInode(number, mode, size, form, raw[start:end], extents)

    def entries(self, directory: Node) -> dict[str, int]:
        assert isinstance(directory, _XfsInode), directory
        if directory.form == _LOCAL:
            return dict(self._short_entries(directory.fork))
        found: dict[str, int] = {}
        # The size is that of the entries: beyond 32 GiB of the directory's own space lie its hash
        # index and free space.
        content = self._assembled(self._runs(directory), wanted_size(directory, LARGEST))
        for start in range(0, len(content), self._directory_block):
            found.update(self._block_entries(content[start : start + self._directory_block]))
        return {name: number for name, number in found.items() if name not in (".", "..")}

    def read(self, inode: Node, limit: int = LARGEST) -> bytes:
        assert isinstance(inode, _XfsInode), inode
        size = wanted_size(inode, limit)
        if inode.form == _LOCAL:
            return inode.fork[:size]
        # 56 bytes in each block (xfs_dsymlink_hdr) are not part of the target.
        if inode.is_link and self._is_v5:  # each block begins with a header
            block = self.block_size
            raw = self._assembled(self._runs(inode), inode.size + 56 * (1 + inode.size // block))
            pieces = [raw[at + 56 : at + block] for at in range(0, len(raw), block)]
            return b"".join(pieces)[:size]
        return self._assembled(self._runs(inode), size)

    def _runs(self, inode: _XfsInode) -> Iterator[Run]:
        if inode.form == _EXTENTS:
            yield from _records(inode.fork, 0, inode.extents)
        elif inode.form == _BTREE:
            level, count = (int.from_bytes(inode.fork[at : at + 2], "big") for at in (0, 2))
            # First room for all keys that the node could have, then the pointers.
            most = (len(inode.fork) - 4) // 16
            yield from self._children(inode.fork, 4 + most * 8, count, level, set())
        else:
            raise Unknown(f"inode {inode.number} keeps its data in an unknown way")

    def _children(
        self, node: bytes, at: int, count: int, level: int, seen: set[int]
    ) -> Iterator[Run]:
        if level > _DEEPEST or at + count * 8 > len(node):
            raise Unknown("an extent tree is damaged")
        for (block,) in struct.iter_unpack(">Q", node[at : at + count * 8]):
            # Each block has one parent: one that comes again would be a loop, or shared.
            if block in seen:
                raise Unknown("an extent tree has a loop")
            seen.add(block)
            child = self._bytes(self._place(block), self.block_size)
            magic, its_level, its_count = struct.unpack_from(">4sHH", child)
            # xfs_btree_lblock: version 5 adds checksum, UUID and owner.
            header = 72 if magic == b"BMA3" else 24
            if magic not in (b"BMA3", b"BMAP") or its_level != level - 1:
                raise Unknown("an extent tree is damaged")
            if its_level:
                most = (self.block_size - header) // 16
                yield from self._children(child, header + most * 8, its_count, its_level, seen)
            else:
                yield from _records(child, header, its_count)

    def _place(self, block: int) -> int:
        """The byte of a block, whose number has its allocation group in the upper bits."""
        group, inside = block >> self._group_log, block & (1 << self._group_log) - 1
        # The number of blocks per group need not be a power of two: block numbers have gaps.
        place: int = (group * self._group_blocks + inside) * self.block_size
        return place

    def _short_entries(self, fork: bytes) -> Iterator[tuple[str, int]]:
        # The second number counts those that need 8 bytes; if there is one, all have 8.
        count, wide = fork[0], 8 if fork[1] else 4
        # The two counts and the parent's number.
        at = 2 + wide
        for _ in range(count):
            length = int.from_bytes(fork[at : at + 1], "big")
            name = fork[at + 3 : at + 3 + length]
            at += 3 + length + self._has_types
            if at + wide > len(fork):
                raise Unknown("a directory is damaged")
            yield decode_name(name), int.from_bytes(fork[at : at + wide], "big")
            at += wide

    def _block_entries(self, block: bytes) -> Iterator[tuple[str, int]]:
        magic = block[:4]
        if not any(magic):
            return  # a hole
        if magic not in (b"XD2B", b"XD2D", b"XDB3", b"XDD3"):
            raise Unknown("a directory is damaged")
        # Headers of version 5 (XDB3, XDD3) and of version 4.
        at, end = 64 if magic[3:] == b"3" else 16, len(block)
        if magic in (b"XD2B", b"XDB3"):
            # A directory of one block has its index after the entries: 8 bytes each, then their
            # number.
            end -= 8 + 8 * int.from_bytes(block[-8:-4], "big")
        while at + 12 <= end:
            if int.from_bytes(block[at : at + 2], "big") == _FREE:
                at += int.from_bytes(block[at + 2 : at + 4], "big") or len(block)
                continue
            length = block[at + 8]
            yield (
                decode_name(block[at + 9 : at + 9 + length]),
                int.from_bytes(block[at : at + 8], "big"),
            )
            # Number (8), length of the name (1), name, type, tag (2); entries begin at multiples of
            # 8.
            at += (9 + length + self._has_types + 2 + 7) & ~7


def _records(node: bytes, at: int, count: int) -> Iterator[Run]:
    """Extents of 16 bytes: 1 bit unwritten, 54 bits logical, 52 bits block, 21 bits count."""
    if at + count * 16 > len(node):
        raise Unknown("an extent list is damaged")
    for start in range(at, at + count * 16, 16):
        bits = int.from_bytes(node[start : start + 16], "big")
        logical, block = bits >> 73 & (1 << 54) - 1, bits >> 21 & (1 << 52) - 1
        yield Run(logical, block, bits & (1 << 21) - 1, not bits >> 127)
