"""Extended L2 entries: 32 subclusters a cluster, each by itself allocated, zero or neither.

    entry (host cluster, as in a standard table)  │  bitmap: 32 zero bits ── 32 allocated bits
                                                  │          (subcluster 0 lowest in both)

"Neither" means the backing file even if there is a host cluster. A subcluster that is both is
corrupt, and bit 0 is not a zero flag here. Follows QEMU's docs/interop/qcow2 ("Extended
L2 Entries").
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from growdisk.qcow2.entries import (
    ALL_SUBCLUSTERS,
    COMPRESSED,
    L2_RESERVED_V2,
    OFFSET_MASK,
    SUBCLUSTERS,
    ZERO,
    L2Kind,
)
from growdisk.qcow2.mapping import GuestRun, Mapping
from growdisk.qcow2.metadata import Metadata

_ALL_ZERO = ALL_SUBCLUSTERS << SUBCLUSTERS
_EMPTY = {(0, 0): L2Kind.UNALLOCATED, (0, _ALL_ZERO): L2Kind.ZERO_PLAIN}  # by entry and bitmap


class SubclusterMapping(Mapping):
    """Mapping for extended L2 entries: a table is an array of (entry, bitmap) pairs."""

    def __init__(self, metadata: Metadata) -> None:
        super().__init__(metadata)
        # Bit 0 is reserved again: the bitmap says what is zero.
        self.bad_bits |= L2_RESERVED_V2
        # A subcluster is a 32nd of a cluster: 5 bits less.
        self._subcluster_bits = metadata.geometry.cluster_bits - SUBCLUSTERS.bit_length() + 1

    def table_runs(self, table: array[int], start: int, end: int) -> Iterator[GuestRun]:
        """Runs that continue each other are joined, also over the border of a cluster."""
        last: GuestRun | None = None
        for run in self._single_runs(table, start, end):
            if last is not None and _continues(last, run):
                last = last._replace(end=run.end)
                continue
            if last is not None:
                yield last
            last = run
        if last is not None:
            yield last

    def _single_runs(self, table: array[int], start: int, end: int) -> Iterator[GuestRun]:
        bits = self._geometry.cluster_bits
        while start < end:
            # An entry is a pair: even items of the table are entries, odd ones are bitmaps.
            index = start >> bits & self._geometry.l2_entries - 1
            entry, bitmap = table[2 * index], table[2 * index + 1]
            stop = min(end, (start >> bits) + 1 << bits)
            self.check_pair(entry, bitmap)
            if self._elsewhere:
                self.check_place(entry, start)
            if entry & COMPRESSED:
                yield GuestRun(L2Kind.COMPRESSED, start, stop, entry)
            else:
                yield from self._cluster_runs(entry, bitmap, start, stop)
            start = stop

    def _cluster_runs(self, entry: int, bitmap: int, start: int, end: int) -> Iterator[GuestRun]:
        """The part [start, end) of one cluster, cut where the kind of its subclusters changes."""
        in_cluster, shift = self._geometry.cluster_size - 1, self._subcluster_bits
        # The first cluster of an external data file has the offset 0: COPIED says that it is there.
        host = entry & OFFSET_MASK if self.kind(entry) is L2Kind.NORMAL else -1
        base = start & ~in_cluster
        while start < end:
            number = (start & in_cluster) >> shift
            kind, same = _kind(host, bitmap, number)
            # `x & -x` keeps the lowest set bit: here the first subcluster from `number` on that is
            # of another kind. ~same has all bits from 32 on, so there always is one.
            length = ((~same >> number) & -(~same >> number)).bit_length() - 1
            stop = min(end, base + (number + length << shift))
            # What is not allocated in a cluster that is has its place there already.
            place = host + (start & in_cluster) if host >= 0 else -1
            yield GuestRun(kind, start, stop, entry, place)
            start = stop

    def cluster_runs(self, start: int, end: int) -> Iterator[GuestRun]:
        """Cluster by cluster: empty, all zeros, or NORMAL for whatever else there is."""
        bits, coverage = self._geometry.cluster_bits, self._geometry.l2_coverage
        for offset in range(start, end, 1 << bits):
            table = self._metadata.l2_table(offset // coverage)
            index = offset >> bits & self._geometry.l2_entries - 1
            pair = (0, 0) if table is None else (table[2 * index], table[2 * index + 1])
            # Any other cluster has something to free or to rewrite; NORMAL stands for all of these.
            kind = _EMPTY.get(pair, L2Kind.NORMAL)
            yield GuestRun(kind, offset, min(offset + (1 << bits), end), pair[0])

    def put(self, table: array[int], index: int, entries: array[int]) -> array[int]:
        """Set whole clusters: all subclusters allocated, zero (if an entry has ZERO) or neither."""
        area = slice(2 * index, 2 * (index + len(entries)), 2)
        old = table[area]
        table[area] = array(
            "Q", [entry if entry & COMPRESSED else entry & ~ZERO for entry in entries]
        )
        table[area.start + 1 : area.stop : 2] = array("Q", map(_bitmap, entries))
        return old

    def check_pair(self, entry: int, bitmap: int) -> None:
        """ImageDamaged for an entry and a bitmap that cannot stand together."""
        kind = self.kind(entry)
        allocated, zero = bitmap & ALL_SUBCLUSTERS, bitmap >> SUBCLUSTERS
        if (
            allocated & zero
            or (allocated and kind is L2Kind.UNALLOCATED)
            or (bitmap and kind is L2Kind.COMPRESSED)
        ):
            raise self._metadata.damaged(
                f"L2 entry {entry:#x} and its subcluster bitmap {bitmap:#x} contradict each other"
            )


def _kind(host: int, bitmap: int, number: int) -> tuple[L2Kind, int]:
    """The kind of a subcluster, and the set of all subclusters of that kind."""
    allocated, zero = bitmap & ALL_SUBCLUSTERS, bitmap >> SUBCLUSTERS
    if allocated >> number & 1:
        return L2Kind.NORMAL, allocated
    if zero >> number & 1:
        return (L2Kind.ZERO_ALLOCATED if host >= 0 else L2Kind.ZERO_PLAIN), zero
    return L2Kind.UNALLOCATED, ALL_SUBCLUSTERS & ~(allocated | zero)


def _bitmap(entry: int) -> int:
    """What goes with an entry that would say the same in a standard table."""
    if entry & COMPRESSED or not entry:
        return 0
    return _ALL_ZERO if entry & ZERO else ALL_SUBCLUSTERS


def _continues(run: GuestRun, other: GuestRun) -> bool:
    """Whether `other`, which follows `run`, is of the same kind and contiguous."""
    if run.kind is not other.kind or run.kind is L2Kind.COMPRESSED:
        return False
    # One may be written in place (COPIED) and the other not.
    if run.kind is L2Kind.NORMAL and (run.entry ^ other.entry) & ~OFFSET_MASK:
        return False
    # With host clusters they must follow each other in the file as well.
    return other.host == (run.host + run.end - run.start if run.host >= 0 else -1)
