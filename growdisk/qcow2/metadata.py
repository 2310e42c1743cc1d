"""The metadata of an open image, and the order in which its changes reach the disk.

    data, counts up ─ sync ─▶ L2 tables ─ sync ─▶ L1 table ─ sync ─▶ counts down, clusters reusable

So nothing on disk ever points to a cluster that is not counted or not written, and no cluster is
reused while something on disk may still point to it. A crash in between leaks clusters at worst.
"""

from __future__ import annotations

import errno
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from growdisk.block.device import Part, ResizableDevice, parts_of
from growdisk.errors import ImageDamaged, ImageUnsupported
from growdisk.fast_dataclass import replace
from growdisk.qcow2.allocator import Allocator
from growdisk.qcow2.entries import COPIED, L1_RESERVED, OFFSET_MASK
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.header import FEATURES, REFTABLE, Header
from growdisk.qcow2.header_fields import damaged
from growdisk.qcow2.refcounts import Refcounts, Run
from growdisk.qcow2.tables import TableCache, dump_table, load_table

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object

L2_CACHE_BYTES = 16 << 20
_SECTOR_ENTRIES = 64  # of 8 bytes: what is written of the L1 table at once
_MAX_KEY_STORE = 64 << 20  # bytes of a LUKS header
_PENDING_MAX = 4096  # runs that wait to be freed


class DataFile(Protocol):
    """Guest data by host offset.

    `guest_offset` of the first byte is for ciphers that depend on it.
    """

    @property
    def size(self) -> int: ...

    def read(self, offset: int, length: int, guest_offset: int) -> bytes: ...

    def write(self, offset: int, data: bytes | memoryview, guest_offset: int) -> None: ...

    def parts(self, offset: int, length: int, guest_offset: int) -> Iterator[Part]:
        """The range as parts; beyond the end of the file there are zeros."""


class PlainData:
    """Implements DataFile: the bytes of a file as they are."""

    def __init__(self, file: ResizableDevice) -> None:
        self._file = file

    @property
    def size(self) -> int:
        return self._file.size

    def read(self, offset: int, length: int, guest_offset: int) -> bytes:
        return self._file.read(offset, length)

    def write(self, offset: int, data: bytes | memoryview, guest_offset: int) -> None:
        self._file.write(offset, data)

    def parts(self, offset: int, length: int, guest_offset: int) -> Iterator[Part]:
        return parts_of(self._file, offset, offset + length)


