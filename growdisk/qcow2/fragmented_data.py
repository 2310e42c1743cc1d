"""Fragmented tables of guest data, and whether the host has data or a hole for each cluster.

They have no runs, so a table is taken as one large number, and the host's holes as one byte a
cluster. Any other table, or a suspicious one, is handled by the path that looks at each entry.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter, sub

from growdisk.block.device import BlockDevice, ExtentKind
from growdisk.fast_dataclass import NamedTuple
from growdisk.qcow2.entries import COPIED, OFFSET_MASK
from growdisk.qcow2.header_fields import Geometry
from growdisk.qcow2.tables import from_lanes, to_lanes
from growdisk.units import align_down, align_up

HOLE, DATA, BOTH, NOWHERE = range(4)  # of a cluster: BOTH has holes in it, NOWHERE is not allocated
_MAX_CLUSTERS = 1 << 25  # 32 MiB of marks
_MIN_ENTRIES = 64
_PROBES = 8
_ALL = (1 << 64) - 1


class FragmentedRun(NamedTuple):
    """Consecutive guest clusters from the guest offset `start`, each with its host cluster.

    `marks` has one byte for each: what the host has there, data or a hole.
    """

    start: int
    clusters: array[int]
    marks: bytes

    def stretches(self) -> Iterator[tuple[int, int, int]]:
        """(mark, first, end) for neighbours of one mark, as indices."""
        first, size = 0, len(self.marks)
        if self.marks.count(self.marks[0]) == size:  # nearly always
            yield self.marks[0], 0, size
            return
        for mark, same in groupby(self.marks):
            end = first + sum(1 for _ in same)
            yield mark, first, end
            first = end

    def runs(self) -> tuple[list[int], list[int]]:
        """(first indices, lengths) of runs that are contiguous in the file too, and of one mark."""
        neighbours = enumerate(
            zip(self.clusters, self.clusters[1:], self.marks, self.marks[1:], strict=False), 1
        )
        breaks = [
            index
            for index, (one, other, mark, next_) in neighbours
            if other - one != 1 or mark != next_
        ]
        firsts = [0, *breaks]
        return firsts, list(map(sub, [*breaks, len(self.clusters)], firsts))


class FragmentedDataTables:
    """Recognises such tables in one image. `holes`: whether the host shall be asked for holes."""

    def __init__(self, file: BlockDevice, geometry: Geometry, *, holes: bool) -> None:
        self._file, self._bits, self._holes = file, geometry.cluster_bits, holes
        self._end = geometry.clusters(file.size)
        self._marks = b""
        # 1 in every 64-bit lane: times a mask, that mask in every lane.
        ones = to_lanes(array("Q", [1]) * geometry.l2_entries)
        offsets = OFFSET_MASK & -geometry.cluster_size
        self._offsets, self._bad = ones * offsets, ones * (_ALL & ~(COPIED | offsets))

    def of(self, table: array[int], start: int, first: int, end: int) -> FragmentedRun | None:
        """Entries [first, end) of a fragmented table as guest clusters from `start`, or None."""
        if (
            end - first < _MIN_ENTRIES
            or self._end > _MAX_CLUSTERS
            or not self._is_apart(table, first, end)
        ):
            return None
        whole = to_lanes(table)
        # Compressed, zero, reserved or unaligned entries, or COPIED without a cluster.
        if whole & self._bad or COPIED in table:
            return None
        clusters = from_lanes((whole & self._offsets) >> self._bits, len(table))[first:end]
        if max(clusters) >= self._end:
            return None
        self._marks = self._marks or self._mark()
        # itemgetter looks all marks up in one call.
        return FragmentedRun(start, clusters, bytes(itemgetter(*clusters)(self._marks)))

    def _is_apart(self, table: array[int], first: int, end: int) -> bool:
        """Whether most of a few sampled neighbours are not neighbours in the file."""
        places = range(first, end - 1, (end - first) // _PROBES)
        return (
            sum(bool(table[i]) and table[i + 1] - table[i] != 1 << self._bits for i in places)
            > len(places) // 2
        )

    def _mark(self) -> bytes:
        if not self._holes:
            marks = bytearray([DATA]) * self._end
        else:
            marks = bytearray(self._end)
            for extent in self._file.extents(0, self._file.size):
                if extent.kind is ExtentKind.DATA:
                    self._mark_data(marks, extent.start, extent.end)
        marks[0] = NOWHERE  # no guest cluster lies in the header's; so this is what 0 stands for
        return bytes(marks)

    def _mark_data(self, marks: bytearray, start: int, end: int) -> None:
        size, bits = 1 << self._bits, self._bits
        if end == self._file.size:
            end = align_up(end, size)  # the last cluster may be cut short
        first, last = align_up(start, size) >> bits, align_down(end, size) >> bits
        # Both ends first: where these are whole clusters, the line below overwrites that.
        marks[start >> bits] = marks[end - 1 >> bits] = BOTH
        if first < last:
            marks[first:last] = bytes([DATA]) * (last - first)
