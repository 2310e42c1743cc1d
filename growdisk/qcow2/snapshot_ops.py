"""Creating, applying and deleting internal snapshots, each by one header write.

    create   COPIED off ─▶ counts up, L1 copy, table ─▶ HEADER
    apply    COPIED off in the snapshot's tables ─▶ counts up, L1 copy ─▶ HEADER
             ─▶ counts of the old state down
    delete   shorter table ─▶ HEADER ─▶ counts down ─▶ COPIED on where a count is 1 again

Each arrow is a sync. COPIED goes off before a count goes up and on after it went down, so that no
program ever writes in place into a shared cluster; a crash leaks clusters or leaves COPIED off,
both harmless. Everything is read and counted in memory first: a refusal changes nothing. Version 3
images carry the dirty bit meanwhile.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from growdisk.errors import ImageError
from growdisk.qcow2.entries import COPIED
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.header import FEATURES, SIZE_AND_L1, SNAPSHOTS
from growdisk.qcow2.header_fields import MAX_L1_BYTES, MAX_SIZE, MAX_SNAPSHOTS
from growdisk.qcow2.l1_walk import Walker, either, without_copied
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.refcounts import Run
from growdisk.qcow2.references import References
from growdisk.qcow2.snapshots import (
    MAX_NAME,
    SnapshotEntry,
    SnapshotInfo,
    dump_entries,
    read_entries,
    snapshot_not_found,
)
from growdisk.qcow2.tables import dump_table, load_table
from growdisk.units import format_size

_MAX_TABLES = 512 << 20  # bytes: what 4096 snapshots of a disk of 8 TiB have

Begin = Callable[[], None]


class SnapshotManager:
    """The snapshots of one open image."""

    def __init__(self, metadata: Metadata, walker: Walker) -> None:
        self._metadata, self._walker, self._geometry = metadata, walker, metadata.geometry
        self.entries = read_entries(metadata.file, metadata.path, metadata.header)

    def infos(self) -> tuple[SnapshotInfo, ...]:
        return tuple(entry.info(self._metadata.header.size) for entry in self.entries)

    def find(self, name: str, *, by_id: bool = False) -> SnapshotEntry:
        """The one snapshot of this name, or of this id."""
        found = [entry for entry in self.entries if (entry.id if by_id else entry.name) == name]
        if not found:
            raise snapshot_not_found(self._metadata.path, name=name)
        if len(found) > 1:
            raise ImageError.named(
                "snapshot-ambiguous",
                "{path} has several snapshots named '{name}'",
                "the name does not say which one is meant",
                "choose one by its id: growdisk image snapshot list {path}, then --id",
                {"path": self._metadata.path, "name": name},
            )
        return found[0]

    def load(self, name: str, *, by_id: bool = False) -> tuple[SnapshotEntry, array[int]]:
        """A snapshot and its L1 table, validated; so is the size that it claims for its disk."""
        entry = self.find(name, by_id=by_id)
        size = entry.disk_size(self._metadata.header.size)
        if size > MAX_SIZE or 8 * self._geometry.l1_entries(size) > MAX_L1_BYTES:
            raise self._metadata.damaged(
                f"snapshot '{entry.name}' claims an impossible size ({size} bytes)"
            )
        return entry, self.l1_of(entry)

    def check_new_name(self, name: str) -> None:
        if not 0 < len(name.encode("utf-8", "surrogateescape")) <= MAX_NAME:
            raise self._metadata.unsupported(
                f"a snapshot's name has 1 to {MAX_NAME} bytes", "choose another name"
            )
        if any(entry.name == name for entry in self.entries):
            raise ImageError.named(
                "snapshot-exists",
                "{path} already has a snapshot '{name}'",
                "",
                "choose another name, or delete that snapshot first",
                {"path": self._metadata.path, "name": name},
            )
        if len(self.entries) >= MAX_SNAPSHOTS:
            raise self._metadata.unsupported(
                f"it has {MAX_SNAPSHOTS} snapshots already", "delete some of them"
            )

    # --- create -----------------------------------------------------------------------------------

    def create(self, name: str, begin: Begin, like: SnapshotInfo | None = None) -> SnapshotInfo:
        """Keep the present state under a new name.

        `begin`: called before the first write, after the last refusal. `like`: a snapshot of
        another image whose id and dates it shall have, and whose name may be doubled as it is.
        """
        if like is None:
            self.check_new_name(name)
        # The walker reads L2 tables from the file, past the cache: nothing may be unwritten.
        self._metadata.flush()
        active = self._metadata.l1
        references = self._walker.references(active)
        self._walker.check_counts(references, up=True)
        self.check_tables(references)
        begin()
        with self.counting():
            # COPIED goes off first, durably: every cluster of the disk is about to be shared.
            self._walker.clear_copied(active)
            self._clear_active_copied()
            runs = references.runs()
            l1 = self._metadata.l1 or array("Q", [0])  # a disk of size 0 may have no table at all
            l1_run = self._metadata.store_table(dump_table(l1))
            entry = self._new_entry(name, l1_run[0], len(l1), like)
            # In memory: _switch_table() writes all counts before the header names the snapshot.
            self._metadata.refcounts.add(runs, +1)
            self._switch_table((*self.entries, entry), counted=[*runs, l1_run], last=True)
        return entry.info(self._metadata.header.size)

    def _clear_active_copied(self) -> None:
        """Make the active L1 forget COPIED, durably."""
        self._metadata.forget_l2()
        for index, entry in enumerate(self._metadata.l1):
            if entry & COPIED:
                self._metadata.set_l1(index, entry & ~COPIED)
        self._metadata.flush_flags()

    def _new_entry(
        self, name: str, l1_cluster: int, l1_size: int, like: SnapshotInfo | None
    ) -> SnapshotEntry:
        if like is None:
            # As QEMU numbers them: one more than the largest id there is.
            ids = [entry.id for entry in self.entries]
            numbers = [int(one) for one in ids if one.isascii() and one.isdigit()]
            number, dates = max(numbers, default=0) + 1, (*divmod(time.time_ns(), 10**9), 0)
            ident = str(number)
        else:
            ident, dates = like.id, (like.date_sec, like.date_nsec, like.vm_clock_nsec)
        offset = l1_cluster << self._geometry.cluster_bits
        entry = SnapshotEntry(offset, l1_size, ident, name, *dates)
        return entry.completed(self._metadata.header.size)

    # --- apply ------------------------------------------------------------------------------------

    def apply(self, name: str, begin: Begin, *, by_id: bool = False) -> None:
        """Make the disk what it was at the snapshot, its size included; the snapshot stays."""
        entry, l1 = self.load(name, by_id=by_id)
        self._metadata.flush()
        size = entry.disk_size(self._metadata.header.size)
        wanted = self._guest_part(l1, size)
        gained, lost = self._walker.references(wanted), self._walker.references(self._metadata.l1)
        self._walker.check_counts(gained, up=True)
        self._walker.check_counts(lost, up=False)
        self.check_tables(gained)
        self.check_tables(lost)
        begin()
        with self.counting():
            # The snapshot's tables become the disk's too: no flag may say that they are its alone.
            self._walker.clear_copied(wanted)
            self._metadata.forget_l2()
            self._metadata.sync()
            runs = gained.runs()
            l1_run = self._metadata.store_table(dump_table(wanted))
            self._metadata.refcounts.add(runs, +1)
            with self._metadata.allocator.taken_back([*runs, l1_run]):
                self._write_counts()
            old, offset = self._metadata.header.l1_run, l1_run[0] << self._geometry.cluster_bits
            self._metadata.change_header(
                SIZE_AND_L1, size=size, l1_size=len(wanted), l1_offset=offset
            )
            self._metadata.replace_l1(wanted)
            self._metadata.release([*lost.runs(), old])
            # durable with the dirty bit: without them there are leaks at worst
            self._metadata.refcounts.write_blocks()

    def _guest_part(self, l1: array[int], size: int) -> array[int]:
        """The L1 entries for a disk of `size` bytes, without the snapshot's VM state."""
        count = self._geometry.l1_entries(size)
        entries = without_copied(l1[:count])
        # A table may be shorter than its disk. A disk of 0 bytes gets one empty entry.
        entries.frombytes(bytes(8 * (max(count, 1) - len(entries))))
        return entries

    # --- delete -----------------------------------------------------------------------------------

    def delete(self, name: str, begin: Begin, *, by_id: bool = False) -> None:
        """Forget a snapshot and free what only it needed."""
        entry = self.find(name, by_id=by_id)
        others = tuple(other for other in self.entries if other is not entry)
        self.drop((entry,), begin, lambda: self._switch_table(others, counted=[]))

    def drop(
        self, gone: tuple[SnapshotEntry, ...], begin: Begin, switch: Callable[[], None]
    ) -> None:
        """Free what only these needed, after `switch` to a table without them."""
        self._metadata.flush()
        tables = self.l1_tables(gone)
        lost = self.checked_loss(tables, gone)
        self._walker.check_restorable(tables)
        begin()
        with self.counting():
            switch()
            self.release_disks(lost, self.l1_runs(gone), either(tables))

    # --- complete ---------------------------------------------------------------------------------

    def complete(self, begin: Begin) -> None:
        """Give every entry the extra data that version 3 demands, durably, if any lacks them."""
        entries = tuple(entry.completed(self._metadata.header.size) for entry in self.entries)
        if entries == self.entries:
            return
        self._metadata.flush()
        self.check_tables(self._walker.references(self._metadata.l1))
        begin()
        with self.counting():
            self._switch_table(entries, counted=[])
            self._metadata.flush()

    # --- shared -----------------------------------------------------------------------------------

    def l1_of(self, entry: SnapshotEntry) -> array[int]:
        """A snapshot's L1 table, validated."""
        size, whose = 8 * entry.l1_size, f"L1 table of snapshot '{entry.name}'"
        if size > MAX_L1_BYTES or entry.l1_offset % self._geometry.cluster_size:
            raise self._metadata.damaged(f"the {whose} is too large or not aligned")
        if entry.l1_offset + size > self._metadata.file.size or (size and not entry.l1_offset):
            raise self._metadata.damaged(f"the {whose} lies outside the file")
        table = load_table(self._metadata.file.read(entry.l1_offset, size))
        self._metadata.check_l1(table, whose)
        return table

    def l1_tables(self, entries: tuple[SnapshotEntry, ...]) -> list[array[int]]:
        """The L1 tables of these snapshots, all in memory; ImageUnsupported if they are too large.

        Else 65536 tables of 32 MiB, in holes of a small file, would be terabytes.
        """
        if (size := 8 * sum(entry.l1_size for entry in entries)) > _MAX_TABLES:
            raise self._metadata.unsupported(
                f"the L1 tables of its snapshots have {format_size(size)} in all; growdisk "
                f"reads at most {format_size(_MAX_TABLES)}",
                "delete some of them (growdisk image snapshot delete)",
            )
        return [self.l1_of(entry) for entry in entries]

    def l1_runs(self, entries: tuple[SnapshotEntry, ...]) -> list[Run]:
        return [self._geometry.run(entry.l1_offset, 8 * entry.l1_size) for entry in entries]

    def checked_loss(
        self,
        tables: list[array[int]],
        entries: tuple[SnapshotEntry, ...],
        kept: tuple[References, SnapshotEntry] | None = None,
    ) -> list[References]:
        """What these L1 tables reach, before all of it and these entries are given up.

        ImageDamaged unless it is counted, for all of them together with `kept`, and none of it is a
        table of others.
        """
        lost = self._walker.references_of_each(tables)
        for references in lost:
            self._walker.check_counts(references, up=False)
            self.check_tables(references, *self.l1_runs(entries))
        disks, named = ([*lost, kept[0]], (kept[1], *entries)) if kept else (lost, entries)
        runs = [run for references in disks for run in references.runs()]
        self._walker.check_released([*runs, *self.l1_runs(named), *self.present_tables()])
        return lost

    def release_disks(
        self, lost: list[References], l1_runs: list[Run], touched: array[int]
    ) -> None:
        """Count down what nothing in the file names any more, and set COPIED again."""
        for references in lost:
            self._metadata.release(references.runs())
        self._metadata.release(l1_runs)
        self._metadata.flush()
        self._metadata.forget_l2()
        # Counted down and durable by now: COPIED with a count of 2 would let a writer change in
        # place what another snapshot still reads.
        self._walker.restore_copied(touched)
        self._metadata.flush_flags()

    def check_tables(self, references: References, *others: Run) -> None:
        """Raise ImageDamaged unless all metadata are counted, and none of them is in `references`.

        `others`: further tables that are about to be freed.
        """
        tables = [*self.present_tables(), *others]
        self._walker.require_counts(tables, 1, self._geometry.refcount_max)
        self._metadata.allocator.check_metadata()
        fixed = self._metadata.fixed_clusters()
        fixed.update(cluster for first, count in tables for cluster in range(first, first + count))
        self._walker.check_disjoint(references, sorted(fixed))

    @property
    def list_run(self) -> Run:
        """The clusters of the snapshot table."""
        length = len(dump_entries(self.entries))
        return self._geometry.run(self._metadata.header.snapshots_offset, length)

    def present_tables(self) -> tuple[Run, Run]:
        """The clusters of the snapshot table and of the active L1 table."""
        return self.list_run, self._metadata.header.l1_run

    def _switch_table(
        self, entries: tuple[SnapshotEntry, ...], counted: list[Run], *, last: bool = False
    ) -> None:
        """Write a whole new snapshot table and all counts, switch to it, and free the old one.

        `counted`: what has been counted up for it, and is counted down again if it does not come to
        the switch. `last`: the switch is all that was missing, so that the dirty bit goes with it.
        """
        data = dump_entries(entries)
        taken_back = self._metadata.allocator.taken_back
        with taken_back(counted):
            # Without snapshots there is no table; a run of no clusters does nothing below.
            new_run = self._metadata.store_table(data) if data else (0, 0)
            with taken_back([new_run]):
                self._write_counts()
        old_run = self.list_run
        header, area = self._metadata.header, SNAPSHOTS
        incompatible = header.incompatible
        if last and header.version >= 3:
            incompatible &= ~Incompatible.DIRTY
            # The feature bits stand right after it, in the same sector.
            area = slice(SNAPSHOTS.start, FEATURES.stop)
        self._metadata.change_header(
            area,
            snapshot_count=len(entries),
            snapshots_offset=new_run[0] << self._geometry.cluster_bits,
            incompatible=int(incompatible),
        )
        self.entries = entries
        # After the switch, as the old table is named by nothing on the disk now.
        self._metadata.release([old_run])

    def _write_counts(self) -> None:
        """Make counts and new tables durable, before the header names what they count."""
        self._metadata.refcounts.write_blocks()
        self._metadata.sync()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Set the dirty bit while many counts change.

        It stays set if a failure cannot be repaired here.
        """
        self._metadata.set_dirty_bit(dirty=True)
        try:
            yield
        except OSError:
            with suppress(OSError):
                self._mend()
            raise
        self._metadata.set_dirty_bit(dirty=False)

    def _mend(self) -> None:
        """After a failure before the switch: write the counts taken back, and set COPIED again."""
        self._metadata.flush()
        self._metadata.forget_l2()
        self._walker.restore_copied(self._metadata.l1)
        self._metadata.flush()
        self._metadata.set_dirty_bit(dirty=False)
