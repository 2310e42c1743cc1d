"""Reads fragmented L2 tables: they have no runs, so their entries are taken as one list.

This is for tables of plain entries only. Any other table, or a suspicious one, is handled by the
path that looks at each entry.
"""

from __future__ import annotations

import struct
import sys
from array import array
from itertools import compress

from growdisk.fast_dataclass import NamedTuple
from growdisk.qcow2.entries import COPIED, OFFSET_MASK, ZERO

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
        """The entries of a table that is scattered and plain; None for any other."""
        if not self._is_scattered(table):
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

    def _is_scattered(self, table: bytes) -> bool:
        """Whether most of a few sampled neighbours are not neighbours in the file."""
        # Pairs of 16 bytes, at 8 places over the whole table.
        step, broken = len(table) // 16 // _PROBES * 16, 0
        if not step:
            return False
        for position in range(0, step * _PROBES, step):
            first, second = struct.unpack_from(">QQ", table, position)
            broken += bool(first & OFFSET_MASK) and second != first + (1 << self._bits)
        return broken > _PROBES // 2
