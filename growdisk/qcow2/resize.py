"""Changing the virtual size.

The header's size is one write; what must be true before or after it is done first or last. Growing:
what lies beyond the old end (data of an earlier, larger disk, VM state, a longer backing file) must
read as zeros before the size is published. Shrinking: the size first, then the clusters beyond it
are freed.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from growdisk.block.host_blocks import reserve_ranges
from growdisk.block.raw import RawFile
from growdisk.errors import KeyNeeded, shell_word
from growdisk.qcow2.create_options import Preallocation
from growdisk.qcow2.entries import OFFSET_MASK, L2Kind
from growdisk.qcow2.features import Autoclear
from growdisk.qcow2.header import SIZE_AND_L1
from growdisk.qcow2.header_fields import LEGACY_AES, MAX_L1_BYTES, MAX_SIZE
from growdisk.qcow2.l1_walk import Walker
from growdisk.qcow2.mapping import Mapping
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.preallocate import preallocate
from growdisk.qcow2.reader import Reader
from growdisk.qcow2.tables import dump_table
from growdisk.qcow2.writer import Writer
from growdisk.units import align_up, format_size, joined

_SECTOR = 512


class Resizer:
    """Changes the size of one open image; durable when it returns."""

    def __init__(
        self, metadata: Metadata, mapping: Mapping, reader: Reader, writer: Writer, walker: Walker
    ) -> None:
        self._metadata, self._mapping, self._geometry = metadata, mapping, metadata.geometry
        self._reader, self._writer, self._walker = reader, writer, walker

    def check(
        self, size: int, preallocation: Preallocation = "off", *, upgrade: bool = False
    ) -> None:
        """Raise ImageUnsupported, before anything is written, if the image cannot have this size.

        `upgrade`: it will be version 3 then.
        """
        header = self._metadata.header
        reason = None
        hint = "choose another size, or convert the image; growdisk has not changed it"
        if size % _SECTOR:
            reason = f"a disk's size is a multiple of {_SECTOR} bytes; {size} is not"
        elif size > MAX_SIZE or 8 * self._geometry.l1_entries(size) > MAX_L1_BYTES:
            reason = (
                f"{format_size(size)} is more than clusters of "
                f"{format_size(header.cluster_size)} can address"
            )
        elif header.version == 2 and header.snapshot_count and not upgrade:
            reason = (
                "it is a version 2 image with snapshots, which do not know the size they "
                "were taken at"
            )
            hint = (
                f"growdisk image resize {shell_word(self._metadata.path)} SIZE --upgrade makes it "
                "version 3 first"
            )
        elif (
            header.backing_file is not None and self._reader.backing is None and size > header.size
        ):
            reason = "its backing file is not open, so nobody knows what lies beyond the old end"
        elif preallocation != "off":
            reason = self._preallocation_problem(size)
        if reason is not None:
            raise self._metadata.unsupported(reason, hint)
        if size > header.size:
            self._check_key_not_needed(header.size)

    def _preallocation_problem(self, size: int) -> str | None:
        header = self._metadata.header
        if size < header.size:
            return "there is nothing to preallocate in a disk that shrinks"
        if header.crypt_method and header.version == 2:
            return (
                "an encrypted version 2 image cannot say that preallocated clusters read as zeros"
            )
        return None

    def resize(self, size: int, preallocation: Preallocation) -> None:
        """What check() has allowed."""
        with self._metadata.giving_back():
            if size > (old := self._metadata.header.size):
                self._grow(old, size, preallocation)
            elif size < old:
                self._shrink(size)

    def _shrink(self, size: int) -> None:
        # The size first, unlike QEMU: cut short, the disk has its new size and clusters are leaked,
        # never the old size with its end gone. What needs room goes before even that.
        self._own_last_table(size)
        if isinstance(file := self._metadata.file, RawFile):
            # What is written after that may lie in holes, and a full host has nothing for them.
            reserve_ranges(file, joined(sorted(self._written_to_shrink(size))))
        self._metadata.change_header(SIZE_AND_L1, size=size)
        self.drop_tables_beyond(size)
        self._drop_clusters_beyond(size)
        self._metadata.flush()
        if self._metadata.data_file is not None:
            self._metadata.data_file.resize(size)
            self._metadata.sync()

    def _grow(self, old: int, size: int, preallocation: Preallocation) -> None:
        # VM state and data of an earlier, larger disk are still mapped there, and would become
        # visible.
        self.drop_tables_beyond(old)
        if (data_file := self._metadata.data_file) is not None:
            data_file.resize(old)  # what was written beyond the old end must not come back
            data_file.resize(size)
            if self._metadata.header.autoclear & Autoclear.RAW_DATA_FILE and preallocation == "off":
                # the image must say of all bytes that they are the data file's
                preallocation = "metadata"
        # The longer table is a copy of the present one, in which nothing is left beyond the end.
        self._lengthen_l1(self._geometry.l1_entries(size))
        self._drop_clusters_beyond(old)
        # The rest of the last cluster may hold anything; beyond it a longer backing file shows.
        cluster_end = min(align_up(old, self._geometry.cluster_size), size)
        backing = self._reader.backing
        zero_end = max(cluster_end, min(size, backing.size if backing is not None else 0))
        if preallocation != "off":
            self._preallocate(old, cluster_end, size, preallocation)
        elif zero_end > old:
            self._writer.write_zeros(old, zero_end)
        self._metadata.flush()
        # Only when all that it shows reads as zeros, durably.
        self._metadata.change_header(SIZE_AND_L1, size=size)
        self._metadata.flush()

    def drop_failed_growth(self, l1_size: int) -> None:
        """Drop what a failed growth has left beyond the disk's end, in place.

        That needs no space on the host. There must be nothing unwritten. The L1 table gets its old
        length.
        """
        with self._metadata.giving_back():
            header = self._metadata.header
            self.drop_tables_beyond(header.size)
            self._drop_clusters_beyond(header.size)
            self._metadata.flush()
            if self._metadata.data_file is not None:
                self._metadata.data_file.resize(header.size)
            # The table stays where the growth has moved it to; only its end is freed.
            if self._geometry.l1_entries(header.size) <= l1_size < header.l1_size:
                self._shorten_l1(l1_size)

    def _shorten_l1(self, entries: int) -> None:
        old = self._metadata.header
        # The header first: what is freed here must not be part of a table any more.
        self._metadata.change_header(SIZE_AND_L1, l1_size=entries)
        self._metadata.replace_l1(self._metadata.l1[:entries])
        (first, count), kept = old.l1_run, self._geometry.clusters(8 * entries)
        if kept < count:
            self._metadata.release([(first + kept, count - kept)])

    def _preallocate(self, old: int, start: int, end: int, mode: Preallocation) -> None:
        """Map [old, end) before the size is published; until `start` as zeros of the guest."""
        if self._metadata.header.crypt_method:
            self._writer.write_zeros(old, start)
        else:
            self._writer.write(old, memoryview(bytes(start - old)))
        preallocate(self._metadata, self._mapping, start, end, mode)

    def _check_key_not_needed(self, old: int) -> None:
        """KeyNeeded if zeros, and not only flags, go into a locked image as guest data."""
        if not self._metadata.is_locked and self._metadata.header.crypt_method != LEGACY_AES:
            return
        backing = self._reader.backing
        explicit = self._metadata.header.version == 2 and backing is not None and backing.size > old
        # The old disk ends inside a cluster, whose rest is written unless it is known to be zeros.
        if old % self._geometry.cluster_size:
            run = next(self._mapping.runs(old, old + 1))
            explicit = explicit or not self._reader.reads_as_zero(run)
        if explicit:
            raise KeyNeeded(
                self._metadata.path,
                "it is encrypted, and zeros have to be written beyond its old end",
            )

    def _written_to_shrink(self, size: int) -> Iterator[tuple[int, int]]:
        """L1 table, the last L2 table and the refcount blocks, where they are."""
        header, l1 = self._metadata.header, self._metadata.l1
        yield header.l1_offset, header.l1_offset + 8 * len(l1)
        # The table in which the new end lies, and those after it go whole.
        index = size // self._geometry.l2_coverage
        last = l1[index] & OFFSET_MASK if index < len(l1) else 0
        for table in filter(None, (last, *self._metadata.refcounts.table)):
            yield table, table + header.cluster_size

    def drop_tables_beyond(self, size: int) -> None:
        """Free all L2 tables wholly beyond a disk of `size` bytes: old data, and VM state."""
        self._metadata.flush()
        l1 = self._metadata.l1
        beyond = [index for index in range(self._geometry.l1_entries(size), len(l1)) if l1[index]]
        if not beyond:
            return
        # Counted before an entry is changed: damage found here has changed nothing.
        lost = self._walker.references(array("Q", [l1[index] for index in beyond]))
        self._walker.check_counts(lost, up=False)
        # Entries off the disk first, counts down after: a crash in between leaks.
        for index in beyond:
            self._metadata.set_l1(index, 0)
        self._metadata.flush()
        self._metadata.release(lost.runs())

    def _drop_clusters_beyond(self, size: int) -> None:
        """Empty the entries beyond `size` in the last L2 table."""
        self._writer.empty_clusters(*self._beyond_in_last_table(size))

    def _own_last_table(self, size: int) -> None:
        """If a snapshot shares the table that will be changed there, take a copy of it."""
        start, end = self._beyond_in_last_table(size)
        runs = self._mapping.cluster_runs(start, end)
        if any(run.kind is not L2Kind.UNALLOCATED for run in runs):
            self._metadata.writable_l2(start // self._geometry.l2_coverage)
            self._metadata.flush()

    def _beyond_in_last_table(self, size: int) -> tuple[int, int]:
        """The guest's clusters beyond `size` that the last L2 table has entries for."""
        coverage = self._geometry.l2_coverage
        end = min(align_up(size, coverage), len(self._metadata.l1) * coverage)
        return align_up(size, self._geometry.cluster_size), end

    def _lengthen_l1(self, entries: int) -> None:
        """Move the L1 table to a longer one by one write of the header, then free the old one."""
        old = self._metadata.header
        if entries <= old.l1_size:
            return
        longer = self._metadata.l1 + array("Q", bytes(8 * (entries - old.l1_size)))
        run = self._metadata.store_table(dump_table(longer))
        with self._metadata.allocator.taken_back([run]):
            self._metadata.flush()
        # The new table is durable, and the old one is in use until the header is written.
        self._metadata.change_header(
            SIZE_AND_L1, l1_size=entries, l1_offset=run[0] << old.cluster_bits
        )
        self._metadata.replace_l1(longer)
        self._metadata.release([old.l1_run])
