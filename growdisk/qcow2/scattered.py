"""L2 tables whose clusters lie anywhere: there are no runs to find, so their entries are taken as one list.

That is for tables with nothing in them but plain entries. All else, and all that could be wrong, is left to those who
look at each entry.
"""

from __future__ import annotations

import struct
import sys
from array import array
from itertools import compress

from growdisk.qcow2.entries import COPIED, OFFSET_MASK, ZERO
from growdisk.values import NamedTuple

_PROBES = 8
_TOP_BIT = bytes(value >> 7 for value in range(256))
_ALL, _FLAG = (1 << 64) - 1, 1 << 60  # no cluster's index reaches the flag


class Scattered(NamedTuple):
    """The clusters that the entries of one table name, in order, and for each 1 where its entry has COPIED, else 0.

    `breaks`: how often a cluster does not lie behind the one before. `last`: the highest cluster.
    """

    clusters: array[int]
    copied: bytes
    breaks: int
    last: int


class ScatteredTables:
    """Recognises them, in one image. A table is taken as one number, with a lane of 64 bits for each entry."""

    def __init__(self, cluster_bits: int, clusters_in_file: int) -> None:
        self._bits, self._end = cluster_bits, clusters_in_file
        self._offset = OFFSET_MASK & -1 << cluster_bits
        self._ones: dict[int, int] = {}  # by the number of lanes

    def read(self, table: bytes) -> Scattered | None:
        """The entries of a table that is scattered and plain; None for any other."""
        if not self._is_scattered(table):
            return None
        count, whole = len(table) // 8, int.from_bytes(table, "big")
        ones = self._ones_in(count)
        if whole & ones * (_ALL & ~(COPIED | self._offset | ZERO)):
            return None
        lanes = (whole & ones * self._offset) >> self._bits  # the first entry stands highest
        clusters = array("Q", lanes.to_bytes(len(table), sys.byteorder))
        if sys.byteorder == "little":
            clusters.reverse()
        copied = table[0::8].translate(_TOP_BIT)
        if self._not_zero(lanes, count) == count:
            followed = (lanes >> 64) + self._ones_in(count - 1)
            breaks = self._not_zero(followed ^ lanes & (1 << 64 * (count - 1)) - 1, count - 1)
        else:
            copied = bytes(compress(copied, clusters))
            clusters = array("Q", filter(None, clusters))
            breaks = sum(map(int.__ne__, clusters[1:], [cluster + 1 for cluster in clusters]))
        last = max(clusters, default=self._end)
        return Scattered(clusters, copied, breaks, last) if last < self._end else None

    def _not_zero(self, lanes: int, count: int) -> int:
        """How many lanes are not zero: adding all ones below the flag carries into it."""
        ones = self._ones_in(count)
        return (lanes + ones * (_FLAG - 1) & ones * _FLAG).bit_count()

    def _ones_in(self, count: int) -> int:
        if count not in self._ones:
            self._ones[count] = int.from_bytes((1).to_bytes(8, "big") * count, "big")
        return self._ones[count]

    def _is_scattered(self, table: bytes) -> bool:
        """Whether most of a few pairs of neighbours are no neighbours in the file."""
        step, broken = len(table) // 16 // _PROBES * 16, 0
        if not step:
            return False
        for position in range(0, step * _PROBES, step):
            first, second = struct.unpack_from(">QQ", table, position)
            broken += bool(first & OFFSET_MASK) and second != first + (1 << self._bits)
        return broken > _PROBES // 2
