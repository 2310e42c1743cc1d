"""What the host has of each cluster of an image file, data or a hole: one byte each.

Two need it: who looks for data in fragmented tables of guest data, and who leaves clusters without
data out of a smaller image. These were preallocated and never written to, or were punched out. They
read as zeros, and so does an entry that names no cluster at all.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter, sub

from growdisk.block.device import BlockDevice, ExtentKind
from growdisk.fast_dataclass import NamedTuple
from growdisk.qcow2.entries import COMPRESSED, COPIED, OFFSET_MASK, ZERO
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.header import Header
from growdisk.qcow2.header_fields import Geometry
from growdisk.qcow2.refcounts import Run
from growdisk.qcow2.tables import from_lanes, to_lanes
from growdisk.units import align_down, align_up

HOLE, DATA, BOTH, NOWHERE = range(4)  # of a cluster: BOTH has holes in it, NOWHERE is not allocated
_IS_HOLE = bytes(mark == HOLE for mark in range(256))
_MAX_CLUSTERS = 1 << 25  # 32 MiB of marks
_MIN_ENTRIES = 64
_PROBES = 8
_ALL = (1 << 64) - 1
_FRAGMENTED = 64  # runs in one table; from there on each entry is looked at


class FragmentedRun(NamedTuple):
    """Consecutive guest clusters from the guest offset `start`, each with its host cluster.

    `marks` has one byte for each: what the host has there, data or a hole.

        guest cluster   20      21      22      23
        clusters        7       8       3       0
        marks           DATA    DATA    HOLE    NOWHERE
        stretches()     (DATA, 0, 2)    (HOLE, 2, 3)  (NOWHERE, 3, 4)
        runs()          firsts 0, 2, 3; lengths 2, 1, 1: only 7 and 8 follow one another
    """

    start: int
    clusters: array[int]
    marks: bytes

    def stretches(self) -> Iterator[tuple[int, int, int]]:
        """(mark, first, end) of consecutive clusters with one mark, as indices."""
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
        pairs = enumerate(
            zip(self.clusters, self.clusters[1:], self.marks, self.marks[1:], strict=False), 1
        )
        breaks = [
            index for index, (one, other, mark, next_) in pairs if other - one != 1 or mark != next_
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
            or not self._is_fragmented(table, first, end)
        ):
            return None
        # Three entries with clusters of 64 KiB, a lane of 64 bits each:
        #
        #   lane         2                    1                    0
        #   whole        8000_0000_0003_0000  0000_0000_0000_0000  8000_0000_0007_0000
        #   & bad        0                    0                    0   (else: one by one)
        #   & offsets    3_0000               0                    7_0000
        #   >> 16        3                    0                    7   which are the clusters
        whole = to_lanes(table)
        # Compressed, zero, reserved or unaligned entries, or COPIED without a cluster.
        if whole & self._bad or COPIED in table:
            return None
        clusters = from_lanes((whole & self._offsets) >> self._bits, len(table))[first:end]
        if max(clusters) >= self._end:
            return None
        if not self._marks:
            known = _marks(self._file, self._bits) if self._holes else bytearray([DATA]) * self._end
            known[0] = NOWHERE  # no guest cluster lies in the header's: this is what 0 stands for
            self._marks = bytes(known)
        # itemgetter looks all marks up in one call.
        return FragmentedRun(start, clusters, bytes(itemgetter(*clusters)(self._marks)))

    def _is_fragmented(self, table: array[int], first: int, end: int) -> bool:
        """Whether most of a few sampled pairs of entries do not follow each other in the file."""
        places = range(first, end - 1, (end - first) // _PROBES)
        apart = sum(bool(table[i]) and table[i + 1] - table[i] != 1 << self._bits for i in places)
        return apart > len(places) // 2


class UnbackedClusters:
    """The clusters of one file that the host has nothing of: 1 each, 0 for all others.

    `gone` is the entry of a cluster that reads as zeros.
    """

    def __init__(self, marks: bytearray, bits: int, gone: int) -> None:
        self._marks, self._bits, self._gone = marks, bits, gone

    @classmethod
    def of(cls, file: BlockDevice, header: Header, taken: set[int]) -> UnbackedClusters | None:
        """None if no cluster can be left out.

        `taken`: clusters that hold something else than plain guest data. The sectors of compressed
        ones may reach beyond the file's end.
        """
        bits, shows_through = header.cluster_bits, header.backing_file is not None
        is_plain = not (
            header.crypt_method or header.has(Incompatible.EXTENDED_L2 | Incompatible.DATA_FILE)
        )
        if (
            not is_plain
            or file.size >> bits > _MAX_CLUSTERS
            # Version 2 has no entry for zeros, and an empty one would show the backing file.
            or (shows_through and header.version < 3)
        ):
            return None
        marks = _marks(file, bits).translate(_IS_HOLE)
        marks += bytes(max(max(taken, default=0) + 1 - len(marks), 0))
        # A table of zeros may be a hole of the host and is needed all the same.
        for cluster in (0, *taken):
            marks[cluster] = 0
        return cls(marks, bits, ZERO if shows_through else 0) if 1 in marks else None

    def drop(self, cluster: int) -> None:
        """Leave this one out as well."""
        self._marks[cluster] = 1

    def left_of(self, runs: Iterable[Run]) -> Iterator[Run]:
        """What is not left out of runs of clusters."""
        for first, count in runs:
            position, end = first, first + count
            while (start := self._marks.find(b"\0", position, end)) >= 0:
                position = self._marks.find(b"\1", start, end)
                position = end if position < 0 else position
                yield start, position - start

    def take_out(self, table: array[int], runs: Iterable[Run]) -> None:
        """Change a standard L2 table.

        `runs`: its ranges [start, end) of entries with contiguous clusters.
        """
        for number, (start, end) in enumerate(runs):
            if number == _FRAGMENTED:
                table[start:] = array("Q", map(self._entry, table[start:]))
                break
            first, count = (table[start] & OFFSET_MASK) >> self._bits, end - start
            unbacked = self._marks.count(1, first, first + count)
            if table[start] & COMPRESSED or not unbacked:
                continue
            if unbacked == count:
                table[start:end] = array("Q", [self._gone]) * count
            else:
                table[start:end] = array("Q", map(self._entry, table[start:end]))

    def _entry(self, entry: int) -> int:
        is_unbacked = not entry & COMPRESSED and self._marks[(entry & OFFSET_MASK) >> self._bits]
        return self._gone if is_unbacked else entry


def _marks(file: BlockDevice, bits: int) -> bytearray:
    """HOLE, DATA or BOTH for each cluster of the file."""
    size = 1 << bits
    marks = bytearray(-(-file.size // size))
    for extent in file.extents(0, file.size):
        if extent.kind is not ExtentKind.DATA:
            continue
        # The file's last cluster may be cut short.
        end = align_up(extent.end, size) if extent.end == file.size else extent.end
        first, last = align_up(extent.start, size) >> bits, align_down(end, size) >> bits
        # Both ends first: if these are whole clusters, the line below overwrites that.
        marks[extent.start >> bits] = marks[end - 1 >> bits] = BOTH
        if first < last:
            marks[first:last] = bytes([DATA]) * (last - first)
    return marks