class Metadata:
    """Header, L1, L2 and refcounts of one image file: what reading, writing and snapshots share."""

    def __init__(
        self,
        file: ResizableDevice,
        path: Path,
        header: Header,
        data: DataFile | None = None,
        data_file: ResizableDevice | None = None,
    ) -> None:
        self.file, self.path, self.header, self.geometry = file, path, header, header.geometry
        #: Guest clusters, decrypted where that is needed. An encrypted image that is not unlocked
        #: has only its tables.
        self.data: DataFile = data or PlainData(data_file or file)
        #: Where an external data file has the guest's clusters: at their guest offsets, without
        #: counts.
        self.data_file = data_file
        self.is_locked = bool(header.crypt_method) and data is None
        self.l1 = load_table(file.read(header.l1_offset, 8 * header.l1_size))
        self.check_l1(self.l1, "L1 table")
        # A changed table never leaves the cache alone: what it points to has to be durable first,
        # so all is flushed.
        self._l2 = TableCache(
            lambda offset: load_table(file.read(offset, header.cluster_size)),
            lambda _key: self.flush(),
            L2_CACHE_BYTES,
        )
        self._dirty_l1: set[int] = set()
        # a sync failed: what is on the disk is unknown, so nothing more is written
        self._broken = False
        self._pending: list[Run] = []  # to be counted down after the next flush

    @cached_property
    def refcounts(self) -> Refcounts:
        """ImageDamaged if their table is. Reading guest data needs none of them."""
        return Refcounts(self.file, self.path, self.header, self.sync)

    @cached_property
    def allocator(self) -> Allocator:
        return Allocator(
            self.file, self.path, self.refcounts, self.move_reftable, self.metadata_clusters
        )

    # --- header -----------------------------------------------------------------------------------

    def change_header(self, area: slice, **values: int) -> None:
        """Give fields of the header these values, by one durable write of `area` of it."""
        # Of the header as it is now: making room for a table may have changed others of its fields.
        header = replace(self.header, **values)  # type: ignore[arg-type]  # all of these are numbers
        self.write_header(header, area.start, header.to_bytes()[area])

    def write_header(self, header: Header, offset: int, content: bytes) -> None:
        """Write `content` by one durable write in the first sector, and take `header` over."""
        self._require_sound()
        try:
            self.file.write(offset, content)
        except OSError:
            # It may be on the disk or not: what is written from now on could contradict it.
            self._broken = True
            raise
        self.sync()
        # After the sync: what is decided by this header must not be undone by a crash.
        self.header = header

    def move_reftable(self, run: Run) -> Run:
        """Write the refcount table to these clusters, and switch to it by one header write.

        Returns the clusters where it was.
        """
        (first, clusters), old = run, self.header.reftable_run
        offset = first << self.geometry.cluster_bits
        self.refcounts.write_table_copy(offset, clusters * self.geometry.cluster_size // 8)
        # The header must not name a table that a crash could leave half written.
        self.sync()
        self.change_header(REFTABLE, reftable_offset=offset, reftable_clusters=clusters)
        self.refcounts.table_moved(offset)
        return old

    def set_dirty_bit(self, *, dirty: bool) -> None:
        """Set or clear the dirty bit (version 3); while it is set, opening repairs the image."""
        if self.header.version < 3 or self.header.has(Incompatible.DIRTY) == dirty:
            return
        bits = self.header.incompatible & ~Incompatible.DIRTY | (Incompatible.DIRTY if dirty else 0)
        self.change_header(FEATURES, incompatible=int(bits))

    def unsupported(self, reason: str, hint: str = ImageUnsupported.hint) -> ImageUnsupported:
        """What to raise for what cannot be done with such an image."""
        return ImageUnsupported(self.path, reason, hint)

    def damaged(self, reason: str) -> ImageDamaged:
        """What to raise if something in the image cannot be true."""
        return damaged(self.path, reason)

    # --- tables -----------------------------------------------------------------------------------

    def check_l1(self, table: array[int], name: str) -> None:
        """Raise ImageDamaged unless every entry is empty or a whole cluster inside the file."""
        cluster_size, size = self.geometry.cluster_size, self.file.size
        bad_bits = L1_RESERVED | (cluster_size - 1)
        for index, entry in enumerate(table):
            if entry and (
                entry & bad_bits
                # flags, and no table that they could belong to
                or not entry & OFFSET_MASK
                or (entry & OFFSET_MASK) + cluster_size > size
            ):
                raise self.damaged(
                    f"entry {index} of its {name} ({entry:#x}) is not a cluster of the file"
                )

    def l2_table(self, l1_index: int) -> array[int] | None:
        """The L2 table to look into, or None if there is none."""
        offset = self.l1[l1_index] & OFFSET_MASK
        return self._l2.get(offset) if offset else None

    def writable_l2(self, l1_index: int) -> array[int]:
        """The L2 table to change: a new or copied one if there is none or a snapshot shares it."""
        entry = self.l1[l1_index]
        offset = entry & OFFSET_MASK
        # The flag alone is not enough: where it is wrong, a snapshot's table would be changed.
        if entry & COPIED and self.refcounts.get(offset >> self.geometry.cluster_bits) == 1:
            return self._l2.get(offset)
        # Shared with a snapshot, or none yet: the new table is in memory alone until flush().
        table = self._l2.get(offset)[:] if offset else array("Q", bytes(self.geometry.cluster_size))
        cluster = self.allocator.allocate(1)
        self.allocator.now_metadata(cluster)
        new_offset = cluster << self.geometry.cluster_bits
        # A freed table may have been here: its copy in the cache says nothing of the new one.
        self._l2.drop(new_offset)
        self._l2.changed(new_offset, table)
        self.set_l1(l1_index, new_offset | COPIED)
        if offset:
            self.free_later(offset >> self.geometry.cluster_bits, 1)
        return table

    def l2_changed(self, l1_index: int, table: array[int]) -> None:
        """Entries of a table from `writable_l2` have been changed."""
        self._l2.changed(self.l1[l1_index] & OFFSET_MASK, table)

    def store_table(self, data: bytes) -> Run:
        """Put a table into new clusters of its own, which nothing names yet."""
        run = self.allocator.allocate(count := self.geometry.clusters(len(data))), count
        padded = data.ljust(count * self.geometry.cluster_size, b"\0")
        with self.allocator.taken_back([run]):
            self.file.write(run[0] << self.geometry.cluster_bits, padded)
        return run

    def set_l1(self, l1_index: int, entry: int) -> None:
        self.l1[l1_index] = entry
        self._dirty_l1.add(l1_index // _SECTOR_ENTRIES)

    def free_later(self, first: int, count: int) -> None:
        """Count clusters down once the tables that no longer use them are durable."""
        self._pending.append((first, count))

    def metadata_clusters(self) -> list[int]:
        """Indices of the clusters that hold header, tables and refcount blocks, in order."""
        tables = ((entry & OFFSET_MASK) >> self.geometry.cluster_bits for entry in self.l1 if entry)
        return sorted(self.fixed_clusters().union(tables))

    def fixed_clusters(self) -> set[int]:
        """The same without L2 tables."""
        bits, header = self.geometry.cluster_bits, self.header
        clusters = {0}
        for first, count in (header.l1_run, header.reftable_run):
            clusters.update(range(first, first + count))
        clusters.update(offset >> bits for offset in self.refcounts.used_table() if offset)
        offset, length = header.luks_place
        # A length that cannot be true must not make a set of millions of clusters.
        if offset + length <= self.file.size and length <= _MAX_KEY_STORE:
            first, count = self.geometry.run(offset, length)
            clusters.update(range(first, first + count))
        if header.snapshot_count:
            # Its first cluster alone is certain: only the entries show how long the table is.
            clusters.add(header.snapshots_offset >> bits)
        return clusters

    # --- order ------------------------------------------------------------------------------------

    def relieve(self) -> None:
        """Flush, between guest writes, if many clusters wait to be freed: that bounds memory."""
        if len(self._pending) >= _PENDING_MAX:
            self.flush()

    def sync(self) -> None:
        """Make what has been written durable.

        If that fails once, the disk's state is unknown and writing ends.
        """
        self._require_sound()
        try:
            if self.data_file is not None:
                self.data_file.flush()
            self.file.flush()
        except OSError:
            self._broken = True
            raise

    def flush(self) -> None:
        """Make all changes durable, in order.

        On OSError what was not written stays changed in memory.
        """
        self._require_sound()
        # Counts first: a crash may leak a cluster, but never hands one out twice.
        self.refcounts.write_blocks()
        self.sync()
        if self._l2.is_dirty:
            for offset, table in self._l2.dirty():
                self.file.write(offset, dump_table(table))
            self.sync()
            # Clean only now: if the sync had failed, they would still have to be written.
            for offset, _ in self._l2.dirty():
                self._l2.cleaned(offset)
        if self._dirty_l1:
            self._write_l1()
            self.sync()
            self._dirty_l1.clear()
        # Nothing on disk names these clusters any more.
        if pending := self._pending:
            self._pending = []
            self.release(pending)
            # who flushed may never close: what is not counted down on disk is leaked
            self.refcounts.write_blocks()

    def flush_flags(self) -> None:
        """Make the COPIED flags of L1 durable, and those of L2 tables, which are written already.

        They may reach the disk in any order. There must be nothing else unwritten.
        """
        assert not self._l2.is_dirty
        if self._dirty_l1:
            self._require_sound()
            self._write_l1()
        self.sync()
        self._dirty_l1.clear()

    def release(self, runs: list[Run]) -> None:
        """Count clusters down that nothing durable points to any more."""
        self.allocator.release(runs)
        self._forget_tables(runs)

    def drop_empty_blocks(self) -> None:
        """Give up refcount blocks that count nothing, durably. There must be nothing unwritten."""
        with self.giving_back():
            while dropped := self.refcounts.drop_empty_blocks():
                # A block that counted itself took that count with it. One that another block counts
                # is released there, which may leave that one empty in turn.
                self.release([run for run in dropped if self.refcounts.get(run[0])])
                if self.allocator.released is not None:
                    self.allocator.released += dropped
                self.flush()
                self.allocator.search_again()

    @contextmanager
    def giving_back(self) -> Iterator[None]:
        """What becomes free meanwhile goes back to the host at the end, also after a failure."""
        self.allocator.released = []
        try:
            yield
        except OSError:
            with suppress(OSError):  # the first failure is the one to report
                self._give_back()
            raise
        else:
            self._give_back()
        finally:
            self.allocator.released = None

    def _give_back(self) -> None:
        self.flush()
        if released := self.allocator.released:
            # The counts that went down must be durable before the host frees a byte: else a crash
            # leaves clusters in use without their data.
            self.sync()
            self.allocator.give_back(released)

    def replace_l1(self, table: array[int]) -> None:
        """`table` is the active L1 now, on disk as well; there must be nothing unwritten."""
        assert not self._dirty_l1
        assert not self._l2.is_dirty
        self.l1 = table

    def forget_l2(self) -> None:
        """L2 tables have been changed on disk, past the cache; there must be nothing unwritten."""
        self._l2.clear()

    def _require_sound(self) -> None:
        if self._broken:
            raise OSError(
                errno.EIO, f"{self.path}: an earlier write failed and its outcome is not known"
            )

    def _write_l1(self) -> None:
        for sector in sorted(self._dirty_l1):
            start = sector * _SECTOR_ENTRIES
            entries = self.l1[start : start + _SECTOR_ENTRIES]
            self.file.write(self.header.l1_offset + 8 * start, dump_table(entries))

    def _forget_tables(self, runs: list[Run]) -> None:
        """Drop freed L2 tables from the cache: their clusters may become guest data."""
        bits = self.geometry.cluster_bits
        cached = {offset >> bits for offset in self._l2.cached_keys()}
        for first, count in runs:
            # For a long run it is quicker to look at the cached tables than at each cluster.
            for cluster in (
                cached.intersection(range(first, first + count)) if count < 64 else cached
            ):
                if first <= cluster < first + count and self.refcounts.get(cluster) == 0:
                    self._l2.drop(cluster << bits)
