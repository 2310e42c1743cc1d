"""The L2 tables of an image as a check reads them: as runs, or as a list if fragmented.

A check looks twice, first for references and then for COPIED; what it has learned of a table takes
little memory, and is kept for the second time.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator
from itertools import compress

from growdisk.block.device import BlockDevice, TableReader
from growdisk.fast_dataclass import NamedTuple
from growdisk.qcow2.entries import COMPRESSED, COPIED, OFFSET_MASK, ZERO
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.header import Header

Runs = list[tuple[int, int]]  # (first entry, number of entries)
_RUN_BYTES, _ENTRY_BYTES = 160, 9  # about what a run, and an entry of a fragmented one takes
_MAX_KEPT = 32 << 20
_MAX_MISPLACED = 4 << 20  # bytes of tables that are not aligned, which may overlap without end
_LEAF = 32  # entries; below this a plain loop is faster
_PROBES = 8
_TOP_BIT = bytes(value >> 7 for value in range(256))
_ALL, _FLAG = (1 << 64) - 1, 1 << 60  # no cluster's index reaches the flag


class FragmentedTable(NamedTuple):
    """The clusters that a table's entries name, in order; for each, 1 if its entry has COPIED.

    `breaks`: how often a cluster does not follow the one before. `last`: the highest cluster.
    """

    clusters: array[int]
    copied: bytes
    breaks: int
    last: int


class L2Reader:
    """Reads standard L2 tables; callers take the bitmaps out of extended ones first."""

    def __init__(self, file: BlockDevice, header: Header) -> None:
        self._tables, self._size = TableReader(file, header.cluster_size), header.cluster_size
        self.extended = header.has(Incompatible.EXTENDED_L2)
        self._is_plain = not header.has(Incompatible.DATA_FILE)
        #: Bit 0 is a zero flag in version 3 alone, and only without subclusters: there a bitmap
        #: says so.
        self.zero_flag = header.version >= 3 and not self.extended
        self._runs = RunFinder(header.cluster_size, zero_flag=self.zero_flag)
        clusters = -(-file.size // header.cluster_size)
        self._fragmented = FragmentedTables(header.cluster_bits, clusters, zero_flag=self.zero_flag)
        self._kept: dict[int, FragmentedTable | Runs] = {}
        self._room = _MAX_KEPT
        self._misplaced: set[int] = set()  # offsets of tables that are not aligned

    def raw(self, offset: int) -> bytes:
        """A table as it stands in the file; nothing if it is all zeros.

        Nothing either if too many that are not aligned have been read: they are errors anyway.
        """
        return self._tables.read(offset) if self._is_worth_reading(offset) else b""

    def _is_worth_reading(self, offset: int) -> bool:
        if offset % self._size and offset not in self._misplaced:
            if (len(self._misplaced) + 1) * self._size > _MAX_MISPLACED:
                return False
            self._misplaced.add(offset)
        return True

    def read(self, offset: int) -> FragmentedTable | Runs:
        """A table whose clusters lie anywhere, or the runs of any other."""
        kept = self._kept.get(offset)
        if kept is not None:
            return kept
        table = self.raw(offset)
        # Entries for a data file may have offset 0 and a meaning: always as runs.
        found = (self._fragmented.read(table) if self._is_plain else None) or self.runs(table)
        size = (
            _ENTRY_BYTES * len(found.clusters)
            if isinstance(found, FragmentedTable)
            else _RUN_BYTES * len(found)
        )
        if size <= self._room:
            self._room -= size
            self._kept[offset] = found
        return found

    def runs(self, table: bytes) -> Runs:
        """The runs of entries that follow one another."""
        return list(self._runs.runs(table))


class RunFinder:
    """Finds runs whose entries differ by `cluster_size`."""

    def __init__(self, cluster_size: int, *, zero_flag: bool = True) -> None:
        """`zero_flag`: an entry of 1 is a plain zero cluster, and not one with a reserved bit."""
        self._step = cluster_size
        self._nothing = (0, 1) if zero_flag else (0,)  # entries that name no cluster
        self._lanes: dict[int, tuple[int, int]] = {}

    def runs(self, table: bytes) -> Iterator[tuple[int, int]]:
        """(first entry, number of entries) in order. Entries that name no cluster are left out."""
        stack = [table]
        while stack:
            entries = stack.pop()
            if len(entries) <= 8 * _LEAF:
                yield from self._scan(entries)
                continue
            first = int.from_bytes(entries[:8], "big")
            if first in self._nothing and entries == entries[:8] * (len(entries) // 8):
                continue
            if self._is_run(entries, first):
                yield first, len(entries) // 8
                continue
            # Half of the entries, in bytes. The first half goes on top: runs come in order.
            half = len(entries) // 16 * 8
            stack += (entries[half:], entries[:half])

    def _is_run(self, part: bytes, first: int) -> bool:
        count = len(part) // 8
        last = int.from_bytes(part[-8:], "big")
        if (
            # Cheap first: only a table with the right ends is compared as a whole.
            last != first + (count - 1) * self._step
            or (first ^ last) & ~OFFSET_MASK
            or _stands_alone(first)
        ):
            return False
        # Entries 10 11 12 less the ramp 0 1 2 are 10 10 10, which is 10 times the ones. A lane that
        # is too small borrows from the one above it, and then both differ from that.
        ones, ramp = self._lanes_for(count)
        return int.from_bytes(part, "big") - ramp == first * ones

    def _lanes_for(self, count: int) -> tuple[int, int]:
        """The integers 1,1,1,... and 0,step,2*step,... with `count` lanes of 64 bits."""
        if count not in self._lanes:
            ones = int.from_bytes(struct.pack(">Q", 1) * count, "big")
            ramp = int.from_bytes(
                struct.pack(f">{count}Q", *range(0, count * self._step, self._step)), "big"
            )
            self._lanes[count] = ones, ramp
        return self._lanes[count]

    def _scan(self, part: bytes) -> Iterator[tuple[int, int]]:
        first, length, expected = 0, 0, -1
        for entry in struct.unpack(f">{len(part) // 8}Q", part):
            if entry == expected:
                length += 1
                expected += self._step
                continue
            if length:
                yield first, length
            length = 0 if entry in self._nothing else 1
            first = entry
            # No entry is -1, so nothing continues a compressed one.
            expected = -1 if _stands_alone(entry) else entry + self._step
        if length:
            yield first, length


def _stands_alone(entry: int) -> bool:
    """Whether an entry has no host cluster of its own that another could follow."""
    return bool(entry & COMPRESSED) or not entry & OFFSET_MASK


class _Masks(NamedTuple):
    """Numbers that repeat one mask in each 64-bit lane.

    The masks: 1; the bits that no entry may have; the offset; COPIED; all bits below COPIED.
    """

    ones: int
    bad: int
    offsets: int
    flags: int
    below: int


class FragmentedTables:
    """Recognises them, in one image.

    A table is taken as one number, with a lane of 64 bits for each entry.
    """

    def __init__(self, cluster_bits: int, clusters_in_file: int, *, zero_flag: bool) -> None:
        self._bits, self._end = cluster_bits, clusters_in_file
        self._flags = COPIED | ZERO if zero_flag else COPIED
        self._offset = OFFSET_MASK & -1 << cluster_bits
        self._masks: dict[int, _Masks] = {}  # by the number of lanes

    def read(self, table: bytes) -> FragmentedTable | None:
        """The entries of a fragmented table of plain entries; None for any other."""
        if not self._is_fragmented(table):
            return None
        count, whole = len(table) // 8, int.from_bytes(table, "big")
        masks = self._masks_for(count)
        if whole & masks.bad:
            return None
        lanes = (whole & masks.offsets) >> self._bits  # the first entry stands highest
        clusters = array("Q", lanes.to_bytes(len(table), sys.byteorder))
        if sys.byteorder == "little":
            clusters.reverse()
        copied = table[0::8].translate(_TOP_BIT)
        # `below` is FLAG - 1 in each lane: added to 0 it stays below the flag, added to more it
        # carries into it. So the number of flags is that of lanes that are not 0: here, all.
        if (lanes + masks.below & masks.flags).bit_count() == count:
            # Lanes 10 11 40, the first one highest: shifted down by one and 1 added they are 11 12;
            # the lower two lanes are 11 40. XOR leaves 0 where a cluster follows the one before, so
            # that the same sum counts the breaks: one here.
            fewer = self._masks_for(count - 1)
            ahead = (lanes >> 64) + fewer.ones  # each as it would be if the next lay after it
            breaks = (
                (ahead ^ lanes & (1 << 64 * (count - 1)) - 1) + fewer.below & fewer.flags
            ).bit_count()
        else:
            # Some entries name no cluster and are left out; the rest is compared one by one.
            copied = bytes(compress(copied, clusters))
            clusters = array("Q", filter(None, clusters))
            breaks = sum(map(int.__ne__, clusters[1:], [cluster + 1 for cluster in clusters]))
        last = max(clusters, default=self._end)
        return FragmentedTable(clusters, copied, breaks, last) if last < self._end else None

    def _masks_for(self, count: int) -> _Masks:
        if count not in self._masks:
            ones = int.from_bytes((1).to_bytes(8, "big") * count, "big")
            bad = ones * (_ALL & ~(self._flags | self._offset))
            self._masks[count] = _Masks(
                ones, bad, ones * self._offset, ones * _FLAG, ones * (_FLAG - 1)
            )
        return self._masks[count]

    def _is_fragmented(self, table: bytes) -> bool:
        """Whether most of a few sampled pairs of entries do not follow each other in the file."""
        # Pairs of 16 bytes, at 8 places over the whole table.
        step, broken = len(table) // 16 // _PROBES * 16, 0
        if not step:
            return False
        for position in range(0, step * _PROBES, step):
            first, second = struct.unpack_from(">QQ", table, position)
            broken += bool(first & OFFSET_MASK) and second != first + (1 << self._bits)
        return broken > _PROBES // 2
