"""Walks everything that an L1 table reaches: what a snapshot counts, where COPIED changes.

A table of 8192 entries is looked at as one big number: after an arithmetic progression is
subtracted from it, each contiguous run shows as equal lanes, and equal lanes are found by comparing
slices. Only fragmented tables cost time per entry.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from itertools import zip_longest

from growdisk.block.device import TableReader
from growdisk.errors import ImageUnsupported, RefcountsTooNarrow
from growdisk.qcow2.entries import COMPRESSED, COPIED, OFFSET_MASK
from growdisk.qcow2.header_fields import Geometry
from growdisk.qcow2.mapping import Mapping
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.refcounts import Run
from growdisk.qcow2.references import MAX_CLUSTERS, References, overlaid
from growdisk.qcow2.tables import equal_until, from_lanes, load_table, progression, to_lanes
from growdisk.units import split_range

_FRAGMENTED = 64  # runs in one table; from there on no more are looked for
_PAGE = 4096  # what the host allocates at once
_GUARD = 1 << 60  # keeps every lane from borrowing when the progression is subtracted
_LANE = (1 << 64) - 1
# COPIED is the top bit of an entry's first byte
_CLEAR = bytes(value & 0x7F for value in range(256))
_SET = bytes(value | 0x80 for value in range(256))


class Walker:
    """Reads L2 tables straight from the file, past the L2 cache: nothing may be unwritten."""

    def __init__(self, metadata: Metadata, mapping: Mapping) -> None:
        self._metadata, self._mapping, self._geometry = metadata, mapping, metadata.geometry
        self.splitter = RunSplitter(self._geometry)
        self._tables = TableReader(metadata.file, self._geometry.cluster_size)

    def references(self, l1: array[int]) -> References:
        """What the table reaches, L2 tables included.

        ImageDamaged for any entry that is not sound.
        """
        return self.references_of_each([l1])[0]

    def references_of_each(self, l1_tables: list[array[int]]) -> list[References]:
        """The same of several tables: what they share, as snapshots do, is read once."""
        read: dict[int, References] = {}
        return [self._references(l1, read if len(l1_tables) > 1 else None) for l1 in l1_tables]

    def _references(self, l1: array[int], read: dict[int, References] | None) -> References:
        found = References()
        for offset in self._sole_offsets(l1):
            if read is None:
                self._add_table(found, offset)
                continue
            if offset not in read:
                read[offset] = References()
                self._add_table(read[offset], offset)
            found.add_all(read[offset])
        return found

    def _add_table(self, found: References, offset: int) -> None:
        """Add an L2 table and what it names."""
        bits = self._geometry.cluster_bits
        found.add(offset >> bits, 1)
        # Guest clusters in a data file have no counts.
        if self._metadata.data_file is not None or not (raw := self._tables.read(offset)):
            return
        table = self.entries(load_table(raw))
        for number, (start, end) in enumerate(self.splitter.runs(table)):
            if number == _FRAGMENTED:
                self._add_entries(found, table[start:])
                break
            entry = table[start]
            self._mapping.kind(entry)
            if entry & COMPRESSED:
                found.add_compressed(self._mapping.host_clusters(entry))
                continue
            # A run has one set of flags, and its offsets go up: if both ends are sound, it is.
            self._mapping.kind(table[end - 1])
            found.add((entry & OFFSET_MASK) >> bits, end - start)

    def range_references(self, start: int, end: int) -> References:
        """What the entries of the guest range [start, end) name; not the L2 tables themselves."""
        found, coverage = References(), self._geometry.l2_coverage
        if self._metadata.data_file is not None:
            return found  # guest clusters in a data file have no counts
        for first, last in split_range(start, end, coverage):
            table = self._metadata.l2_table(first // coverage)
            if table is not None:
                index, count = self._geometry.entries_of(first, last)
                self._add_entries(found, self.entries(table)[index : index + count])
        return found

    def _sole_offsets(self, l1: array[int]) -> list[int]:
        """The offsets of an L1 table's L2 tables; refused if two entries name the same one."""
        offsets, path = list(l2_offsets(l1)), self._metadata.path
        # Otherwise a small file could make growdisk read for hours.
        if len(set(offsets)) < len(offsets):
            reason = "two entries of an L1 table name the same L2 table"
            raise ImageUnsupported(path, reason=reason)
        if self._metadata.file.size >> self._geometry.cluster_bits > MAX_CLUSTERS:
            raise ImageUnsupported(path, reason=f"its file has more than {MAX_CLUSTERS} clusters")
        return offsets

    def entries(self, table: array[int]) -> array[int]:
        """A table without the bitmaps that stand between extended entries."""
        return table[::2] if self._geometry.extended_l2 else table

    def _add_entries(self, found: References, entries: array[int]) -> None:
        """Add the entries of a fragmented table, all at once if they are all plain."""
        bits = self._geometry.cluster_bits
        clusters = self.plain_clusters(entries)
        if clusters is not None and max(clusters, default=0) << bits < self._metadata.file.size:
            # 0 stands for entries that name no cluster.
            found.singles.extend(array("Q", filter(None, clusters)) if 0 in clusters else clusters)
            return
        # Something is compressed or not sound: each entry by itself, and kind() finds the bad one.
        for entry in entries:
            if entry & COMPRESSED:
                self._mapping.kind(entry)
                found.add_compressed(self._mapping.host_clusters(entry))
            elif entry & OFFSET_MASK:
                self._mapping.kind(entry)
                found.singles.append((entry & OFFSET_MASK) >> bits)

    def plain_clusters(self, entries: array[int]) -> array[int] | None:
        """The host clusters that entries name (0: none); None if one is compressed or not sound."""
        (bad, offsets), whole = self._masks, to_lanes(entries)
        if whole & bad:
            return None
        # Bits of an offset within a cluster are bad bits, so nothing is shifted from a lane into
        # the one below. The masks may have more lanes than there are entries: these meet zeros.
        clusters = (whole & offsets) >> self._geometry.cluster_bits
        return from_lanes(clusters, len(entries))

    @cached_property
    def _masks(self) -> tuple[int, int]:
        """(bits that no plain entry has, bits of offsets), in all lanes of a whole table.

        lane                   2                    1                    0
        entries of 64 KiB      8000_0000_000c_0000  0000_0000_0000_0000  8000_0000_000a_0000
        bad     7f00_0000_0000_fffe in each lane: 0 of all three
        offsets 00ff_ffff_ffff_fe00 in each lane: c_0000, 0, a_0000; >> 16: c, 0, a
        """
        ones = to_lanes(array("Q", [1]) * self._geometry.l2_entries)
        return (COMPRESSED | self._mapping.bad_bits) * ones, OFFSET_MASK * ones

    def check_counts(self, references: References, *, up: bool) -> None:
        """Raise ImageDamaged or ImageUnsupported unless all can be counted `up` (or down)."""
        runs, highest = references.runs(), self._geometry.refcount_max
        # In use now: at least 1. To be counted up: room for one more.
        self.require_counts(runs, 1, highest - up)
        # runs() has such a cluster once for each reference, and each was compared with 1 alone.
        if references.overlap or references.compressed:
            self.check_released(runs, up=up)

    def check_released(self, runs: Iterable[Run], *, up: bool = False) -> None:
        """ImageDamaged unless each cluster is counted as often as it is in these runs.

        They are all that is counted down, and what must stay: where two disks have a cluster that
        is counted once, each finds it counted. `up`: they are counted up instead.
        """
        highest = self._geometry.refcount_max
        for first, count, times in overlaid(runs):
            self.require_counts([(first, count)], times, highest - times * up)

    def check_disjoint(self, references: References, tables: list[int]) -> None:
        """Raise ImageDamaged if a cluster of `references` is in `tables`, which are in order."""
        for first, count in references.runs():
            place = bisect_left(tables, first)
            if place < len(tables) and tables[place] < first + count:
                raise self._metadata.damaged(
                    f"cluster {tables[place]:#x} holds a table and guest data too"
                )

    def clear_copied(self, l1: array[int]) -> None:
        """Clear COPIED in all L2 tables that `l1` reaches, in place; the caller syncs."""
        step = self._geometry.l2_entry_size
        for offset in l2_offsets(l1):
            raw = self._tables.read(offset)
            cleared = raw[0::step].translate(_CLEAR)
            if cleared != raw[0::step]:
                table = bytearray(raw)
                table[0::step] = cleared
                self._write_changed(offset, raw, table)

    def check_restorable(self, tables: list[array[int]]) -> None:
        """ImageDamaged unless restore_copied() can be done once these L1 tables are gone.

        The L2 tables that they name have been checked.
        """
        checked = {offset for table in tables for offset in l2_offsets(table)}
        others = (
            entry
            for entry, other in zip(self._metadata.l1, either(tables), strict=False)
            if other and entry and entry & OFFSET_MASK not in checked
        )
        self.references(array("Q", others))

    def restore_copied(self, touched: array[int]) -> None:
        """Set COPIED in the active tables where a count is 1.

        Only for the L1 indices at which `touched` is not 0.
        """
        bits = self._geometry.cluster_bits
        for index, other in enumerate(touched[: len(self._metadata.l1)]):
            # A table that is still shared has shared clusters only: nothing to set in it.
            entry = self._metadata.l1[index]
            if (
                not other
                or not entry
                or self._metadata.refcounts.get((entry & OFFSET_MASK) >> bits) != 1
            ):
                continue
            if not entry & COPIED:
                self._metadata.set_l1(index, entry | COPIED)
            if raw := self._tables.read(entry & OFFSET_MASK):
                self._restore_in_table(entry & OFFSET_MASK, raw)

    def _restore_in_table(self, offset: int, old: bytes) -> None:
        table, step = self.entries(load_table(old)), self._geometry.l2_entry_size
        new = bytearray(old)
        for number, (start, end) in enumerate(self.splitter.runs(table)):
            if number == _FRAGMENTED:
                self._restore_single(table, start, len(table), new)
                break
            if table[start] & COMPRESSED:
                continue
            cluster = (table[start] & OFFSET_MASK) >> self._geometry.cluster_bits
            for first, last in self._metadata.refcounts.runs_of(cluster, end - start, 1):
                area = slice(step * (start + first), step * (start + last), step)
                new[area] = new[area].translate(_SET)
        self._write_changed(offset, old, new)

    def _write_changed(self, offset: int, old: bytes, new: bytearray) -> None:
        """Write the changed pages of a table only: the rest of a thin guest's tables is holes."""
        pages = [
            page
            for page in range(0, len(new), _PAGE)
            if new[page : page + _PAGE] != old[page : page + _PAGE]
        ]
        if pages:
            # One write from the first changed page to the last.
            area = slice(pages[0], pages[-1] + _PAGE)
            self._metadata.file.write(offset + area.start, new[area])

    def _restore_single(self, table: array[int], start: int, end: int, raw: bytearray) -> None:
        """Set COPIED in `raw` for each entry of [start, end) whose cluster has the count 1."""
        bits, step = self._geometry.cluster_bits, self._geometry.l2_entry_size
        clusters = self.plain_clusters(table[start:end]) or [
            0 if entry & COMPRESSED else (entry & OFFSET_MASK) >> bits for entry in table[start:end]
        ]
        counted = zip(clusters, self._metadata.refcounts.get_each(clusters), strict=True)
        # COPIED is the top bit of an entry's first byte: one byte for each entry is ORed in.
        marks = bytes([0x80 if count == 1 and cluster else 0 for cluster, count in counted])
        area = slice(step * start, step * end, step)
        raw[area] = (int.from_bytes(raw[area], "big") | int.from_bytes(marks, "big")).to_bytes(
            len(marks), "big"
        )

    def require_counts(self, runs: Iterable[Run], times: int, highest: int) -> None:
        """ImageDamaged unless clusters that are in use so many times are counted as often.

        RefcountsTooNarrow if one is counted more than `highest` times.
        """
        bad = self._metadata.refcounts.first_outside(runs, times, highest)
        if bad is None:
            return
        cluster, count = bad
        if count < times:
            raise self._metadata.damaged(
                f"cluster {cluster:#x} is in use {times} times and its reference count is {count}"
            )
        raise RefcountsTooNarrow(
            self._metadata.path,
            reason=f"cluster {cluster:#x} is referenced {count} times and a count of "
            f"{self._geometry.refcount_bits} bits cannot hold more",
        )


