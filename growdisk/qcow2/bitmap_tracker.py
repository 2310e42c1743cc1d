"""Keeps persistent dirty bitmaps true while their image is changed.

    IN_USE on ─ sync ─▶ guest writes, noted in memory ─▶ bits and tables ─ sync ─▶ IN_USE off

What dies in between leaves bitmaps that say of themselves that they know nothing. A bit may be set
without need, never be missing; so bits are only added, and a change of everything sets them
all.
"""

from __future__ import annotations

from array import array

from growdisk.fast_dataclass import replace
from growdisk.qcow2.bitmaps import (
    ALL_ONES,
    IN_USE,
    MAX_TABLE_ENTRIES,
    Bitmap,
    Directory,
    directory_runs,
    read_bitmap_table,
    read_directory,
)
from growdisk.qcow2.entries import OFFSET_MASK
from growdisk.qcow2.features import Autoclear
from growdisk.qcow2.header import FEATURES
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.tables import dump_table
from growdisk.units import split_range


class BitmapTracker:
    """The bitmaps of one image that is open for writing."""

    def __init__(self, metadata: Metadata, directory: Directory) -> None:
        self.metadata = metadata
        self._directory = directory
        #: What stands in the file is IN_USE for those whose indices are in here, and they are to be
        #: put away again.
        self._open: set[int] = set()
        # (bitmap, table entry): new bits, None for all
        self._marks: dict[tuple[int, int], bytearray | None] = {}

    @classmethod
    def of(cls, metadata: Metadata) -> BitmapTracker | None:
        """The tracker of an image's bitmaps; None if it has none, or none that is sound."""
        directory = read_directory(metadata.file, metadata.header)
        if directory is None:
            return None
        runs = directory_runs(metadata.file, metadata.header, directory.bitmaps)
        theirs = all(metadata.allocator.metadata_in(first, count) is None for first, count in runs)
        # No cluster is named twice, so each can be written and freed by itself.
        alone = len({run[0] for run in runs}) == len(runs)
        if not theirs or not alone or metadata.refcounts.first_outside(runs, 1, 1) is not None:
            return None
        return cls(metadata, directory)

    # --- before and after -------------------------------------------------------------------------

    def begin(self, *, everything: bool = False) -> None:
        """Mark the bitmaps that a change affects as in use, before guest bytes change.

        `everything`: the size changes as well, which affects all sound ones.
        """
        new = {
            index
            for index, bitmap in enumerate(self._directory.bitmaps)
            if bitmap.is_tracking or (everything and bitmap.is_sound)
        } - self._open
        if new:
            self._write_flags(new, in_use=True)
            self._open |= new

    def mark(self, start: int, end: int) -> None:
        """Guest bytes [start, end) have changed, or will."""
        for index, bitmap in enumerate(self._directory.bitmaps):
            if bitmap.is_tracking and start < end:
                self._mark(index, bitmap, start, end)

    def store(self) -> None:
        """Write all that was noted, durably, and put the bitmaps away."""
        if not self._open:
            return
        for index, bitmap in enumerate(self._directory.bitmaps):
            if index in self._open:
                self._store(index, bitmap)
        self._marks.clear()
        # Last: until the bits are durable, a bitmap has to show that it knows nothing.
        self._write_flags(self._open, in_use=False)
        self._open = set()
        self.metadata.flush()

    # --- another size -----------------------------------------------------------------------------

    def check_size(self, size: int) -> None:
        """Raise ImageUnsupported if a bitmap's table cannot cover a disk of `size` bytes."""
        cluster_size = self.metadata.geometry.cluster_size
        sound = (bitmap for bitmap in self._directory.bitmaps if bitmap.is_sound)
        if any(each.entries_for(size, cluster_size) > MAX_TABLE_ENTRIES for each in sound):
            raise self.metadata.unsupported(
                "one of its dirty bitmaps is too fine for a disk of that size",
                "remove the bitmap (qemu-img bitmap --remove); growdisk has not changed it",
            )

    def resized(self, size: int) -> None:
        """The disk has another size, after begin(everything=True): tables cover it. Durable.

        New space is not marked, as in QEMU: nothing was written there.
        """
        before, metadata = self._directory, self.metadata
        bitmaps, lost = list(before.bitmaps), []
        for index in sorted(self._open):
            bitmaps[index], freed = self._with_size(bitmaps[index], size)
            lost += freed
        # New tables and the counts of their clusters, before anything names them.
        metadata.refcounts.write_blocks()
        metadata.sync()
        self._directory = Directory(before.offset, tuple(bitmaps))
        self._set_valid(valid=False)  # the directory changes in several sectors
        metadata.file.write(before.offset, self._on_disk())
        metadata.sync()
        self._set_valid(valid=True)
        # The old tables are named by nothing now.
        metadata.release(lost)
        self._marks = {
            key: bits for key, bits in self._marks.items() if key[1] < bitmaps[key[0]].table_size
        }

    def _with_size(self, bitmap: Bitmap, size: int) -> tuple[Bitmap, list[tuple[int, int]]]:
        """(the bitmap with a table for a disk of `size` bytes, runs of clusters freed by that)."""
        bits = self.metadata.geometry.cluster_bits
        cluster_size = self.metadata.geometry.cluster_size
        words = read_bitmap_table(self.metadata.file, bitmap)
        count = bitmap.entries_for(size, cluster_size)
        kept = words[:count] + array("Q", bytes(8 * max(count - len(words), 0)))
        # The disk now ends within the last cluster of bits: bits beyond the end must not come back.
        if size % bitmap.coverage(cluster_size) and count <= len(words) and kept[-1] & OFFSET_MASK:
            self._cut(bitmap, kept[-1] & OFFSET_MASK, size % bitmap.coverage(cluster_size))
        offset = self.metadata.store_table(dump_table(kept))[0] << bits
        lost = [self.metadata.geometry.run(bitmap.table_offset, 8 * bitmap.table_size)]
        lost += [((word & OFFSET_MASK) >> bits, 1) for word in words[count:] if word & OFFSET_MASK]
        return replace(bitmap, table_offset=offset, table_size=count), lost

    def _cut(self, bitmap: Bitmap, offset: int, length: int) -> None:
        """Forget the bits after the first `length` guest bytes of a cluster of bits."""
        used = -(-length // bitmap.granularity)
        data = bytearray(self.metadata.file.read(offset, self.metadata.geometry.cluster_size))
        kept = int.from_bytes(data, "little") & (1 << used) - 1
        self.metadata.file.write(offset, kept.to_bytes(len(data), "little"))

    # --- bits -------------------------------------------------------------------------------------

    def _mark(self, index: int, bitmap: Bitmap, start: int, end: int) -> None:
        coverage = bitmap.coverage(self.metadata.geometry.cluster_size)
        for first, last in split_range(start, end, coverage):
            key = index, first // coverage
            if last - first == coverage:
                self._marks[key] = None
                continue
            if key not in self._marks:
                self._marks[key] = bytearray(self.metadata.geometry.cluster_size)
            if (bits := self._marks[key]) is not None:
                low = first % coverage >> bitmap.granularity_bits
                _set_bits(bits, low, ((last - 1) % coverage >> bitmap.granularity_bits) + 1)

    def _store(self, index: int, bitmap: Bitmap) -> None:
        """Write the new bits, and then the table that names their clusters."""
        metadata, bits = self.metadata, self.metadata.geometry.cluster_bits
        words, lost = read_bitmap_table(metadata.file, bitmap), []
        before = words[:]
        for (owner, place), marks in self._marks.items():
            # Marks of other bitmaps are passed over, as if all their bits were set already.
            word = words[place] if owner == index else ALL_ONES
            if word & ALL_ONES:
                continue
            if marks is None:
                # All bits are set: the entry says so itself and needs no cluster.
                lost += [((word & OFFSET_MASK) >> bits, 1)] if word & OFFSET_MASK else []
                words[place] = ALL_ONES
                continue
            # Into its cluster in place, or a new one: no entry names that yet, and IN_USE is set.
            words[place] = word or metadata.allocator.allocate(1) << bits
            old = metadata.file.read(word & OFFSET_MASK, len(marks)) if word else bytes(len(marks))
            both = int.from_bytes(old, "little") | int.from_bytes(marks, "little")
            metadata.file.write(words[place] & OFFSET_MASK, both.to_bytes(len(marks), "little"))
        metadata.refcounts.write_blocks()
        metadata.sync()
        if words != before:
            metadata.file.write(bitmap.table_offset, dump_table(words))
            metadata.sync()
        metadata.release(lost)

    # --- directory --------------------------------------------------------------------------------

    def _on_disk(self) -> bytes:
        """The directory as it is to stand in the file now."""
        flagged = (
            replace(bitmap, flags=bitmap.flags | IN_USE) if index in self._open else bitmap
            for index, bitmap in enumerate(self._directory.bitmaps)
        )
        return Directory(self._directory.offset, tuple(flagged)).to_bytes()

    def _write_flags(self, indices: set[int], *, in_use: bool) -> None:
        position = self._directory.offset
        for index, bitmap in enumerate(self._directory.bitmaps):
            if index in indices:
                flags = bitmap.flags | IN_USE if in_use else bitmap.flags
                # The flags come after the table's offset (8 bytes) and size (4).
                self.metadata.file.write(position + 12, flags.to_bytes(4, "big"))
            position += len(bitmap.to_bytes())
        self.metadata.sync()

    def _set_valid(self, *, valid: bool) -> None:
        others = self.metadata.header.autoclear & ~Autoclear.BITMAPS
        bits = others | (Autoclear.BITMAPS if valid else 0)
        self.metadata.change_header(FEATURES, autoclear=int(bits))


def _set_bits(bits: bytearray, low: int, high: int) -> None:
    """Set the bits [low, high); bit 0 is the lowest of the first byte."""
    area = slice(low >> 3, (high - 1 >> 3) + 1)
    marked = int.from_bytes(bits[area], "little") | (1 << high - low) - 1 << (low & 7)
    bits[area] = marked.to_bytes(area.stop - area.start, "little")
