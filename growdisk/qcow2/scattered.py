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
_OFFSETS = OFFSET_MASK.to_bytes(8, "big")
_TOP_BIT = bytes(value >> 7 for value in range(256))


class Scattered(NamedTuple):
    """The clusters that the entries of one table name, in order, and for each 1 where its entry has COPIED, else 0."""

    clusters: array[int]
    copied: bytes

    @property
    def breaks(self) -> int:
        """How often a cluster does not lie behind the one before."""
        return sum(map(int.__ne__, self.clusters[1:], [cluster + 1 for cluster in self.clusters]))


class ScatteredTables:
    """Recognises them, in one image."""

    def __init__(self, cluster_bits: int, clusters_in_file: int) -> None:
        self._bits, self._end = cluster_bits, clusters_in_file
        inside = (1 << cluster_bits) - 1
        permitted = (COPIED | OFFSET_MASK & ~inside | ZERO).to_bytes(8, "big")
        #: Which values each of an entry's eight bytes may have; a byte that may have any is left out.
        self._fine = [
            (place, bytes(value for value in range(256) if not value & ~mask))
            for place, mask in enumerate(permitted)
            if mask != 0xFF
        ]

    def read(self, table: bytes) -> Scattered | None:
        """The entries of a table that is scattered and plain; None for any other."""
        if not self._is_scattered(table) or any(table[place::8].translate(None, fine) for place, fine in self._fine):
            return None
        offsets = int.from_bytes(table, "big") & int.from_bytes(_OFFSETS * (len(table) // 8), "big")
        clusters = array("Q", (offsets >> self._bits).to_bytes(len(table), sys.byteorder))
        if sys.byteorder == "little":
            clusters.reverse()  # the last entry stands lowest
        copied = table[0::8].translate(_TOP_BIT)
        if 0 in clusters:
            copied = bytes(compress(copied, clusters))
            clusters = array("Q", filter(None, clusters))
        return Scattered(clusters, copied) if max(clusters, default=self._end) < self._end else None

    def _is_scattered(self, table: bytes) -> bool:
        """Whether most of a few pairs of neighbours are no neighbours in the file."""
        step, broken = len(table) // 16 // _PROBES * 16, 0
        if not step:
            return False
        for position in range(0, step * _PROBES, step):
            first, second = struct.unpack_from(">QQ", table, position)
            broken += bool(first & OFFSET_MASK) and second != first + (1 << self._bits)
        return broken > _PROBES // 2
