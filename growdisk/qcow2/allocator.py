"""Finding free clusters without scanning the image: known holes first, then the end of the file.

Holes are learned one refcount block at a time, once per opening, and from what is freed meanwhile.
At the end of the file new refcount blocks (and, rarely, a longer refcount table) are put in front
of the clusters that needed them, in one area that counts itself.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from growdisk.block.device import ResizableDevice
from growdisk.errors import ImageUnsupported
from growdisk.qcow2.header_fields import MAX_REFTABLE_BYTES, damaged
from growdisk.qcow2.refblock import last_used, zero_runs
from growdisk.qcow2.refcounts import Refcounts, Run
from growdisk.units import joined

_HOLES_LOOKED_AT = 64  # when a table needs contiguous clusters
# refcount blocks read to find the last used cluster; what lies before them is taken for used
_BLOCKS_TRIMMED = 256


class Allocator:
    """Hands out clusters (count 1, in memory) and takes freed ones back."""

    def __init__(
        self,
        file: ResizableDevice,
        path: Path,
        refcounts: Refcounts,
        move_table: Callable[[Run], Run],
        find_metadata: Callable[[], list[int]],
    ) -> None:
        """`move_table`: see Metadata.move_reftable; `find_metadata`: Metadata.metadata_clusters."""
        self._file, self._path, self._refcounts = file, path, refcounts
        self._move_table, self._find_metadata = move_table, find_metadata
        self._geometry = refcounts.geometry
        self._holes: deque[Run] = deque()
        self._next_scan = 0  # block index; blocks before it have been searched for holes
        # clusters that held metadata when the search began, less what was released
        self._metadata: list[int] = []
        self._end = -1  # first cluster after all used ones; found when first needed
        self.append_only = False  # new clusters only beyond the end
        # what has been released, if that is recorded
        self.released: list[Run] | None = None

    def allocate_some(self, wanted: int) -> Run:
        """Between 1 and `wanted` contiguous clusters, as (first, count)."""
        self._learn_holes()
        if not self._holes:
            return self._append(wanted), wanted
        # Every hole is free now: it was found by the search, or released.
        first, length = self._holes.popleft()
        count = min(wanted, length)
        if count < length:
            self._holes.appendleft((first + count, length - count))
        self._count_up(first, count)
        return first, count

    def allocate(self, count: int) -> int:
        """Exactly `count` contiguous clusters; the index of the first."""
        self._learn_holes()
        for position in range(min(len(self._holes), _HOLES_LOOKED_AT)):
            first, length = self._holes[position]
            if length >= count:
                self._holes[position] = (first + count, length - count)
                if length == count:
                    del self._holes[position]
                self._count_up(first, count)
                return first
        return self._append(count)

    def release(self, runs: Iterable[Run]) -> None:
        """Count runs down by one. The tables that used them must be durable without them."""
        passed = self._next_scan * self._geometry.refblock_entries
        for first, count in runs:
            self._count_down([(first, count)])
            # Holes in refcount blocks that the search, which finds others, has passed.
            free = self._refcounts.free_in(first, min(count, passed - first))
            self._holes.extend((start, end - start) for start, end in free)

    @contextmanager
    def taken_back(self, runs: Sequence[Run]) -> Iterator[None]:
        """Release these, to which nothing durable points yet, if the block fails."""
        try:
            yield
        except BaseException:
            self.release(runs)
            raise

    def hand_out_next(self, runs: Iterable[Run]) -> None:
        """Free clusters that were just allocated and are unused; they are the next to be given."""
        runs = list(runs)
        self._count_down(runs)
        # All of them, also in blocks that the search has not reached. It goes on only once no hole
        # is left, so it does not find them a second time.
        self._holes.extendleft(reversed(runs))

    def search_again(self) -> None:
        """Forget all holes that were found: blocks that counted some are gone."""
        self._holes.clear()
        self._next_scan, self._end = 0, -1

    def check_metadata(self) -> None:
        """Raise ImageDamaged if metadata are counted as free.

        Otherwise that is found when such a cluster is wanted.
        """
        self._refuse_free_metadata(0, sys.maxsize)

    def metadata_in(self, first: int, count: int) -> int | None:
        """A cluster of the run that certainly holds metadata, or None."""
        known = self._known_metadata()
        place = bisect_left(known, first)
        found = known[place : place + 1]
        return found[0] if found and found[0] < first + count else None

    def refuse_metadata(self, first: int, count: int) -> None:
        """ImageDamaged if a run of guest clusters has one that certainly holds metadata."""
        if (cluster := self.metadata_in(first, count)) is not None:
            reason = f"cluster {cluster:#x} is guest data and holds metadata too"
            raise damaged(self._path, reason)

    def now_metadata(self, cluster: int) -> None:
        """A cluster from allocate() is a table now."""
        # An empty list has not been asked for yet, and will have this cluster then.
        if self._metadata:
            insort(self._metadata, cluster)

    @property
    def end(self) -> int:
        """Byte offset after the last cluster in use."""
        return self._find_end() << self._geometry.cluster_bits

    def give_back(self, runs: Iterable[Run]) -> None:
        """Free the host's blocks of those of these clusters that are free now.

        That must be durable. The runs may overlap, as those of several disks do. The file is cut
        off after the last other cluster. No other free cluster is touched: a count may be wrong.
        """
        bits, end = self._geometry.cluster_bits, self._geometry.clusters(self._file.size)
        ranges = list(joined(sorted((first, first + count) for first, count in runs)))
        inside: list[tuple[int, int]] = []
        # The last ones first: the end moves down before the runs below it are looked at.
        free = (
            run
            for first, last in reversed(ranges)
            for run in reversed(list(self._refcounts.free_in(first, last - first)))
        )
        for first, last in free:
            if last >= end:
                end = min(first, end)
            elif inside and inside[-1][0] == last:
                inside[-1] = (first, inside[-1][1])
            else:
                inside.append((first, last))
        if end << bits < self._file.size:
            self._file.resize(end << bits)
        for first, last in inside:
            self._file.discard(first << bits, last - first << bits)

    def give_back_all(self) -> None:
        """The same for all free clusters, in an image whose counts have just been checked."""
        if (end := self.end) < self._file.size:
            self._file.resize(end)
        # Until there alone: a block device goes on for long after it.
        self.give_back([(1, self._find_end() - 1)])

    def _count_up(self, first: int, count: int) -> None:
        if first == 0:
            raise damaged(self._path, "the cluster of its header is counted as free")
        self._refcounts.add([(first, count)], +1)
        # A hole may lie beyond the end by now: give_back() cuts the file off.
        self._extend_file(first + count)

    def _count_down(self, runs: Iterable[Run]) -> None:
        for first, count in runs:
            self._refcounts.add([(first, count)], -1)
            if self.released is not None:
                self.released.append((first, count))
            # What is freed may become guest data, so it is not metadata any more.
            del self._metadata[
                bisect_left(self._metadata, first) : bisect_left(self._metadata, first + count)
            ]

    def _learn_holes(self) -> None:
        if self._end < 0:
            self._end = self._find_end()
            self._refuse_free_metadata(self._end, sys.maxsize)
        per_block = self._geometry.refblock_entries
        # One more block, and only if no hole is known: to read all of them takes long.
        if self.append_only or self._holes or self._next_scan * per_block >= self._end:
            return
        index = self._next_scan
        block = self._refcounts.block(index)
        self._next_scan += 1
        if block is not None:
            stop = min(per_block, self._end - index * per_block)
            self._refuse_free_metadata(index * per_block, index * per_block + stop)
            self._holes.extend((index * per_block + a, b - a) for a, b in zero_runs(block, 0, stop))

    def _refuse_free_metadata(self, first: int, end: int) -> None:
        """ImageDamaged, before they are used, if clusters to be handed out hold metadata."""
        known = self._known_metadata()
        for cluster in known[bisect_left(known, first) : bisect_left(known, end)]:
            if self._refcounts.peek(cluster) == 0:
                raise damaged(
                    self._path, f"cluster {cluster:#x} holds metadata and is counted as free"
                )

    def _known_metadata(self) -> list[int]:
        self._metadata = self._metadata or self._find_metadata()
        return self._metadata

    def _find_end(self) -> int:
        """The cluster after the last used one: the file's end, minus the free clusters there."""
        per_block = self._geometry.refblock_entries
        # A block device may be far longer than what the table can count.
        end = min(self._geometry.clusters(self._file.size), self._refcounts.covered)
        blocks = 0
        while blocks < _BLOCKS_TRIMMED:
            index = (end - 1) // per_block
            # A block that does not exist takes no read, and does not count towards the limit.
            block = self._refcounts.block(index)
            blocks += block is not None
            used = -1 if block is None else last_used(block[: end - index * per_block])
            end = index * per_block + used + 1
            if used >= 0 or index == 0:
                break
        return end

    def _append(self, count: int) -> int:
        """Allocate `count` clusters at the end, after new refcount blocks and table."""
        #   ... used │ longer table (rarely) │ new blocks │ the clusters that were asked for
        #              start                                first
        start = self._free_end(count)
        blocks, table_clusters = self._missing(start, count)
        first = start + table_clusters + len(blocks)
        # First of all: if the host refuses so long a file, no count has been changed yet.
        self._extend_file(first + count)
        old_entries = len(self._refcounts.table)
        new_entries = max(old_entries, table_clusters * self._geometry.cluster_size // 8)
        self._refcounts.lengthen(new_entries)
        offsets = {
            index: (start + table_clusters + position) << self._geometry.cluster_bits
            for position, index in enumerate(blocks)
        }
        self._refcounts.add_blocks(offsets)
        self._refcounts.add([(start, table_clusters + len(blocks) + count)], +1)
        if table_clusters:
            try:
                self.release([self._move_table((start, table_clusters))])
            except OSError:
                # The header still names the old table, so the longer one never was.
                self._refcounts.add([(start, table_clusters + len(blocks) + count)], -1)
                self._refcounts.forget_blocks(blocks)
                self._refcounts.shorten(old_entries)
                raise
        self._end = first + count
        return first

    def _free_end(self, count: int) -> int:
        """The first cluster at the end from which `count` and their refcount blocks fit."""
        per_block = self._geometry.refblock_entries
        # More than the blocks for these clusters and for the blocks themselves.
        needed = 2 + count + 2 * count // per_block
        # A crash may have leaked clusters beyond the end: go on after the last of them.
        while not self._refcounts.all_equal(self._end, needed, 0):
            index = (self._end + needed - 1) // per_block
            # This ends: something in the range is counted, so one of its blocks exists and is used.
            while (block := self._refcounts.block(index)) is None or last_used(block) < 0:
                index -= 1
            self._end = max(self._end + 1, index * per_block + last_used(block) + 1)
        return self._end

    def _missing(self, start: int, count: int) -> tuple[list[int], int]:
        """(indices of missing refcount blocks, clusters of a longer table or 0) for these."""
        per_block, cluster_size = self._geometry.refblock_entries, self._geometry.cluster_size
        table = self._refcounts.table
        blocks: list[int] = []
        table_clusters = 0
        # Blocks and table take clusters as well, which may need another block: until nothing is
        # missing.
        while True:
            end = start + table_clusters + len(blocks) + count
            indices = range(start // per_block, (end - 1) // per_block + 1)
            missing = [i for i in indices if i >= len(table) or not table[i]]
            longer = 0
            if indices[-1] >= len(table):
                wanted = indices[-1] + 1
                # Half as many entries again: each move of the table costs two syncs.
                longer = -(-(wanted + wanted // 2) * 8 // cluster_size)
                longer = min(longer, max(MAX_REFTABLE_BYTES // cluster_size, 1))
                if wanted * 8 > MAX_REFTABLE_BYTES:
                    raise ImageUnsupported(
                        self._path, reason="its refcount table cannot grow beyond 8 MiB"
                    )
            # Nothing new is missing: what was assumed is what is needed.
            if len(missing) == len(blocks) and longer <= table_clusters:
                return missing, table_clusters
            blocks, table_clusters = missing, max(longer, table_clusters)

    def _extend_file(self, clusters: int) -> None:
        size = clusters << self._geometry.cluster_bits
        if size > self._file.size:
            self._file.resize(size)