class RunSplitter:
    """Finds the runs in L2 tables of one geometry."""

    def __init__(self, geometry: Geometry) -> None:
        self._step = geometry.cluster_size
        self._shift, self._guards = _guarded_ramp(geometry.l2_entries, self._step)
        self._empty = array("Q", bytes(8 * geometry.l2_entries))

    def runs(self, table: array[int]) -> Iterator[Run]:
        """Ranges [start, end) of contiguous host clusters with equal flags.

        Compressed ones stand alone.
        """
        if table == self._empty:
            return
        levelled = self._less_ramp(table)
        index, size = 0, len(table)
        while index < size:
            entry = table[index]
            if entry & COMPRESSED:
                yield index, index + 1
                index += 1
            elif entry & OFFSET_MASK:
                end = equal_until(levelled, index, size)
                yield index, end
                index = end
            else:
                # Entries that name no cluster: empty, or plain zeros.
                index = equal_until(table, index, size)

    def _less_ramp(self, table: array[int]) -> array[int]:
        """Each entry less its place in the table: the same number throughout a run."""
        # Lanes of three entries, in clusters: 10 11 12 less the ramp 0 1 2 is 10 10 10, one run; 10
        # 11 40 is 10 10 38, and the run ends where the lanes differ. The guard is a high bit added
        # to each lane, so that 0 less 2 borrows from it and not from the next entry.
        lanes = to_lanes(table)
        if not lanes & self._guards:
            return from_lanes(lanes + self._shift, len(table))
        # An entry has that bit itself, as some compressed ones do: the sum could carry.
        places = range(0, len(table) * self._step, self._step)
        pairs = zip(table, places, strict=True)
        return array("Q", [entry - place & _LANE for entry, place in pairs])


@lru_cache(maxsize=2)
def _guarded_ramp(entries: int, step: int) -> tuple[int, int]:
    """What to add to a table of `entries` so that its runs become equal lanes; the guards in it."""
    guards = to_lanes(array("Q", [_GUARD]) * entries)
    return guards - to_lanes(progression(0, entries, step)), guards


def either(tables: list[array[int]]) -> array[int]:
    """An entry that is not empty wherever one of these L1 tables has one."""
    return array("Q", [max(entries) for entries in zip_longest(*tables, fillvalue=0)])


def l2_offsets(l1: array[int]) -> Iterator[int]:
    """Host offsets of the L2 tables in an L1 table."""
    for entry in l1:
        if entry:
            yield entry & OFFSET_MASK


def without_copied(l1: array[int]) -> array[int]:
    return array("Q", [entry & ~COPIED for entry in l1])
