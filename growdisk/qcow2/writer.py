"""Writing guest bytes: in place if the cluster is not shared, otherwise into new clusters.

"Not shared" means COPIED *and* a count of one: another program may have died between the two. What
is replaced is freed only after the table without it is durable (metadata.py).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from growdisk.qcow2.entries import COPIED, ZERO, L2Kind
from growdisk.qcow2.features import Autoclear
from growdisk.qcow2.mapping import GuestRun, Mapping
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.reader import Reader
from growdisk.qcow2.refcounts import Run
from growdisk.qcow2.tables import progression
from growdisk.units import align_down, align_up, split_range

_JOINED = 1 << 20  # up to here head, data and tail go out as one write
_ZERO_CHUNK = 1 << 20


class Writer:
    """Changes the guest content of the top layer.

    Ranges may lie beyond the disk's end, as far as the L1 reaches.
    """

    def __init__(self, metadata: Metadata, mapping: Mapping, reader: Reader) -> None:
        self._metadata, self._mapping, self._reader = metadata, mapping, reader
        self._geometry, self._data = metadata.geometry, metadata.data
        self._elsewhere = metadata.data_file is not None
        #: The data file alone must show the guest's disk: then zeros are bytes, never flags.
        self._is_raw = self._elsewhere and bool(metadata.header.autoclear & Autoclear.RAW_DATA_FILE)

    def write(self, offset: int, data: memoryview) -> None:
        end = offset + len(data)
        for start, stop in split_range(offset, end, self._geometry.l2_coverage):
            self._write_in_table(start, data[start - offset : stop - offset])
        self._metadata.relieve()

    def write_zeros(self, start: int, end: int) -> None:
        """Make [start, end) read as zeros: whole clusters by flags, if the version has them."""
        first, last = self.zeroed_by_entries(start, end)
        self._write_explicit_zeros(start, first)
        self._drop_clusters(first, last, to_zero=True)
        self._write_explicit_zeros(last, end)
        self._metadata.relieve()

    def zeroed_by_entries(self, start: int, end: int) -> tuple[int, int]:
        """The clusters that are zeroed as a whole; before and after them, zeros are data."""
        cluster_size = self._geometry.cluster_size
        if self._is_raw:
            return end, end
        if start < end and end >= self._metadata.header.size and not self._elsewhere:
            # nobody sees what lies beyond the disk's end in its last cluster, if the file has it
            end = align_up(end, cluster_size)
        # All of it may lie inside one cluster: then all of it comes before.
        first = min(align_up(start, cluster_size), end)
        return first, max(align_down(end, cluster_size), first)

    def discard(self, start: int, end: int) -> None:
        """Free the clusters wholly inside [start, end).

        They read as zeros, or stay if that is impossible.
        """
        cluster_size = self._geometry.cluster_size
        start, end = align_up(start, cluster_size), align_down(end, cluster_size)
        # In a version 2 overlay the zeros would have to be stored as data, which frees nothing.
        if not self._is_raw and (
            self._reader.backing is None or self._metadata.header.version >= 3
        ):
            self._drop_clusters(start, end, to_zero=False)
        self._metadata.relieve()

    def empty_clusters(self, start: int, end: int) -> None:
        """Free whole clusters and leave their entries empty: for those beyond the disk's end."""
        # A list, here and below: the table changes while its runs are gone through.
        for run in list(self._mapping.cluster_runs(start, end)):
            if run.kind is not L2Kind.UNALLOCATED:
                self._set_run(run, 0)

    # --- data -------------------------------------------------------------------------------------

    def _write_in_table(self, start: int, data: memoryview) -> None:
        end = start + len(data)
        while start < end:
            # Looked up again each time: _write_new() has changed the table.
            run = next(self._mapping.runs(start, end))
            if self.is_ours(run):
                self._data.write(run.host, data[: run.end - start], start)
                stop = run.end
            else:
                stop = self._write_new(start, data[: self._rewritable_end(run, end) - start])
            start, data = stop, data[stop - start :]

    def is_ours(self, run: GuestRun) -> bool:
        """Whether the run may be written in place."""
        if run.kind is not L2Kind.NORMAL or not run.entry & COPIED:
            return False
        bits = self._geometry.cluster_bits
        first, last = run.host >> bits, run.host + run.end - run.start - 1 >> bits
        # The file's last cluster may be cut short: what is missing cannot be written in place.
        inside = run.host + run.end - run.start <= self._data.size
        # A data file has neither counts nor tables.
        if not inside or self._elsewhere:
            return inside
        # COPIED is only what the file says: a program that died between flag and count leaves it
        # wrong.
        if not self._metadata.refcounts.all_equal(first, last - first + 1, 1):
            return False
        self._metadata.allocator.refuse_metadata(first, last - first + 1)
        return True

    def _rewritable_end(self, first: GuestRun, end: int) -> int:
        """How far the runs from `first` on all need new clusters."""
        stop = first.end
        if stop < end:
            for run in self._mapping.runs(stop, end):
                if self.is_ours(run):
                    break
                stop = run.end
        return stop

    def _write_new(self, start: int, data: memoryview) -> int:
        """Put data into new clusters in a row, as many as there are; where that ends."""
        bits = self._geometry.cluster_bits
        l1_index = start // self._geometry.l2_coverage
        table = self._metadata.writable_l2(l1_index)
        index, wanted = self._geometry.entries_of(start, start + len(data))
        cluster, count = self._new_clusters(start >> bits, wanted)
        end = min(start + len(data), ((start >> bits) + count) << bits)
        taken = [] if self._elsewhere else [(cluster, count)]
        with self._metadata.allocator.taken_back(taken):
            self._write_clusters(cluster << bits, start, end, data[: end - start])
        # Data first, entry afterwards: a table never names a cluster that has not been filled.
        entries = progression(cluster << bits | COPIED, count, self._geometry.cluster_size)
        self.replace_entries(l1_index, table, index, entries)
        return end

    def _new_clusters(self, guest_cluster: int, wanted: int) -> Run:
        """Clusters for up to `wanted` consecutive guest clusters; in a data file, their own."""
        if self._elsewhere:
            return (guest_cluster, wanted)
        return self._metadata.allocator.allocate_some(wanted)

    def _write_clusters(self, host: int, start: int, end: int, data: memoryview) -> None:
        """Fill whole new clusters: what the guest has around [start, end), and `data` in it."""
        cluster_size = self._geometry.cluster_size
        #   first    start      end      last
        #   │  head  │   data   │  tail  │      from here or from below, as the guest sees it
        first, last = align_down(start, cluster_size), align_up(end, cluster_size)
        if self._elsewhere:
            last = min(last, self._data.size)  # a data file ends where the disk ends
        head = self._reader.read(first, start) if first < start else b""
        tail = self._reader.read(end, last) if end < last else b""
        if (head or tail) and len(data) <= _JOINED:
            self._data.write(host, b"".join((head, data, tail)), first)
            return
        position = first
        for part in (head, data, tail):
            if part:
                self._data.write(host + position - first, part, position)
                position += len(part)

    # --- entries ----------------------------------------------------------------------------------

    def replace_entries(
        self, l1_index: int, table: array[int], index: int, entries: array[int]
    ) -> None:
        """Store entries in a table from Metadata.writable_l2 and free what they replace, later."""
        old = self._mapping.put(table, index, entries)
        self._metadata.l2_changed(l1_index, table)
        if any(old):
            self._free_entries(old)

    def _free_entries(self, entries: array[int]) -> None:
        first, count = 0, 0
        for entry in entries:
            for cluster in self._mapping.host_clusters(entry):
                if cluster == first + count:
                    count += 1
                    continue
                if count:
                    self._metadata.free_later(first, count)
                first, count = cluster, 1
        if count:
            self._metadata.free_later(first, count)

    def _drop_clusters(self, start: int, end: int, *, to_zero: bool) -> None:
        """Free the whole clusters of [start, end) and make them read as zeros."""
        for first, last in split_range(start, end, self._geometry.l2_coverage):
            for run in list(self.droppable_runs(first, last, to_zero=to_zero)):
                entry = self.zero_entry(run)
                if entry is None:
                    self._write_explicit_zeros(run.start, run.end)
                else:
                    self._set_run(run, entry)
            self._metadata.relieve()

    def droppable_runs(self, start: int, end: int, *, to_zero: bool) -> Iterator[GuestRun]:
        """Runs of whole clusters that have something to free, or that do not read as zeros."""
        for run in self._mapping.cluster_runs(start, end):
            # ZERO_ALLOCATED is dropped as well: that frees its host cluster.
            is_allocated = run.kind not in (L2Kind.UNALLOCATED, L2Kind.ZERO_PLAIN)
            if is_allocated or (to_zero and not self._reader.reads_as_zero(run)):
                yield run

    def zero_entry(self, run: GuestRun) -> int | None:
        """The entry without a cluster that reads as zeros; None if only data can."""
        backing = self._reader.backing
        # With nothing below it, an empty entry reads as zeros.
        if backing is None or run.start >= backing.size:
            return 0
        # Version 2 has no zero flag: bit 0 of an L2 entry is reserved there.
        return ZERO if self._metadata.header.version >= 3 else None

    def _set_run(self, run: GuestRun, entry: int) -> None:
        """Give every cluster of a run this entry, and free what it had."""
        l1_index = run.start // self._geometry.l2_coverage
        table = self._metadata.writable_l2(l1_index)
        index, count = self._geometry.entries_of(run.start, run.end)
        self.replace_entries(l1_index, table, index, array("Q", [entry]) * count)

    def _write_explicit_zeros(self, start: int, end: int) -> None:
        """Zeros as data, except where there are zeros already."""
        for wanted in list(self.without_zeros(start, end)):
            for first, last in split_range(*wanted, _ZERO_CHUNK):
                self.write(first, memoryview(bytes(last - first)))

    def without_zeros(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of [start, end) that may hold something else than zeros."""
        for run in self._mapping.runs(start, end):
            yield from self._reader.not_known_as_zero(run)
