"""All references of an image, counted from scratch by walking every table.

A table that several snapshots share is read once and counted as often as it is referenced. Shares
no arithmetic with the writer: an engine that is tested only against itself agrees with itself.
Follows QEMU's docs/interop/qcow2; what counts as a corruption follows qcow2_check_refcounts().
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator

from growdisk.block.device import BlockDevice, ExtentKind, read_padded
from growdisk.fast_dataclass import dataclass
from growdisk.qcow2 import entries
from growdisk.qcow2.check.check_errors import CheckErrors
from growdisk.qcow2.check.cluster_counts import ClusterCounts
from growdisk.qcow2.check.l2_tables import FragmentedTable, L2Reader, Runs
from growdisk.qcow2.check.stored_refcounts import StoredRefcounts, counts_for
from growdisk.qcow2.check.table_lists import BITMAP_RESERVED, bitmap_tables, snapshot_tables
from growdisk.qcow2.features import Autoclear, Incompatible
from growdisk.qcow2.header import Extension, Header
from growdisk.units import align_up, split_range

_MAX_REPEATED = 32 << 20  # as much as one L1 table may have
_PIECE = 1 << 20


@dataclass
class Fragmentation:
    """Clusters of the active disk, as `qemu-img check` counts them."""

    allocated: int = 0
    fragmented: int = 0
    compressed: int = 0


class ReferenceCount:
    """Walks the image on construction; `counted` then holds the references of every cluster."""

    def __init__(
        self, file: BlockDevice, header: Header, stored: StoredRefcounts, findings: CheckErrors
    ) -> None:
        self._file, self._header, self._stored, self._found = file, header, stored, findings
        self._bits, self._cluster_size = header.cluster_bits, header.cluster_size
        self.l2 = L2Reader(file, header)
        self._reserved = entries.L2_RESERVED if self.l2.zero_flag else entries.L2_RESERVED_V2
        self._data_file = header.has(Incompatible.DATA_FILE)
        self._clusters_in_file = -(-file.size // self._cluster_size)
        # or beyond, where compressed data reach over the end of the file
        self.end_cluster = self._clusters_in_file
        self.cut_off_end = 0  # the first cluster after data that the file has lost
        self.counted = counts_for(file)
        self._repeated = 0  # bytes of L1 tables that lie where something else was counted
        self.fragmentation = Fragmentation()
        self.l2_tables: Counter[int] = Counter()  # offset: references from all L1 tables
        self.tables: list[tuple[str, range]] = []  # clusters that may have one reference only
        self._table("header", 0, self._cluster_size)
        self._walk_disks()
        self._walk_bitmaps()
        # the table and its blocks, and how often each is one
        self.refcount_clusters: Counter[int] = Counter()
        # Last: if these overlap with something else, it is the refcounts that can be made again.
        self._walk_refcount_table()
        self._walk_refcount_blocks()

    def rebuilt_without(self) -> ClusterCounts:
        """The counts without those of the refcount table and blocks, which a rebuild replaces."""
        for cluster, times in self.refcount_clusters.items():
            self.counted.add(cluster, -times)
        return self.counted

    # --- counting --------------------------------------------------------------------------------

    def _table(self, name: str, offset: int, length: int) -> None:
        if length and self._count_range(offset, length, name):
            self.tables.append(
                (name, range(offset >> self._bits, (offset + length - 1 >> self._bits) + 1))
            )

    def _count_range(self, offset: int, length: int, name: str, times: int = 1) -> bool:
        """Count the clusters of a byte range; False (and a corruption) if it leaves the file."""
        # The file's last cluster may be cut short. A whole one that is missing is an error.
        if offset + length - self._file.size >= self._cluster_size:
            self._found.broken_structure(
                f"{name} at {offset:#x} lies beyond the end of the file", times
            )
            return False
        first, end = offset >> self._bits, (offset + length - 1 >> self._bits) + 1
        self.counted.add_run(first, end - first, times)
        self.end_cluster = max(self.end_cluster, end)
        return True

    # --- L1 tables: the active disk and the snapshots --------------------------------------------

    def _walk_disks(self) -> None:
        header = self._header
        active = self._walk_l1("active disk", header.l1_offset, header.l1_size)
        self.l2_tables.update(active)
        snapshots, length = snapshot_tables(self._file, header, self._found)
        for snapshot in snapshots:
            self.l2_tables.update(self._walk_l1(*snapshot))
        self._table("snapshot table", header.snapshots_offset, length)
        # Each table is read once, and what it names is counted for all L1 entries that name it.
        for offset, times in self.l2_tables.items():
            self._walk_l2(offset, times, active.get(offset, 0))

    def _walk_l1(self, label: str, offset: int, size: int) -> Counter[int]:
        """Count an L1 table and the L2 tables that it names; returns those."""
        found: Counter[int] = Counter()
        if not self._is_worth_reading(offset, size * 8):
            self._found.broken_structure(
                f"the L1 table of {label} at {offset:#x} lies where others are, and was not read"
            )
            return found
        self._table(f"L1 table of {label}", offset, size * 8)
        places: dict[int, set[int]] = {}  # indices of the entries that name a table
        for index, entry in self._l1_entries(offset, size * 8):
            self._check_l1_entry(label, entry)
            found[entry & entries.OFFSET_MASK] += 1
            if self._data_file:
                places.setdefault(entry & entries.OFFSET_MASK, set()).add(index)
        for l2_offset, indices in places.items():
            self._check_places(l2_offset, indices)
        return found

    def _is_worth_reading(self, offset: int, length: int) -> bool:
        """False if L1 tables that lie over each other (65536 may) have been read for too long."""
        first, end = offset >> self._bits, (offset + length - 1 >> self._bits) + 1
        if self.counted.get(first, end - first).count(0) < end - first:
            self._repeated += length
        return self._repeated <= _MAX_REPEATED

    def _l1_entries(self, offset: int, length: int) -> Iterator[tuple[int, int]]:
        """(index, entry) of those that are not 0: what the host has of the table, bit by bit."""
        inside = max(min(length, self._file.size - offset), 0)
        for extent in self._file.extents(offset, inside) if inside else ():
            if extent.kind is ExtentKind.ZERO:
                continue  # a small file may have tables without end in its holes
            for start, end in split_range(extent.start, align_up(extent.end, 8), _PIECE):
                piece = read_padded(self._file, start, end - start)
                for index, entry in enumerate(
                    struct.unpack(f">{len(piece) // 8}Q", piece), (start - offset) // 8
                ):
                    if entry:
                        yield index, entry

    def _check_places(self, l2_offset: int, l1_indices: set[int]) -> None:
        """The clusters of a data file are where the guest has them, at one of these L1 indices."""
        table = self.l2.raw(l2_offset)
        numbers = struct.unpack(f">{len(table) // 8}Q", table)[:: 2 if self.l2.extended else 1]
        coverage, first = len(numbers) * self._cluster_size, min(l1_indices)
        for place, entry in enumerate(numbers):
            if entry & entries.COMPRESSED or not self._names_cluster(entry):
                continue
            index, rest = divmod(entry & entries.OFFSET_MASK, coverage)
            is_right = rest == place * self._cluster_size and index in l1_indices
            if wrong := len(l1_indices) - is_right:
                guest_offset = first * coverage + place * self._cluster_size
                self._found.broken_structure(
                    f"the data file has cluster {guest_offset:#x} elsewhere: {entry:#x}", wrong
                )

    def _check_l1_entry(self, label: str, entry: int) -> None:
        l2_offset = entry & entries.OFFSET_MASK
        if entry & entries.L1_RESERVED:
            self._found.broken_structure(
                f"an L1 entry of {label} has reserved bits set: {entry:#x}"
            )
        self._count_range(l2_offset, self._cluster_size, f"L2 table of {label}")
        if l2_offset % self._cluster_size:
            self._found.broken_structure(
                f"L2 table of {label} at {l2_offset:#x} is not aligned to a cluster"
            )

    # --- L2 tables -------------------------------------------------------------------------------

    def _walk_l2(self, offset: int, times: int, active: int) -> None:
        """Count what an L2 table refers to `times` times, `active` of them for the active disk."""
        if self.l2.extended:
            self._count_runs(
                self.l2.runs(self._without_bitmaps(self.l2.raw(offset), times)), times, active
            )
            return
        found = self.l2.read(offset)
        if not isinstance(found, FragmentedTable):
            self._count_runs(found, times, active)
            return
        self.counted.add_each(found.clusters, found.last, times)
        if active:
            self.fragmentation.allocated += len(found.clusters) * active
            self.fragmentation.fragmented += found.breaks * active

    def _count_runs(self, runs: Runs, times: int, active: int) -> None:
        expected = 0  # where the next cluster would lie if the disk were contiguous
        for entry, length in runs:
            if entry & entries.COMPRESSED:
                self._count_compressed(entry, times, active)
                continue
            start = entry & entries.OFFSET_MASK
            if entry & self._reserved:
                self._found.broken_structure(
                    f"an L2 entry has reserved bits set: {entry:#x}", length * times
                )
            if not self._names_cluster(entry):
                continue
            self._count_run(entry, length, times)
            if active:
                self.fragmentation.allocated += length * active
                self.fragmentation.fragmented += active * bool(expected and start != expected)
            expected = start + length * self._cluster_size

    def _count_run(self, entry: int, length: int, times: int) -> None:
        start = entry & entries.OFFSET_MASK
        if start % self._cluster_size and entry & entries.ZERO and self.l2.zero_flag:
            self._found.misplaced_zero(
                f"zero cluster at {start:#x} is not aligned to a cluster", length * times
            )
        elif start % self._cluster_size:
            self._found.broken_structure(
                f"data cluster at {start:#x} is not aligned to a cluster", length * times
            )
        # Clusters of a data file have no refcounts.
        if self._data_file:
            return
        if start % self._cluster_size or (start >> self._bits) + length > self._clusters_in_file:
            # Something is wrong with this run: its clusters are judged one by one.
            for offset in range(start, start + length * self._cluster_size, self._cluster_size):
                if not self._is_cut_off(offset, times):
                    self._count_range(offset, self._cluster_size, "data cluster", times)
        else:
            self.counted.add_run(start >> self._bits, length, times)

    def _is_cut_off(self, offset: int, times: int) -> bool:
        """Whether a cluster beyond the file's end once existed (has a refcount); recorded."""
        cluster = offset >> self._bits
        if (
            offset % self._cluster_size
            or cluster < self._clusters_in_file
            or not self._stored.counts[cluster]
        ):
            return False
        self._found.cut_off_data(
            f"data cluster at {offset:#x} lies beyond the end of the file", times
        )
        self.cut_off_end = max(self.cut_off_end, cluster + 1)
        return True

    def _count_compressed(self, entry: int, times: int, active: int) -> None:
        """Count compressed data's clusters, which they share, and which may be two."""
        if entry & entries.COPIED:
            self._found.broken_structure(
                f"a compressed cluster has the COPIED flag: {entry:#x}", times
            )
        if self._data_file:
            return self._found.broken_structure(
                f"a compressed cluster in an external data file: {entry:#x}", times
            )
        # 62 - (cluster_bits - 8) bits of offset, then the sectors after the one that it lies in.
        offset_bits = 70 - self._bits
        offset = entry & (1 << offset_bits) - 1
        sectors = ((entry & (1 << 62) - 1) >> offset_bits) + 1
        # The last sector ends the data; where in it they end is not stored.
        self._count_range(offset, sectors * 512 - offset % 512, "compressed cluster", times)
        self.fragmentation.allocated += active
        self.fragmentation.fragmented += active
        self.fragmentation.compressed += active
        return None

    def _without_bitmaps(self, table: bytes, times: int) -> bytes:
        """The entries of an extended L2 table, after its subcluster bitmaps have been checked."""
        numbers = struct.unpack(f">{len(table) // 8}Q", table)
        for entry, bitmap in zip(numbers[::2], numbers[1::2], strict=True):
            if bitmap and (problem := self._bitmap_problem(entry, bitmap)):
                self._found.broken_structure(f"{problem}: {entry:#x} {bitmap:#x}", times)
        return struct.pack(f">{len(numbers) // 2}Q", *numbers[::2])

    def _bitmap_problem(self, entry: int, bitmap: int) -> str | None:
        allocated, zero = bitmap & 0xFFFFFFFF, bitmap >> 32
        if entry & entries.COMPRESSED:
            return "a compressed cluster has a subcluster bitmap"
        if self._names_cluster(entry):
            return "a subcluster is both allocated and zero" if allocated & zero else None
        return "an unallocated cluster has allocated subclusters" if allocated else None

    def _names_cluster(self, entry: int) -> bool:
        """Whether an entry names a host cluster: the first of a data file has the offset 0."""
        if entry & entries.OFFSET_MASK:
            return True
        return self._data_file and entry & (entries.COPIED | entries.ZERO) == entries.COPIED

    # --- bitmaps, encryption, refcounts ----------------------------------------------------------

    def _walk_bitmaps(self) -> None:
        self._table("encryption header", *self._header.luks_place)
        extension = self._header.extension(Extension.BITMAPS)
        if extension is None or not self._header.autoclear & Autoclear.BITMAPS:
            return
        directory, tables = bitmap_tables(self._file, self._header, extension, self._found)
        self._table("bitmap directory", *directory)
        for offset, size in tables:
            self._table("bitmap table", offset, size * 8)
            for entry in struct.unpack(f">{size}Q", read_padded(self._file, offset, size * 8)):
                self._count_bitmap_entry(entry)

    def _count_bitmap_entry(self, entry: int) -> None:
        offset = entry & entries.OFFSET_MASK
        if entry & BITMAP_RESERVED or offset % self._cluster_size or (offset and entry & 1):
            self._found.broken_structure(f"a bitmap table entry is invalid: {entry:#x}")
        elif offset:
            self._count_range(offset, self._cluster_size, "bitmap data")

    def _walk_refcount_table(self) -> None:
        """Count the clusters of the refcount table; its blocks follow."""
        if self._stored.problem:
            self._found.broken_refcounts(self._stored.problem)
            return
        first = self._header.reftable_offset >> self._bits
        for cluster in range(first, first + self._header.reftable_clusters):
            self._count_refcounts(cluster, f"the refcount table (cluster {cluster})")

    def _walk_refcount_blocks(self) -> None:
        for index, entry in enumerate(self._stored.table):
            if entry & entries.REFTABLE_RESERVED:
                self._found.broken_refcounts(
                    f"refcount table entry {index} has reserved bits set: {entry:#x}"
                )
            elif entry % self._cluster_size:
                self._found.broken_refcounts(
                    f"refcount block {index} at {entry:#x} is not aligned to a cluster"
                )
            # Beyond the file's end: StoredRefcounts has read such a block as zeros.
            elif entry >> self._bits >= self.end_cluster:
                self._found.broken_refcounts(
                    f"refcount block {index} at {entry:#x} lies beyond the end of the file"
                )
            elif entry:
                self._count_refcounts(entry >> self._bits, f"refcount block {index} at {entry:#x}")

    def _count_refcounts(self, cluster: int, name: str) -> None:
        """A refcount structure must be the only owner of its clusters."""
        self.counted.add(cluster)
        self.refcount_clusters[cluster] += 1
        # All else has been counted before, so any other reference shows here.
        if self.counted[cluster] != 1:
            self._found.broken_refcounts(f"{name} is used for something else too")
