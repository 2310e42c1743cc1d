"""Snapshots of a running guest in its qcow2 images, with memory: it is restored running.

What the guest did since is lost then; so its own undo is tried first, which loses nothing. Names
are those of the offline store, which rolls back a guest that is off.
"""

from __future__ import annotations

from collections.abc import Sequence

from growdisk.block.window import Window
from growdisk.errors import GrowdiskError
from growdisk.guest_scripts.script_plan import Phase
from growdisk.live.block_jobs import delete, load_snapshot, save
from growdisk.partitions.sectors import read_table
from growdisk.partitions.table import PartitionTable
from growdisk.steps.failures import snapshot_missing
from growdisk.steps.live_worker import LiveWorker
from growdisk.steps.registry import DiskStep
from growdisk.steps.resize_image import GrowDevice, ResizeImage
from growdisk.steps.step_traits import first, of_kind
from growdisk.steps.table_steps import RereadPartitions, RewritePartitions
from growdisk.storage.device import device_size, resize_device
from growdisk.workflow.failures import NothingToRestore
from growdisk.workflow.snapshots import NoSnapshots, SnapshotStore, snapshot_names


class LiveSnapshots(SnapshotStore):
    """SnapshotStore of `--snapshots internal`, online; `steps` are the plan's names in order."""

    def __init__(self, worker: LiveWorker, run: str, steps: Sequence[str], undo: LiveUndo) -> None:
        self._worker, self._undo = worker, undo
        self._names = snapshot_names(run, steps)

    @property
    def can_restore(self) -> bool:
        """Whether there is still a machine to put back; after a power cut, `resume` goes on."""
        try:
            self._worker.machine.status()
        except GrowdiskError:
            return False
        return True

    def take(self, step: str) -> None:
        if self._names[step] not in self._worker.disk.snapshots:
            save(self._worker.machine, self._worker.key, self._names[step])

    # refuse_missing() asks nothing: perhaps the guest can undo the step itself.

    def restore(self, step: str) -> None:
        name, names = self._names[step], list(self._names.values())
        # The step's own goes, too: the present content is what take() shall describe.
        if self._undone(step):
            self._delete(names[names.index(name) :])
            return
        if name not in self._worker.disk.snapshots:
            raise snapshot_missing(name, path=self._worker.path)
        # Before the load: the guest's memory will know nothing of this connection.
        self._worker.inside.forget()
        load_snapshot(self._worker.machine, self._worker.key, name)
        self._delete(names[names.index(name) + 1 :])

    def keep(self) -> None:
        """They lie in the image as they are."""

    def commit(self) -> None:
        self.discard()

    def discard(self) -> None:
        self._delete(list(self._names.values()))

    def close(self) -> None:
        self._worker.inside.forget()

    def _undone(self, step: str) -> bool:
        """Whether the guest could undo the step itself, which loses nothing."""
        try:
            self._undo.restore(step)
        except GrowdiskError:
            return False
        return True

    def _delete(self, names: Sequence[str]) -> None:
        present = self._worker.disk.snapshots
        for name in reversed(names):
            if name in present:
                delete(self._worker.machine, name)


# Restoring without losing anything: the guest's own undo restores its table, and QEMU the disk's
# size, until something in the partition has begun to grow. It is the store of `--snapshots none`.


class LiveUndo(NoSnapshots):
    """What undo needs, the guest's own scripts save. `steps` are the plan's."""

    def __init__(self, worker: LiveWorker, steps: tuple[DiskStep, ...]) -> None:
        self._worker, self._steps = worker, steps
        self._resize = of_kind(ResizeImage, steps)[0]
        self._rewrite = first(RewritePartitions, steps)

    @property
    def can_restore(self) -> bool:
        """As long as all has its old size; False if the guest cannot be asked."""
        try:
            return not self._has_grown()
        except GrowdiskError:
            return False

    def refuse_missing(self, step: str) -> None:
        """Said by `restore`: the guest's own files are what it needs."""

    def restore(self, step: str) -> None:
        """NothingToRestore once something in the partition has grown."""
        if self._has_grown():
            raise NothingToRestore(step)
        # A growth needs nothing: _has_grown() has just said that none has begun.
        if step in (RewritePartitions.name, RereadPartitions.name):
            self._restore_table()
        elif step == ResizeImage.name:
            self._restore_size()

    def close(self) -> None:
        self._worker.inside.forget()

    def _has_grown(self) -> bool:
        return any(step.has_begun(self._worker) for step in self._steps)

    def _restore_table(self) -> None:
        assert self._rewrite is not None
        self._worker.run_to_the_end(Phase.UNDO)
        before = self._rewrite.before
        # Looked at from outside: the script's own word is not enough to call the table undone.
        if self._table(self._worker.seen().size) != before:
            raise NothingToRestore(self._rewrite.name)

    def _restore_size(self) -> None:
        """Shrink the disk again if the table ends before the old end; else NothingToRestore."""
        old = self._resize.old_size
        sector = old - old % 512
        if self._worker.disk.size == old:
            return
        # Without a table nothing says where the content ends: the guest's own script looks.
        if self._rewrite is None:
            self._worker.run_to_the_end(Phase.UNDO)  # what has begun to grow meanwhile refuses
        # Read as if the disk had its old size: a partition beyond it makes that unsound.
        elif self._table(sector) != self._rewrite.before.with_disk_size(sector):
            raise NothingToRestore(self._resize.name)
        self._shrink_device()
        self._worker.machine.restore_size(self._worker.key, old)

    def _shrink_device(self) -> None:
        """Restore the size of the host's device; NothingToRestore if others changed that."""
        # Before QEMU's own size is restored: QEMU goes by the device's.
        path, step = self._worker.path, self._resize
        if not isinstance(step, GrowDevice) or (present := device_size(path)) == step.device_size:
            return
        if present != step.new_size:
            raise NothingToRestore(step.name)
        resize_device(path, step.device_size)

    def _table(self, size: int) -> PartitionTable | None:
        """The disk's table as if the disk had `size` bytes; None if that is not a sound one."""
        try:
            return read_table(Window(self._worker.seen(), 0, size), self._worker.path)
        except GrowdiskError:
            return None
