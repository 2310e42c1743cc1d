"""Before the first write of a change: what it needs of the image's tables, what of the host's room.

The engine checks every entry again when it meets it. But in the middle of a change that is too late
if the image's tables are wrong: others have been written by then. What has been overwritten in
place could not be undone either. So all of the host's room is taken before: the clusters that the
write will get are taken, filled with blocks of the host, and made free again; the allocator hands
them out next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from growdisk.block.host_blocks import reserve_ranges
from growdisk.block.raw import RawFile
from growdisk.qcow2.entries import COPIED, OFFSET_MASK, L2Kind
from growdisk.qcow2.l1_walk import Walker
from growdisk.qcow2.mapping import GuestRun, Mapping
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.reader import Reader
from growdisk.qcow2.refcounts import Run
from growdisk.qcow2.writer import Writer
from growdisk.units import align_down, align_up, joined

ByteRange = tuple[int, int]


class Preflight:
    """Changes nothing.

    Each method raises ImageDamaged (or ImageUnsupported) if the change could not be finished.
    """

    def __init__(
        self, metadata: Metadata, mapping: Mapping, reader: Reader, walker: Walker
    ) -> None:
        self._metadata, self._geometry = metadata, metadata.geometry
        self._mapping, self._reader, self._walker = mapping, reader, walker

    def guest_change(self, start: int, end: int) -> None:
        """Before the guest bytes [start, end) are written, zeroed or dropped."""
        self._metadata.allocator.check_metadata()
        self._entries(start, end)
        cluster_size = self._geometry.cluster_size
        # The rest of the first and the last cluster is copied into new ones: it must be readable.
        disk_end = self._metadata.header.size
        self._readable(align_down(start, cluster_size), min(start, disk_end))
        self._readable(end, min(align_up(end, cluster_size), disk_end))

    def resizing(self, size: int) -> None:
        """Before the disk gets another size."""
        header = self._metadata.header
        if size != header.size:
            self.dropping_beyond(min(size, header.size))
        if size > header.size:
            # The rest of the last cluster is zeroed, as a guest's write would be.
            cluster_end = align_up(header.size, self._geometry.cluster_size)
            if header.size < cluster_end:
                self._entries(header.size, cluster_end)
                self._readable(align_down(header.size, self._geometry.cluster_size), header.size)
            # The L1 table is freed if a longer one takes its place.
            self._walker.require_counts([header.l1_run], 1, self._geometry.refcount_max)

    def dropping_beyond(self, size: int) -> None:
        """Before everything beyond a disk of `size` bytes is dropped."""
        self._metadata.allocator.check_metadata()
        self._metadata.flush()  # earlier changes, if any: the walker reads from the file
        l1, coverage = self._metadata.l1, self._geometry.l2_coverage
        kept = self._geometry.l1_entries(size)
        self._walker.check_counts(self._walker.references(l1[kept:]), up=False)
        start = align_up(size, self._geometry.cluster_size)
        self._entries(start, min(align_up(size, coverage), len(l1) * coverage))

    def _entries(self, start: int, end: int) -> None:
        """The entries of a range are sound; what they name is counted and is not metadata."""
        if start >= end:
            return
        for _ in self._mapping.runs(start, end):
            pass  # each is validated when it is met
        references = self._walker.range_references(start, end)
        self._walker.check_counts(references, up=False)
        for first, count in references.runs():
            self._metadata.allocator.refuse_metadata(first, count)

    def _readable(self, start: int, end: int) -> None:
        """Read compressed clusters that will be written to in part: their data may be broken."""
        if start < end and any(
            run.kind is L2Kind.COMPRESSED for run in self._mapping.runs(start, end)
        ):
            self._reader.read(start, end)


class Reservation:
    """For guest ranges of one image that will be written; there must be nothing unwritten."""

    def __init__(self, metadata: Metadata, mapping: Mapping, writer: Writer) -> None:
        self._metadata, self._mapping, self._writer = metadata, mapping, writer
        self._geometry = metadata.geometry
        self._overwritten: list[ByteRange] = []  # of the file that has the guest's bytes
        self._new_clusters = 0
        self._tables: set[int] = set()  # L1 indices
        self._counted: list[Run] = []  # clusters whose counts will change

    def take(self, written: Iterable[ByteRange], zeroed: Iterable[ByteRange]) -> list[Run]:
        """Take it all, or, with OSError, nothing that stays once what is unwritten is forgotten.

        Returns the clusters; what has not been used of them goes back with Allocator.give_back().
        """
        file, data_file = self._metadata.file, self._metadata.data_file
        for start, end in written:
            self._look_at(start, end)
        for start, end in zeroed:
            self._look_at_zeros(start, end)
        if not isinstance(file, RawFile):
            return []
        taken: list[ByteRange] = []
        if isinstance(data_file, RawFile):
            taken = reserve_ranges(data_file, self._overwritten)
        try:
            return self._take_clusters(file)
        except OSError:
            for hole in taken:
                assert isinstance(data_file, RawFile)
                data_file.discard(*hole)
            raise

    def _take_clusters(self, file: RawFile) -> list[Run]:
        allocator, end = self._metadata.allocator, file.size
        runs: list[Run] = []
        missing = self._new_clusters + sum(map(self._is_replaced, self._tables))
        with allocator.taken_back(runs):
            while missing:
                runs.append(allocator.allocate_some(missing))
                missing -= runs[-1][1]
            # Allocating may have lengthened the file, by a hole from `end` on.
            reserve_ranges(file, joined(sorted([*self._in_place(runs), (end, file.size)])))
        allocator.hand_out_next(runs)
        return runs

    def _in_place(self, runs: list[Run]) -> Iterator[ByteRange]:
        """What is written of the image file itself, new clusters and old ones, joined or not."""
        if self._metadata.data_file is None:
            yield from self._overwritten
        bits, size = self._geometry.cluster_bits, self._geometry.cluster_size
        yield 0, size
        for first, count in runs:
            yield first << bits, first + count << bits
        for index in sorted(self._tables):
            # Its L1 entry, and the L2 table if that changes in place: copies are new clusters.
            offset = self._metadata.l1[index] & OFFSET_MASK
            entry = self._metadata.header.l1_offset + 8 * index
            yield entry, entry + 8
            if offset and not self._is_replaced(index):
                yield offset, offset + size
        refcounts, per_block = self._metadata.refcounts, self._geometry.refblock_entries
        # The blocks that count what is allocated, and what is freed for it.
        blocks = {
            index
            for first, count in (*runs, *self._counted)
            for index in range(first // per_block, (first + count - 1) // per_block + 1)
        }
        for index in sorted(blocks):
            yield refcounts.table[index], refcounts.table[index] + size

    def _look_at(self, start: int, end: int) -> None:
        bits = self._geometry.cluster_bits
        if self._metadata.data_file is not None:
            size = self._geometry.cluster_size
            last = min(align_up(end, size), self._metadata.data_file.size)
            self._overwritten.append((align_down(start, size), last))
        counted = 0  # guest clusters before this one have been counted as new
        for run in self._mapping.runs(start, end):
            if self._writer.is_ours(run):
                if self._metadata.data_file is None:
                    self._overwritten.append((run.host, run.host + run.end - run.start))
                continue
            self._entries_change(run)
            if self._metadata.data_file is None:
                first, stop = run.start >> bits, (run.end - 1 >> bits) + 1
                # Two runs may lie in one guest cluster, which gets one new host cluster.
                self._new_clusters += stop - max(first, counted)
                counted = stop

    def _look_at_zeros(self, start: int, end: int) -> None:
        """A zeroed cluster needs no new one, but its table may be a snapshot's too."""
        first, last = self._writer.zeroed_by_entries(start, end)
        as_data = [(start, first), (last, end)]
        for run in self._writer.droppable_runs(first, last, to_zero=True):
            if self._writer.zero_entry(run) is None:
                as_data.append((run.start, run.end))
            else:
                self._entries_change(run)
        for part in as_data:
            for wanted in self._writer.without_zeros(*part):
                self._look_at(*wanted)

    def _entries_change(self, run: GuestRun) -> None:
        bits, coverage = self._geometry.cluster_bits, self._geometry.l2_coverage
        self._tables.update(range(run.start // coverage, (run.end - 1) // coverage + 1))
        if replaced := self._mapping.host_clusters(run.entry):
            # A plain run frees one host cluster for each guest cluster. A compressed run is one
            # guest cluster, on one or two host clusters.
            more = (run.end - 1 >> bits) - (run.start >> bits)
            self._counted.append((replaced.start, len(replaced) + more))

    def _is_replaced(self, l1_index: int) -> bool:
        """Whether writing into an L2 table makes a new one."""
        entry = self._metadata.l1[l1_index]
        cluster = (entry & OFFSET_MASK) >> self._geometry.cluster_bits
        return not (entry & COPIED and self._metadata.refcounts.get(cluster) == 1)
