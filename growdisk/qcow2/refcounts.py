"""The reference counts of an image: table, blocks, and counting runs of clusters up and down.

Changed blocks wait in a bounded cache. One may be written at any time: counts go up before anything
points to a cluster and down only after nothing does (metadata.py), so an early write leaks at
worst.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from growdisk.block.device import ResizableDevice, TableReader
from growdisk.errors import ImageDamaged
from growdisk.qcow2.entries import REFTABLE_RESERVED
from growdisk.qcow2.header import Header
from growdisk.qcow2.header_fields import Geometry, damaged, refcount_table_problem
from growdisk.qcow2.refblock import (
    RefblockCodec,
    RefcountRange,
    add_to_run,
    equal_run,
    last_used,
    runs_of,
    zero_runs,
)
from growdisk.qcow2.tables import TableCache, dump_table, load_table

CACHE_BYTES = 8 << 20
_BLOCKS_AT_ONCE = 256
_SECTOR_ENTRIES = 64  # of 8 bytes: written as one, they appear together
Run = tuple[int, int]  # first cluster index, number of clusters


class Refcounts:
    """Counts by cluster index. The allocator makes blocks (`add_blocks`) and moves the table."""

    def __init__(
        self, file: ResizableDevice, path: Path, header: Header, sync: Callable[[], None]
    ) -> None:
        self.geometry: Geometry = header.geometry
        self._file, self._path, self._sync = file, path, sync
        self.table_offset = header.reftable_offset
        problem = refcount_table_problem(header, file.size)
        if problem is not None:
            raise damaged(path, problem)
        self.table = load_table(
            file.read(header.reftable_offset, header.reftable_clusters * header.cluster_size)
        )
        self._codec = RefblockCodec(self.geometry.refcount_bits)
        self._cache = TableCache(self._load, self._write_block, CACHE_BYTES)
        self._unlinked: set[int] = set()  # block indices whose table entry is not on disk yet
        self._check_table()

    @property
    def covered(self) -> int:
        """Clusters that the table's entries can count."""
        return len(self.table) * self.geometry.refblock_entries

    def used_table(self) -> array[int]:
        """The table until its last entry in use: often a handful of thousands."""
        return self.table[: last_used(self.table) + 1]

    def block(self, index: int) -> array[int] | None:
        """The counts of one block, or None if it does not exist (all its clusters are free)."""
        if index >= len(self.table) or not self.table[index]:
            return None
        return self._cache.get(index)

    def get(self, cluster: int) -> int:
        index, entry = divmod(cluster, self.geometry.refblock_entries)
        block = self.block(index)
        return 0 if block is None else block[entry]

    def get_each(self, clusters: Sequence[int]) -> list[int]:
        """The counts of many clusters, wherever they lie."""
        bits = self.geometry.refblock_entries.bit_length() - 1
        indices = {cluster >> bits for cluster in clusters}
        # The dictionary below holds all these blocks in memory, whatever the cache's limit is.
        if len(indices) > _BLOCKS_AT_ONCE:
            return [self.get(cluster) for cluster in clusters]
        blocks = {index: self.block(index) or self._empty_block() for index in indices}
        inside = self.geometry.refblock_entries - 1
        return [blocks[cluster >> bits][cluster & inside] for cluster in clusters]

    def peek(self, cluster: int) -> int:
        """As get(), but reads one count instead of loading its block: for clusters far apart."""
        index, entry = divmod(cluster, self.geometry.refblock_entries)
        if index in self._cache or index >= len(self.table) or not self.table[index]:
            return self.get(cluster)
        # Several entries share a byte if they are narrower; `bit` is 0 for all others.
        first, bit = divmod(entry * self.geometry.refcount_bits, 8)
        value = int.from_bytes(
            self._file.read(self.table[index] + first, -(-self.geometry.refcount_bits // 8)), "big"
        )
        return value >> bit & self.geometry.refcount_max

    def used(self, clusters: int, limit: int) -> int:
        """How many of the first `clusters` clusters have a count; counting ends at `limit`."""
        found, per_block = 0, self.geometry.refblock_entries
        for index, offset in enumerate(self.table[: -(-clusters // per_block)]):
            if not offset:
                continue  # a file may be a hole of any length
            block = self._cache.get(index)[: clusters - index * per_block]
            found += len(block) - block.count(0)
            if found >= limit:
                break
        return min(found, limit)

    def counts_from(self, cluster: int) -> bool:
        """Whether `cluster` or any after it has a count.

        In a file that ends before it, that is a leak, or the file was cut off.
        """
        index, entry = divmod(cluster, self.geometry.refblock_entries)
        blocks = TableReader(self._file, self.geometry.cluster_size)
        # Straight from the file: that is what it says before the first change.
        if any(offset and blocks.read(offset) for offset in self.used_table()[index + 1 :]):
            return True
        # Last: the block that `cluster` lies in, from its entry on.
        block = self.block(index)
        return block is not None and not equal_run(block, entry, len(block) - entry, 0)

    def all_equal(self, first: int, count: int, value: int) -> bool:
        """Whether each of `count` clusters from `first` has exactly this count."""
        for index, entry, length in self._pieces(first, count):
            block = self.block(index)
            # A block that does not exist counts 0 for all its clusters.
            if value != 0 if block is None else not equal_run(block, entry, length, value):
                return False
        return True

    def runs_of(self, first: int, count: int, value: int) -> Iterator[tuple[int, int]]:
        """Runs of clusters with exactly this count, among `count` from `first`.

        They are half-open, and relative to `first`.
        """
        done = 0
        for index, entry, length in self._pieces(first, count):
            block = self.block(index)
            if block is not None:
                for start, end in runs_of(block, entry, length, value):
                    yield done + start, done + end
            done += length

    def free_in(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        """Where, of `count` clusters from `first`, those are that nothing counts: [start, end)."""
        for index, entry, length in self._pieces(first, count):
            block, base = self.block(index), index * self.geometry.refblock_entries
            if block is None:
                yield base + entry, base + entry + length
            else:
                for start, end in zero_runs(block, entry, entry + length):
                    yield base + start, base + end

    def add(self, runs: Iterable[Run], delta: int) -> None:
        """Add `delta` to every cluster of the runs, in memory.

        Check first: a failure half-way is ImageDamaged.
        """
        entries, limit = self.geometry.refblock_entries, self.geometry.refcount_max
        current, block = -1, None
        for first, count in runs:
            for index, entry, length in self._pieces(first, count):
                if index != current:
                    current, block = index, self.block(index)
                    if block is not None:
                        # Before the change: loading the next one may write this one.
                        self._cache.changed(index, block)
                if block is None:
                    raise damaged(
                        self._path,
                        f"cluster {index * entries + entry:#x} is in use and is not counted",
                    )
                try:
                    add_to_run(block, entry, length, delta, limit)
                except RefcountRange as error:
                    raise self._bad_count(index * entries + error.index, error.count) from error

    def first_outside(self, runs: Iterable[Run], low: int, high: int) -> tuple[int, int] | None:
        """(cluster, count) of the first with a count outside low..high; None if all are within."""
        for first, count in runs:
            for index, entry, length in self._pieces(first, count):
                block = self.block(index)
                # One 0 stands for a block that does not exist: its first cluster is reported.
                counts = array("B", [0]) if block is None else block[entry : entry + length]
                if (
                    block is not None
                    and low <= counts[0] <= high
                    and equal_run(block, entry, length, counts[0])
                ):
                    continue
                if min(counts) < low or max(counts) > high:
                    bad = next(i for i, value in enumerate(counts) if not low <= value <= high)
                    return index * self.geometry.refblock_entries + entry + bad, counts[bad]
        return None

    def add_blocks(self, offsets: dict[int, int]) -> None:
        """Put new, empty blocks at these host offsets, by block index.

        The table must be long enough.
        """
        for index, offset in offsets.items():
            self.table[index] = offset
            self._unlinked.add(index)
            self._cache.changed(index, self._empty_block())

    def forget_blocks(self, indices: Iterable[int]) -> None:
        """Take back add_blocks for blocks that were not written (the file system was full)."""
        self.leave_out(self._unlinked.intersection(indices))
        self._unlinked.difference_update(indices)

    def leave_out(self, indices: Iterable[int]) -> None:
        """Forget these blocks, in memory: the next table that is written does not name them."""
        for index in indices:
            self._cache.drop(index)
            self.table[index] = 0

    def write_blocks(self) -> None:
        """Write the changed blocks, and link new ones after a sync of what they hold."""
        for index, _ in self._cache.dirty():
            self._write_block(index)
        # A block may lie in a cluster that an earlier block counts, never a later one: so link them
        # in order, all of one sector at once. Each sync makes what the sectors before name durable.
        for sector in sorted({index // _SECTOR_ENTRIES for index in self._unlinked}):
            self._sync()
            start = sector * _SECTOR_ENTRIES
            entries = self.table[start : start + _SECTOR_ENTRIES]
            self._file.write(self.table_offset + 8 * start, dump_table(entries))
        self._unlinked.clear()

    def drop_empty_blocks(self) -> list[Run]:
        """Unlink, durably, blocks that count nothing but themselves.

        Where they lay; some of it may still be counted. There must be nothing unwritten.
        """
        dropped = []
        for index, offset in enumerate(self.used_table()):
            cluster, block = offset >> self.geometry.cluster_bits, self.block(index)
            counts_itself = cluster // self.geometry.refblock_entries == index
            # A bool as a number: the block has one count, its own, or none.
            if block is not None and len(block) - block.count(0) == counts_itself:
                dropped.append((cluster, 1))
                self.table[index] = 0
                self._cache.drop(index)
                self._unlinked.add(index)  # so that its sector is written
        self.write_blocks()
        self._sync()
        return dropped

    def write_table_copy(self, offset: int, entries: int) -> None:
        """Write all blocks, and a copy of the table with `entries` entries at `offset`.

        The header does not name it yet.
        """
        for index, _ in self._cache.dirty():
            self._write_block(index)
        longer = self.table + array("Q", bytes(8 * (entries - len(self.table))))
        self._file.write(offset, dump_table(longer))

    def lengthen(self, entries: int) -> None:
        """Make room in memory for more table entries; on disk the table moves (allocator)."""
        self.table.frombytes(bytes(8 * (entries - len(self.table))))

    def shorten(self, entries: int) -> None:
        """Take back `lengthen`."""
        del self.table[entries:]

    def table_moved(self, offset: int) -> None:
        """The header points to the table at `offset` now, which holds all entries."""
        self.table_offset = offset
        self._unlinked.clear()

    def _pieces(self, first: int, count: int) -> Iterator[tuple[int, int, int]]:
        """A run cut at block borders: (block index, first entry, entries)."""
        per_block = self.geometry.refblock_entries
        while count > 0:
            index, entry = divmod(first, per_block)
            length = min(count, per_block - entry)
            yield index, entry, length
            first, count = first + length, count - length

    def _load(self, index: int) -> array[int]:
        return self._codec.load(self._file.read(self.table[index], self.geometry.cluster_size))

    def _write_block(self, index: int) -> None:
        block = self._cache.get(index)
        self._file.write(self.table[index], self._codec.dump(block))
        self._cache.cleaned(index)

    def _empty_block(self) -> array[int]:
        block = array(self._codec.typecode)
        block.frombytes(bytes(self.geometry.refblock_entries * block.itemsize))
        return block

    def _check_table(self) -> None:
        size, cluster_size = self._file.size, self.geometry.cluster_size
        bad_bits = REFTABLE_RESERVED | (cluster_size - 1)
        table = self.used_table()
        for index, offset in enumerate(table):
            if offset and (offset & bad_bits or offset + cluster_size > size):
                raise damaged(
                    self._path,
                    f"refcount table entry {index} ({offset:#x}) is not a cluster of the file",
                )
        # With one block for two ranges, counting in one range would change the other's counts.
        blocks = [offset for offset in table if offset]
        if len(set(blocks)) < len(blocks):
            raise damaged(self._path, "two entries of its refcount table name the same block")

    def _bad_count(self, cluster: int, count: int) -> ImageDamaged:
        where = f"cluster {cluster:#x}"
        if count == 0:
            return damaged(self._path, f"{where} is in use and its reference count is 0")
        return damaged(self._path, f"{where} has the count {count}, the highest of its width")
