"""Snapshot stores of a run at rest: of all its disks as one; in a qcow2 image, by our engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from growdisk.block.window import Window
from growdisk.errors import GrowdiskError, NeedsUser
from growdisk.partitions.sectors import read_table
from growdisk.qcow2.image import Qcow2Image
from growdisk.steps.disk import Disk
from growdisk.steps.failures import snapshot_missing
from growdisk.steps.run_backend import RunBackend
from growdisk.units import Bytes, align_down, format_size
from growdisk.workflow.snapshots import SnapshotStore, snapshot_names


class SyncedSnapshots(SnapshotStore):
    """The stores of all disks of a run as one, for all backends that work on them.

    `disk` is the first. Before a store acts, appliances write back or end, and nobody else may use
    the disks. Each call goes to all stores, and again if it was cut short, which each bears.
    """

    def __init__(
        self, stores: Sequence[SnapshotStore], backends: Sequence[RunBackend], disk: Disk
    ) -> None:
        self._stores, self._backends, self._disk = tuple(stores), tuple(backends), disk

    @property
    def can_restore(self) -> bool:
        # One disk that cannot be restored would leave the guest's disks at different instants.
        return all(store.can_restore for store in self._stores)

    def is_in_use(self) -> bool:
        return any(store.is_in_use() for store in self._stores)

    def take(self, step: str) -> None:
        for backend in self._backends:
            # What they still hold back belongs to the state before the step.
            backend.sync()
        # As late as can be: our locks keep out only those who take locks.
        self._disk.refuse_in_use()
        for store in self._stores:
            store.take(step)

    def refuse_missing(self, step: str) -> None:
        for store in self._killed():
            store.refuse_missing(step)

    def restore(self, step: str) -> None:
        # Ended without a flush: what they hold is of the step that is undone.
        for store in self._killed():
            store.restore(step)

    def reserve(self) -> None:
        for store in self._let_go():
            store.reserve()

    def keep(self) -> None:
        for store in self._let_go():
            store.keep()

    def commit(self) -> None:
        for store in self._let_go():
            store.commit()

    def discard(self) -> None:
        for store in self._killed():
            store.discard()

    def close(self) -> None:
        for store in self._killed():
            store.close()

    def _let_go(self) -> Sequence[SnapshotStore]:
        """The stores, once the backends have ended in order."""
        for backend in self._backends:
            backend.close()
        self._disk.refuse_in_use()
        return self._stores

    def _killed(self) -> Sequence[SnapshotStore]:
        """The stores, once the backends have ended at once."""
        for backend in self._backends:
            backend.kill()
        return self._stores


def shrink_device(disk: Disk, old_size: int, new_size: int) -> None:
    """Undo a device's growth once its content is restored: what is cut off is not needed any more.

    new-room-in-use if anything but growdisk has come to need it.
    """
    # Here: most runs are not on a device.
    from growdisk.storage.device import device_size, resize_device

    path, present = disk.path, device_size(disk.path)
    if present != old_size:
        # Only what this run has made is taken away again.
        if present != new_size:
            reason = f"it was to have {format_size(new_size)}; somebody else has changed its size"
            raise _new_room_in_use(path, present, reason=reason)
        # Somebody may have put the new space to use since; to cut it off would lose that.
        disk.refuse_in_use()
        _refuse_used_room(disk, old_size, present)
        resize_device(path, old_size)
        disk.file.refresh_size()
    disk.base_resized()


def _refuse_used_room(disk: Disk, old_size: int, present: int) -> None:
    # The table is read as the device will be: whole sectors of the old size.
    end = align_down(old_size, 512)
    try:
        table = read_table(Window(disk.file, 0, end), disk.path)
    except GrowdiskError as error:
        reason = f"its partition table: {error}"
        raise _new_room_in_use(disk.path, present, reason=reason) from error
    beyond = [part.number for part in table.partitions if part.end > end] if table else []
    if beyond:
        reason = f"partition {beyond[0]} reaches beyond the old end"
        raise _new_room_in_use(disk.path, present, reason=reason)


def _new_room_in_use(path: Path, size: int, reason: str) -> NeedsUser:
    return NeedsUser.named(
        "new-room-in-use",
        "{path} stays at {size}: its new room may be in use",
        "{reason}",
        "look at it; to accept the size run growdisk commit --force {path}",
        {"path": path, "size": Bytes(size), "reason": reason},
    )


class InternalSnapshots(SnapshotStore):
    """The SnapshotStore of `--snapshots internal`. `steps` are the plan's step names in order.

    By their names an image without its run's folder is known. A user's snapshots stay.
    """

    def __init__(self, image: Qcow2Image, run: str, steps: Sequence[str]) -> None:
        self._image = image
        self._names = snapshot_names(run, steps)

    def take(self, step: str) -> None:
        if self._names[step] not in self._present():
            self._image.flush()
            self._image.create_snapshot(self._names[step])

    def refuse_missing(self, step: str) -> None:
        if self._names[step] not in self._present():
            raise snapshot_missing(self._names[step], path=self._image.path)

    def restore(self, step: str) -> None:
        name, names = self._names[step], list(self._names.values())
        newer = names[names.index(name) + 1 :]
        # What the failed step left in memory must not reach the image any more.
        self._image.forget_unwritten()
        if name not in self._present():
            if not self._image.has_run_mark:  # any other program that removes a snapshot clears it
                raise snapshot_missing(name, path=self._image.path)
            return  # it went with the restore that was cut short
        self._image.set_run_mark(on=True)  # it is off after a kept run
        # One header write for disk and snapshots, unless somebody else's snapshot came after ours.
        if not self._image.revert_to(name, newer):
            self._image.apply_snapshot(name)
            self._delete(newer)

    def reserve(self) -> None:
        """Write back what is in memory: it may need new clusters; settling itself needs none."""
        self._image.flush()

    def keep(self) -> None:
        self._image.flush()
        self._image.set_run_mark(on=False)
        self._image.try_to_store_bitmaps()

    def commit(self) -> None:
        try:
            self._forget_all()
        except OSError:
            # once more, with nothing but what stands in the file; all of it does since reserve()
            self.discard()

    def discard(self) -> None:
        self._image.forget_unwritten()
        self._forget_all()

    def _forget_all(self) -> None:
        self._delete(list(self._names.values()))
        self._image.set_run_mark(on=False)
        self._image.flush()
        self._image.try_to_store_bitmaps()

    def _present(self) -> frozenset[str]:
        return frozenset(snapshot.name for snapshot in self._image.snapshots())

    def _delete(self, names: list[str]) -> None:
        self._image.forget_newest_snapshots(names)
        present = self._present()  # what is left stands before snapshots of others
        for name in reversed(names):
            if name in present:
                self._image.delete_snapshot(name)
