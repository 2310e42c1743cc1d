"""Writes an image again without its unused clusters.

Snapshots, backing file and compressed clusters stay as they are. Unused: clusters that nothing
names, those without data on the host (cluster_marks.py), and tables that name only such ones.

    header │ refcount table, blocks │ L1 tables │ snapshot table │ LUKS header │ bitmaps
    │ used clusters, in old order

Because the order stays, what was contiguous stays contiguous, and COPIED stays true: only offsets
in tables change. Refcounts are counted again. LUKS takes the place in the file as IV, so data that
move there are decrypted and encrypted again; guest clusters in an external data file do not move.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate

from growdisk.block.device import ResizableDevice, TableReader, data_in
from growdisk.block.raw import RawFile
from growdisk.errors import KeyNeeded
from growdisk.fast_dataclass import dataclass, replace
from growdisk.qcow2.bitmap_copy import MovedBitmaps
from growdisk.qcow2.bitmaps import read_directory
from growdisk.qcow2.cluster_marks import UnbackedClusters
from growdisk.qcow2.create import refcount_area
from growdisk.qcow2.entries import COMPRESSED, OFFSET_MASK, ZERO, CompressedRange
from growdisk.qcow2.features import Autoclear, Incompatible
from growdisk.qcow2.header import Extension
from growdisk.qcow2.header_fields import LUKS
from growdisk.qcow2.l1_walk import Walker, l2_offsets
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.refblock import RefblockCodec, add_to_run
from growdisk.qcow2.refcounts import Run
from growdisk.qcow2.snapshots import SnapshotEntry, dump_entries
from growdisk.qcow2.tables import dump_table, load_table, progression
from growdisk.units import joined, split_range

_CHUNK = 4 << 20
_PAGE = 4096  # what a file system keeps as a hole at the least
_FRAGMENTED = 64  # runs in one table; from there on it is taken whole, if that can be


class Remap:
    """Old cluster indices to new ones: used runs, moved together from `base` on."""

    def __init__(self, used: list[Run], base: int) -> None:
        self._ends = [first + count for first, count in used]
        self.base = base
        # Used clusters 5 to 7 and 10 to 11 with base 3: 5 6 7 10 11 become 3 4 5 6 7, so the moves
        # are -2 and -4. A cluster's move is that of the first run that ends after it.
        self._moves: list[int] = []
        for first, count in used:
            self._moves.append(base - first)
            base += count
        self.end = base

    def moved(self, entries: array[int], clusters: array[int], bits: int) -> Iterator[int]:
        """Entries that name these clusters, 0 for none, as they name the new ones."""
        moves, ends = [move << bits for move in self._moves], self._ends
        for entry, cluster in zip(entries, clusters, strict=True):
            yield entry + moves[bisect_right(ends, cluster)] if cluster else entry

    def __call__(self, cluster: int) -> int:
        return cluster + self._moves[bisect_right(self._ends, cluster)]


@dataclass(frozen=True)
class _Layout:
    """Cluster indices in the new file; `l1`: one for each L1 table, the active one first."""

    table_clusters: int
    blocks: int
    l1: tuple[int, ...]
    snapshots: int
    luks: int
    bitmaps: int
    remap: Remap


class Compactor:
    """Compacts one open image, whose tables must be sound and on disk."""

    def __init__(
        self,
        metadata: Metadata,
        walker: Walker,
        snapshots: tuple[SnapshotEntry, ...],
        tables: list[array[int]],
    ) -> None:
        """`tables`: all L1 tables, the active one first."""
        self._metadata, self._snapshots, self._geometry = metadata, snapshots, metadata.geometry
        self._walker, self._tables = walker, tables
        self._file, self._bits = metadata.file, metadata.geometry.cluster_bits
        self._l2_tables = TableReader(metadata.file, metadata.geometry.cluster_size)
        directory = read_directory(metadata.file, metadata.header)
        self._bitmaps: MovedBitmaps | None = None
        if directory is not None:
            self._bitmaps = MovedBitmaps(metadata.file, metadata.header, directory)
        references = [(walker.references(l1), times) for l1, times in _grouped(tables)]
        # A table or compressed data may lie in a hole of the host too, and are needed.
        taken = {offset >> self._bits for offset in self._l2_offsets()}.union(
            *(referenced.compressed for referenced, _ in references)
        )
        self._unbacked = UnbackedClusters.of(metadata.file, metadata.header, taken)
        self._empty = self._emptied(self._unbacked) if self._unbacked else frozenset[int]()
        left = self._unbacked.left_of if self._unbacked else list[Run]
        self._references = [(list(left(found.runs())), times) for found, times in references]

    def _emptied(self, unbacked: UnbackedClusters) -> frozenset[int]:
        """Offsets of the L2 tables that name nothing any more; they are left out too."""
        nothing = array("Q", bytes(8 * self._geometry.l2_entries))
        emptied = set()
        for offset in self._l2_offsets():
            table = self._l2_table(offset)
            if table is not None:
                unbacked.take_out(table, self._walker.splitter.runs(table))
            if table is None or table == nothing:
                # The entries of L1 tables that name it become 0 (write_to).
                emptied.add(offset)
                unbacked.drop(offset >> self._bits)
        return frozenset(emptied)

    def write_to(self, target: ResizableDevice) -> None:
        """Write the whole new image into an empty file. Nothing is synced."""
        refuse_uncompactable(self._metadata)
        # Snapshots share clusters, so the runs of all disks overlap. Each cluster is copied once.
        used = _joined(run for runs, _ in self._references for run in runs)
        layout = self._layout(used)
        target.resize(layout.remap.end << self._bits)
        offset, length = self._metadata.header.luks_place
        target.write(layout.luks << self._bits, self._file.read(offset, length))
        # What is copied as it is includes L2 tables, which are written again below.
        if length and self._metadata.data_file is None:
            self._encrypt_again(layout, target)
        else:
            for first, count in used:
                self._copy(first, count, layout.remap(first), target)
        self._write_l2_tables(layout, target)
        for cluster, table in zip(layout.l1, self._tables, strict=True):
            entries = (
                0 if entry & OFFSET_MASK in self._empty else self._moved(entry, layout)
                for entry in table
            )
            _write_sparse(target, cluster << self._bits, dump_table(array("Q", entries)))
        self._write_counts(layout, target)
        self._write_header(layout, target)

    def _layout(self, used: list[Run]) -> _Layout:
        geometry = self._geometry
        # In the order of the drawing at the top. The refcount area depends on the size of the rest.
        sizes = [
            *(geometry.clusters(8 * max(len(table), 1)) for table in self._tables),
            geometry.clusters(len(dump_entries(self._snapshots))),
            geometry.clusters(self._metadata.header.luks_place[1]),
            self._bitmaps.clusters if self._bitmaps is not None else 0,
        ]
        others = 1 + sum(sizes) + sum(count for _, count in used)
        table_clusters, blocks = refcount_area(geometry, others)
        *l1, snapshots, luks, bitmaps, base = accumulate(sizes, initial=1 + table_clusters + blocks)
        remap = Remap(used, base)
        return _Layout(table_clusters, blocks, tuple(l1), snapshots, luks, bitmaps, remap)

    # --- clusters and tables ----------------------------------------------------------------------

    def _copy(self, first: int, count: int, new: int, target: ResizableDevice) -> None:
        """Copy clusters; holes stay holes, and the file's last cluster may be cut short."""
        start, end = first << self._bits, min((first + count) << self._bits, self._file.size)
        move = (new - first) << self._bits
        for data in data_in(self._file, start, end):
            for position, stop in split_range(*data, _CHUNK):
                if isinstance(target, RawFile) and isinstance(self._file, RawFile):
                    target.copy_from(self._file, position, stop - position, move=move)
                else:
                    target.write(position + move, self._file.read(position, stop - position))

    def _encrypt_again(self, layout: _Layout, target: ResizableDevice) -> None:
        """Copy all guest clusters that are not known to be zeros, encrypted by their new places."""
        from growdisk.qcow2.encryption import EncryptedData  # loaded for encrypted images only

        # Clusters with the zero flag may hold anything and stay unwritten.
        source = self._metadata.data
        assert isinstance(source, EncryptedData)
        moved, zero = source.over(target), 0 if self._geometry.extended_l2 else ZERO
        for first, count in _joined(self._guest_runs(zero)):
            for start, end in split_range(
                first << self._bits, (first + count) << self._bits, _CHUNK
            ):
                new = (layout.remap(first) - first << self._bits) + start
                moved.write(new, source.read(start, end - start, 0), 0)

    def _guest_runs(self, zero: int) -> Iterator[Run]:
        """The guest clusters of all tables, without those whose entries carry a flag in `zero`."""
        for offset in self._l2_offsets():
            if (table := self._l2_table(offset)) is None:
                continue
            entries = self._walker.entries(table)
            for start, end in self._walker.splitter.runs(entries):
                if not entries[start] & (COMPRESSED | zero):
                    yield (entries[start] & OFFSET_MASK) >> self._bits, end - start

    def _l2_table(self, offset: int) -> array[int] | None:
        """None if nothing stands in it."""
        raw = self._l2_tables.read(offset)
        return load_table(raw) if raw else None

    def _l2_offsets(self) -> list[int]:
        return sorted({offset for table in self._tables for offset in l2_offsets(table)})

    def _write_l2_tables(self, layout: _Layout, target: ResizableDevice) -> None:
        for offset in self._l2_offsets():
            # Without entries it is zeros, as all of a new file.
            if offset in self._empty or (table := self._l2_table(offset)) is None:
                continue
            if self._unbacked is not None:
                self._unbacked.take_out(table, self._walker.splitter.runs(table))
            if self._metadata.data_file is None:
                self._move_entries(table, layout)
            target.write(layout.remap(offset >> self._bits) << self._bits, dump_table(table))

    def _move_entries(self, table: array[int], layout: _Layout) -> None:
        entries = self._walker.entries(table)
        for number, (start, end) in enumerate(self._walker.splitter.runs(entries)):
            if (
                number == _FRAGMENTED
                and (clusters := self._walker.plain_clusters(entries[start:])) is not None
            ):
                fragmented = layout.remap.moved(entries[start:], clusters, self._bits)
                entries[start:] = array("Q", fragmented)
                break
            moved = self._moved(entries[start], layout)
            if end - start == 1:
                entries[start] = moved
            else:
                entries[start:end] = progression(moved, end - start, self._geometry.cluster_size)
        # Of an extended table, the bitmaps between the entries stay as they are.
        if entries is not table:
            table[::2] = entries

    def _moved(self, entry: int, layout: _Layout) -> int:
        """An L1 or L2 entry with its new offset."""
        if entry & COMPRESSED:
            offset = CompressedRange.of(entry, self._bits).offset
        else:
            offset = entry & OFFSET_MASK
        if not offset:
            return entry
        cluster = offset >> self._bits
        return entry + ((layout.remap(cluster) - cluster) << self._bits)

    # --- what is new ------------------------------------------------------------------------------

    def _write_counts(self, layout: _Layout, target: ResizableDevice) -> None:
        geometry = self._geometry
        codec = RefblockCodec(geometry.refcount_bits)
        counts = array(codec.typecode, bytes(0))
        counts.frombytes(bytes(layout.blocks * geometry.refblock_entries * counts.itemsize))
        # All before `base` has one reference; the rest as many as the disks have to it.
        add_to_run(counts, 0, layout.remap.base, +1, geometry.refcount_max)
        for runs, times in self._references:
            for first, count in runs:
                add_to_run(counts, layout.remap(first), count, times, geometry.refcount_max)
        first_block = (1 + layout.table_clusters) << self._bits
        target.write(first_block, codec.dump(counts))
        offsets = progression(first_block, layout.blocks, geometry.cluster_size)
        target.write(geometry.cluster_size, dump_table(offsets))

    def _write_header(self, layout: _Layout, target: ResizableDevice) -> None:
        bits, old = self._bits, self._metadata.header
        entries = tuple(
            replace(entry, l1_offset=cluster << bits)
            for entry, cluster in zip(self._snapshots, layout.l1[1:], strict=True)
        )
        if entries:
            target.write(layout.snapshots << bits, dump_entries(entries))
        kept = Autoclear.RAW_DATA_FILE | (Autoclear.BITMAPS if self._bitmaps is not None else 0)
        # The counts are new, so the image is not dirty; unknown autoclear bits go.
        header = replace(
            old,
            l1_offset=layout.l1[0] << bits,
            reftable_offset=1 << bits,
            reftable_clusters=layout.table_clusters,
            snapshots_offset=layout.snapshots << bits if entries else 0,
            autoclear=int(old.autoclear & kept),
            incompatible=old.incompatible & ~Incompatible.DIRTY,
            extensions=tuple(self._moved_extensions(layout)),
        )
        target.write(0, header.to_bytes())
        if self._bitmaps is not None:
            for offset, data in self._bitmaps.placed(layout.bitmaps)[1]:
                target.write(offset, data)

    def _moved_extensions(self, layout: _Layout) -> Iterator[Extension]:
        for extension in self._metadata.header.extensions:
            if extension.type == Extension.CRYPTO:
                place = (layout.luks << self._bits).to_bytes(8, "big")
                yield Extension(Extension.CRYPTO, place + extension.data[8:])
            elif extension.type != Extension.BITMAPS:
                yield extension
            elif self._bitmaps is not None:
                yield self._bitmaps.placed(layout.bitmaps)[0].extension()


