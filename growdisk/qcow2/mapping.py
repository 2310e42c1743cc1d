"""Where guest bytes lie: L2 entries decoded into runs of one kind.

A run ends at an L2 table's border at the latest. Whether a whole range is one run is found by
comparing slices, not by looking at each entry.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from growdisk.fast_dataclass import NamedTuple
from growdisk.qcow2.cluster_marks import FragmentedDataTables, FragmentedRun
from growdisk.qcow2.entries import (
    COMPRESSED,
    COPIED,
    L2_RESERVED,
    L2_RESERVED_V2,
    OFFSET_MASK,
    ZERO,
    CompressedRange,
    L2Kind,
)
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.tables import equal_until, progression

_WORTH_COMPARING = 12  # entries; up to there a loop is faster than building what to compare with


class GuestRun(NamedTuple):
    """Guest bytes [start, end) of one kind.

    `entry`: the raw L2 entry of the cluster that `start` lies in.
    """

    kind: L2Kind
    start: int
    end: int
    entry: int
    host: int = -1  # where `start` has its place in the file; with NORMAL, its data


class Mapping:
    """Looks guest ranges up.

    Entries are validated when they are met; ImageDamaged says which one is bad.
    """

    def __init__(self, metadata: Metadata) -> None:
        self._metadata, self._geometry = metadata, metadata.geometry
        reserved = L2_RESERVED if metadata.header.version >= 3 else L2_RESERVED_V2
        # Offset 0 of an external data file is a cluster like any other: its entry is COPIED alone.
        self._elsewhere = metadata.header.has(Incompatible.DATA_FILE)
        self._compressed_offset = (1 << 62 - (self._geometry.cluster_bits - 8)) - 1
        # Bits that no standard entry has: reserved ones, and offsets inside a cluster.
        self.bad_bits = reserved | (OFFSET_MASK & (self._geometry.cluster_size - 1))

    def runs(self, start: int, end: int) -> Iterator[GuestRun]:
        """The range [start, end) as adjacent runs, in order.

        It may lie beyond the disk's end, if the L1 reaches.
        """
        for first, stop, table in self._tables(start, end):
            if table is None:
                yield GuestRun(L2Kind.UNALLOCATED, first, stop, 0)
            else:
                yield from self.table_runs(table, first, stop)

    def pieces(self, start: int, end: int, *, holes: bool) -> Iterator[GuestRun | FragmentedRun]:
        """As runs(), with fragmented tables as a whole.

        `holes`: with what the host has of each cluster.
        """
        bits, fragmented = self._geometry.cluster_bits, None
        for first, stop, table in self._tables(start, end):
            if table is None:
                yield GuestRun(L2Kind.UNALLOCATED, first, stop, 0)
                continue
            whole = first % self._geometry.cluster_size == stop % self._geometry.cluster_size == 0
            found = None
            # Only whole clusters: a fragmented table is not cut within one.
            if whole and not self._elsewhere and not self._geometry.extended_l2:
                fragmented = fragmented or FragmentedDataTables(
                    self._metadata.file, self._geometry, holes=holes
                )
                index = first >> bits & self._geometry.l2_entries - 1
                found = fragmented.of(table, first, index, index + (stop - first >> bits))
            if found is None:
                yield from self.table_runs(table, first, stop)
            else:
                yield found

    def _tables(self, start: int, end: int) -> Iterator[tuple[int, int, array[int] | None]]:
        """The range cut at L2 tables' borders, with these; stretches without any are one."""
        coverage = self._geometry.l2_coverage
        while start < end:
            l1_index = start // coverage
            stop = min(end, (l1_index + 1) * coverage)
            table = self._metadata.l2_table(l1_index)
            if table is None:
                # Without a table an entry is 0 (check_l1), so entries equal to it are empty too.
                tables = equal_until(self._metadata.l1, l1_index, (end - 1) // coverage + 1)
                stop = min(end, tables * coverage)
            yield start, stop, table
            start = stop

    def table_runs(self, table: array[int], start: int, end: int) -> Iterator[GuestRun]:
        """The same within one L2 table."""
        bits = self._geometry.cluster_bits
        in_cluster = (1 << bits) - 1
        index_mask = self._geometry.l2_entries - 1
        while start < end:
            index = start >> bits & index_mask
            entry = table[index]
            kind = self.kind(entry)
            if self._elsewhere:
                self.check_place(entry, start)
            # The index after the last cluster that [start, end) touches.
            limit = index + ((end - 1 >> bits) - (start >> bits)) + 1
            last = self._run_end(table, index, limit, kind) if limit > index + 1 else limit
            stop = min(end, ((start >> bits) + last - index) << bits)
            has_place = kind in (L2Kind.NORMAL, L2Kind.ZERO_ALLOCATED)
            place = (entry & OFFSET_MASK) + (start & in_cluster) if has_place else -1
            yield GuestRun(kind, start, stop, entry, place)
            start = stop

    def cluster_runs(self, start: int, end: int) -> Iterator[GuestRun]:
        """The same as runs() for whole clusters, each run of one kind of *entry*."""
        return self.runs(start, end)

    def put(self, table: array[int], index: int, entries: array[int]) -> array[int]:
        """Store entries in a table from Metadata.writable_l2; returns those that were there."""
        old = table[index : index + len(entries)]
        table[index : index + len(entries)] = entries
        return old

    def kind(self, entry: int) -> L2Kind:
        """The kind of a valid entry; ImageDamaged for any other."""
        if entry == 0:
            return L2Kind.UNALLOCATED
        if entry & COMPRESSED:
            self._check_compressed(entry)
            return L2Kind.COMPRESSED
        offset = entry & OFFSET_MASK
        if entry & self.bad_bits or offset >= self._metadata.data.size:
            raise self._metadata.damaged(
                f"L2 entry {entry:#x} does not point to a cluster of the file"
            )
        if entry & ZERO:
            return L2Kind.ZERO_ALLOCATED if offset else L2Kind.ZERO_PLAIN
        if not offset and not self._elsewhere:
            # COPIED alone, of no cluster: it means nothing, as it does to QEMU
            return L2Kind.UNALLOCATED
        return L2Kind.NORMAL

    def check_place(self, entry: int, start: int) -> None:
        """Raise ImageDamaged unless the cluster at `start` has the same offset in the data file."""
        place, offset = start & -self._geometry.cluster_size, entry & OFFSET_MASK
        # Offset 0 is a cluster of the data file only if COPIED says that there is one.
        if offset != place and (offset or (entry & COPIED and not entry & ZERO)):
            raise self._metadata.damaged(
                f"L2 entry {entry:#x} puts the cluster at {place:#x} elsewhere in the data file"
            )

    def host_clusters(self, entry: int) -> range:
        """Indices of the host clusters that a (valid) entry references, one count each."""
        if self._elsewhere:
            return range(0)
        if entry & COMPRESSED:
            return CompressedRange.of(entry, self._geometry.cluster_bits).clusters(
                self._geometry.cluster_bits
            )
        cluster = (entry & OFFSET_MASK) >> self._geometry.cluster_bits
        return range(cluster, cluster + 1) if cluster else range(0)

    def _run_end(self, table: array[int], index: int, limit: int, kind: L2Kind) -> int:
        """The index after the last entry of the run at `index`; COPIED is the same throughout."""
        if kind is L2Kind.COMPRESSED:
            return index + 1
        first = table[index]
        # Entries with host clusters go up by one cluster each; those without are all the same.
        step = self._geometry.cluster_size if kind in (L2Kind.NORMAL, L2Kind.ZERO_ALLOCATED) else 0
        position, expected = index + 1, first + step
        near = min(limit, index + _WORTH_COMPARING)
        while position < near and table[position] == expected:
            position, expected = position + 1, expected + step
        if position == near:
            position = _continued(table, position, limit, expected, step)
        # kind() has checked the first entry. A contiguous run may still go on beyond the file.
        last_offset = (first & OFFSET_MASK) + (position - 1 - index) * step
        if last_offset >= self._metadata.data.size:
            raise self._metadata.damaged(
                f"cluster {last_offset:#x} lies beyond the end of the file"
            )
        return position

    def _check_compressed(self, entry: int) -> None:
        offset = entry & self._compressed_offset
        if self._elsewhere or entry & COPIED or not 0 < offset < self._metadata.file.size:
            raise self._metadata.damaged(
                f"compressed L2 entry {entry:#x} does not point into the file"
            )


def _continued(table: array[int], position: int, limit: int, expected: int, step: int) -> int:
    """The index up to which entries from `position` on go up by `step` from `expected`."""
    # In pieces that grow, so that a run costs its own length: a table of many short runs is not
    # compared as a whole for each.
    count = _WORTH_COMPARING
    while position < limit:
        count = min(count * 4, limit - position)
        if table[position : position + count] != progression(expected, count, step):
            break
        position, expected = position + count, expected + count * step
    # The run ends within the piece that differed.
    while position < limit and table[position] == expected:
        position, expected = position + 1, expected + step
    return position
