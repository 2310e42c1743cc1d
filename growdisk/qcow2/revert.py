"""Forgetting the newest snapshots, or reverting to one: a full host prevents neither.

    COPIED off in the snapshot's tables ─▶ HEADER ─▶ counts down ─▶ COPIED on where one is 1 again

Neither takes a new cluster. Reverting to a snapshot and forgetting it needs no copy of its L1
table: the header takes that over, and the beginning of the snapshot table that is there already
stays as the shorter one. All that is written lies in clusters that are in use. One header write
does it, so the snapshot is there, or the disk is what it was.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection

from growdisk.qcow2.header import SIZE_AND_L1, SNAPSHOTS
from growdisk.qcow2.l1_walk import Walker, without_copied
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.snapshot_ops import SnapshotManager
from growdisk.qcow2.snapshots import SnapshotEntry, dump_entries
from growdisk.qcow2.tables import dump_table


class Reverter:
    """Takes entries off the end of one open image's snapshot table."""

    def __init__(self, metadata: Metadata, walker: Walker, manager: SnapshotManager) -> None:
        self._metadata, self._geometry = metadata, metadata.geometry
        self._walker, self._manager = walker, manager

    def last_of(self, names: Collection[str]) -> int:
        """How many entries stay if all those at the end whose names are in `names` go."""
        entries = self._manager.entries
        count = len(entries)
        while count and entries[count - 1].name in names:
            count -= 1
        return count

    def can_revert(self, position: int) -> bool:
        """Whether an entry's L1 table can be the disk's as it is: not too short, without VM state.

        QEMU's may be either.
        """
        entry = self._manager.entries[position]
        table = self._manager.l1_of(entry)
        count = self._geometry.l1_entries(entry.disk_size(self._metadata.header.size))
        # VM state lies in the entries after those of the disk.
        return len(table) >= max(count, 1) and not any(table[count:])

    def forget(self, kept: int, begin: Callable[[], None]) -> None:
        """Forget all snapshots but the first `kept`, durably."""
        if gone := self._manager.entries[kept:]:
            self._manager.drop(gone, begin, lambda: self._switch(kept))

    def revert(self, position: int, begin: Callable[[], None]) -> None:
        """Make the disk what it was at the entry at `position`, durably.

        That and all later ones are dropped.
        """
        self._metadata.flush()
        header, entries = self._metadata.header, self._manager.entries
        target, later = entries[position], entries[position + 1 :]
        wanted = self._manager.l1_of(target)
        # What the snapshot reaches keeps its counts: they were its own and become the disk's. Down
        # go those of the present disk and of all later snapshots.
        staying = self._walker.references(wanted)
        self._manager.check_tables(staying, *self._manager.l1_runs((target,)))
        tables = [self._metadata.l1, *self._manager.l1_tables(later)]
        lost = self._manager.checked_loss(tables, later, kept=(staying, target))
        # Everything has been checked: from here on there are writes.
        begin()
        with self._manager.counting():
            wanted = self._without_copied(target, wanted)
            size = target.disk_size(header.size)
            self._switch(position, size=size, l1_size=target.l1_size, l1_offset=target.l1_offset)
            self._metadata.replace_l1(wanted)
            l1_runs = [header.l1_run, *self._manager.l1_runs(later)]
            self._manager.release_disks(lost, l1_runs, wanted)

    def _without_copied(self, target: SnapshotEntry, l1: array[int]) -> array[int]:
        """Its L1 table, COPIED cleared on disk, in its L2 tables too, as they become the disk's."""
        self._walker.clear_copied(l1)
        cleared = without_copied(l1)
        if cleared != l1:
            self._metadata.file.write(target.l1_offset, dump_table(cleared))
        self._metadata.forget_l2()
        self._metadata.sync()
        return cleared

    def _switch(self, kept: int, **values: int) -> None:
        """One header write; then the end of the snapshot table is free."""
        manager, old = self._manager, self._metadata.header
        # The entries that stay are the beginning of the table: it ends earlier, and is not written.
        first, before = manager.list_run
        staying = self._geometry.clusters(len(dump_entries(manager.entries[:kept])))
        # One write from the size to the snapshots: no crash shows the disk reverted and the
        # snapshot still there. The refcount table lies between the two and stays as it is.
        self._metadata.change_header(
            slice(SIZE_AND_L1.start, SNAPSHOTS.stop),
            snapshot_count=kept,
            snapshots_offset=old.snapshots_offset if kept else 0,
            **values,
        )
        manager.entries = manager.entries[:kept]
        self._metadata.release([(first + staying, before - staying)])