def refuse_uncompactable(metadata: Metadata) -> None:
    """What cannot be moved by changing offsets, or is not understood here."""
    header = metadata.header
    if header.crypt_method == LUKS and metadata.is_locked and metadata.data_file is None:
        raise KeyNeeded(
            metadata.path,
            "it is encrypted by the place of each cluster in the file, and these will move",
        )
    if header.autoclear & Autoclear.GROWDISK_RUN:
        raise metadata.unsupported(
            "an unfinished run of growdisk needs its snapshots",
            "convert it instead; it has not been changed",
        )


def _grouped(tables: list[array[int]]) -> Iterator[tuple[array[int], int]]:
    """The L2 tables that L1 tables name, grouped by the disks that have them; by how many.

    So each is read once, however many snapshots share it. All of a group is of one disk, in which
    no cluster but compressed ones is named twice.
    """
    group: dict[int, int] = {}  # by offset
    # 0 is of no disk. Each disk that names an offset moves it on, from one group to the next.
    moves: dict[tuple[int, int], int] = {}
    times = [0]
    for disk, table in enumerate(tables):
        for offset in l2_offsets(table):
            before = group.get(offset, 0)
            after = group[offset] = moves.setdefault((before, disk), len(times))
            if after == len(times):
                times.append(times[before] + 1)
    members: dict[int, array[int]] = {}
    for offset, number in group.items():
        members.setdefault(number, array("Q")).append(offset)
    yield from ((offsets, times[number]) for number, offsets in members.items())


def _write_sparse(target: ResizableDevice, offset: int, data: bytes) -> None:
    """Write an L1 table into an empty file; a page of zeros stays a hole, as in a new image."""
    page, zeros, start = _PAGE, bytes(_PAGE), 0
    for position in range(0, len(data), page):
        if data.startswith(zeros[: len(data) - position], position):
            if start < position:
                target.write(offset + start, data[start:position])
            start = position + page
    if start < len(data):
        target.write(offset + start, data[start:])


def _joined(runs: Iterable[Run]) -> list[Run]:
    """Runs that may overlap as ones that do not, in order."""
    ranges = sorted((first, first + count) for first, count in runs)
    return [(start, end - start) for start, end in joined(ranges)]
