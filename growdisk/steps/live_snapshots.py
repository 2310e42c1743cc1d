"""Snapshots of a running guest in its qcow2 images, with memory: it is restored running.

What the guest did since the snapshot is lost then, with everything that it sent to others; so the
guest's own undo is tried first, which loses nothing. Names are those of the offline store: a guest
that is off is rolled back by that one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from growdisk.block.window import Window
from growdisk.durable import remove_files, sync_directory
from growdisk.errors import GrowdiskError, NeedsUser
from growdisk.guest_scripts.script_plan import Phase
from growdisk.live.block_jobs import (
    delete,
    is_marked,
    load_snapshot,
    mark,
    merge_overlays,
    put_overlay,
    save,
    unmark,
)
from growdisk.live.qemu_machine import is_same_file
from growdisk.partitions.sectors import read_table
from growdisk.partitions.table import PartitionTable
from growdisk.qcow2.create import create
from growdisk.steps.failures import overlays_need_rest, snapshot_missing
from growdisk.steps.live_worker import LiveWorker
from growdisk.steps.overlay_snapshots import OverlayFiles, backing_name
from growdisk.steps.registry import DiskStep
from growdisk.steps.resize_image import GrowDevice, ResizeImage
from growdisk.steps.step_traits import first, of_kind
from growdisk.steps.table_steps import RereadPartitions, RewritePartitions
from growdisk.storage.device import device_size, resize_device
from growdisk.workflow.failures import NothingToRestore
from growdisk.workflow.snapshots import NoSnapshots, SnapshotStore, snapshot_names


class LiveSnapshots(SnapshotStore):
    """The SnapshotStore of `--snapshots internal`, online.

    `steps` are the plan's step names in order.
    """

    def __init__(self, worker: LiveWorker, run: str, steps: Sequence[str], undo: LiveUndo) -> None:
        self._worker, self._undo = worker, undo
        self._names = snapshot_names(run, steps)

    @property
    def can_restore(self) -> bool:
        """Whether there is still a machine to put back.

        After a power cut the run is continued later.
        """
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


# --- overlays under a running guest: each step writes to a file of its own, merged at the end -----
#
# A running guest cannot go back, because its memory belongs to the newest data. Once it is off, the
# offline store takes the same files back, or merges them. A restarted QEMU would go past them: it
# lacks a mark that only the old process bears.


class LiveOverlays(SnapshotStore):
    """The SnapshotStore of `--snapshots overlay`, online.

    `quiet` runs an action while the guest's files are at rest.
    """

    can_restore = False

    def __init__(
        self,
        worker: LiveWorker,
        directory: Path,
        base_node: str,
        run: str,
        steps: Sequence[str],
        quiet: Callable[[Callable[[], None]], None],
    ) -> None:
        self._worker, self._base_node, self._quiet = worker, base_node, quiet
        self._files = OverlayFiles(directory, steps)
        self._mark = f"growdisk-{run}"

    def is_in_use(self) -> bool:
        """Whether QEMU has one open; also if it cannot be asked."""
        try:
            return any(self._is_open(overlay) for overlay in self._present())
        except GrowdiskError:
            return True

    def take(self, step: str) -> None:
        overlay, directory = self._files.overlay(step), self._files.directory
        # Taken already by a process that died afterwards.
        if self._writes_to(overlay):
            return
        below = self._present(before=step)
        expected = below[-1] if below else self._worker.path.resolve()
        if not self._writes_to(expected):
            raise self._wrong_image(expected)
        if overlay.exists() and self._is_open(overlay):
            raise overlays_need_rest(self._worker.path, overlay=str(overlay))
        # before there is a file: one that finds a file without the mark is another QEMU
        mark(self._worker.machine, self._mark)
        # A file that QEMU does not use yet is of a process that died before put_overlay.
        overlay.unlink(missing_ok=True)
        # A device by its lasting name: that of its node may be another one after a restart.
        backing = backing_name(below[-1] if below else self._worker.path, directory)
        kind = "qcow2" if below else self._worker.disk.format
        create(overlay, self._worker.disk.size, backing=backing, backing_format=kind)
        # Before the guest writes to it: after a power cut its data must be found by this name.
        sync_directory(directory)
        # QEMU refuses a node name that it has: an earlier process may have taken the step's.
        node = f"growdisk-{self._files.steps.index(step) + 1:02}-{os.getpid()}"
        self._quiet(lambda: put_overlay(self._worker.machine, self._worker.key, overlay, node))

    def refuse_other_image(self) -> None:
        """wrong-image if a QEMU that was started again went past the overlays."""
        left = self._present()
        if left and not (is_marked(self._worker.machine, self._mark) or self._writes_to(left[-1])):
            raise self._wrong_image(left[-1])

    def refuse_missing(self, step: str) -> None:
        raise overlays_need_rest(self._worker.path, overlay=self._worker.disk.file)

    def restore(self, step: str) -> None:
        raise overlays_need_rest(self._worker.path, overlay=self._worker.disk.file)

    def keep(self) -> None:
        """They stay under the guest."""

    def commit(self) -> None:
        left = self._present()
        # On an overlay it is still in use. On the image, a merge has ended before a crash, or QEMU
        # was started without the overlays.
        if left and not self._writes_to(self._worker.path):
            merge_overlays(
                self._worker.machine,
                self._worker.key,
                self._base_node,
                self._worker.inside.check_stop,
            )
        else:
            self.refuse_other_image()
        self.discard()

    def discard(self) -> None:
        """overlays-need-rest while the guest's newest data are in them."""
        present = self._present()
        if present and self.is_in_use():
            raise overlays_need_rest(self._worker.path, overlay=str(present[-1]))
        remove_files(*reversed(present))
        # Last: as long as there is a file, the mark tells this QEMU from a restarted one.
        unmark(self._worker.machine, self._mark)

    def close(self) -> None:
        self._worker.inside.forget()

    def _is_open(self, overlay: Path) -> bool:
        return self._worker.machine.has_open(lambda file: is_same_file(file, overlay))

    def _present(self, before: str | None = None) -> list[Path]:
        return [self._files.overlay(step) for step in self._files.present(before)]

    def _writes_to(self, path: Path) -> bool:
        """Whether that is the guest's disk at the moment."""
        return is_same_file(self._worker.disk.file, path)

    def _wrong_image(self, expected: Path) -> NeedsUser:
        return NeedsUser.named(
            "wrong-image",
            "the guest was started from {file}, and this run has its newest data in {expected}",
            "what was written during the run lies in overlays, which that start went past",
            "shut the guest down; growdisk commit --force {path} then brings the overlays into "
            "the image (if nothing that matters was written since), growdisk rollback {path} "
            "drops them",
            {"path": self._worker.path, "file": self._worker.disk.file, "expected": str(expected)},
        )
