"""What the snapshot stores of a run at rest have to do besides their snapshots.

Before each of them appliances write back or end, and nobody else may use the disks; a device's
growth is undone together with the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from growdisk.block.window import Window
from growdisk.errors import GrowdiskError, NeedsUser
from growdisk.partitions.sectors import read_table
from growdisk.steps.disk import Disk
from growdisk.steps.run_backend import RunBackend
from growdisk.units import Bytes, align_down, format_size
from growdisk.workflow.snapshots import CompositeSnapshotStore, SnapshotStore


class SyncedSnapshots(CompositeSnapshotStore):
    """The snapshot stores of all disks of a run, for all backends that work on them.

    `disk` is the first of these disks.
    """

    def __init__(
        self, stores: Sequence[SnapshotStore], backends: Sequence[RunBackend], disk: Disk
    ) -> None:
        super().__init__(stores)
        self._backends, self._disk = tuple(backends), disk

    def take(self, step: str) -> None:
        for backend in self._backends:
            # What they still hold back belongs to the state before the step.
            backend.sync()
        # As late as can be: our locks keep out only those who take locks.
        self._disk.refuse_in_use()
        super().take(step)

    def refuse_missing(self, step: str) -> None:
        self._kill()
        super().refuse_missing(step)

    def restore(self, step: str) -> None:
        # Ended without a flush: what they hold is of the step that is undone.
        self._kill()
        super().restore(step)

    def reserve(self) -> None:
        self._let_go()
        super().reserve()

    def keep(self) -> None:
        self._let_go()
        super().keep()

    def commit(self) -> None:
        self._let_go()
        super().commit()

    def discard(self) -> None:
        self._kill()
        super().discard()

    def close(self) -> None:
        self._kill()
        super().close()

    def _let_go(self) -> None:
        for backend in self._backends:
            backend.close()
        self._disk.refuse_in_use()

    def _kill(self) -> None:
        for backend in self._backends:
            backend.kill()


def _new_room_in_use(path: Path, size: int, reason: str) -> NeedsUser:
    return NeedsUser.named(
        "new-room-in-use",
        "{path} stays at {size}: its new room may be in use",
        "{reason}",
        "look at it; to accept the size run growdisk commit --force {path}",
        {"path": path, "size": Bytes(size), "reason": reason},
    )


class DeviceSizeSnapshots(CompositeSnapshotStore):
    """Another SnapshotStore, wrapped: restoring `step` also restores the size of the device."""

    def __init__(
        self, store: SnapshotStore, disk: Disk, step: str, old_size: int, new_size: int
    ) -> None:
        super().__init__([store])
        self._disk, self._step = disk, step
        self._old, self._new = old_size, new_size

    def restore(self, step: str) -> None:
        # The content first: what is cut off afterwards is then no longer needed.
        super().restore(step)
        if step == self._step:
            self._shrink()
            self._disk.base_resized()

    def _shrink(self) -> None:
        """new-room-in-use if anything but growdisk has come to need it."""
        # Here: most runs are not on a device.
        from growdisk.storage.device import device_size, resize_device

        path, present = self._disk.path, device_size(self._disk.path)
        if present == self._old:
            return
        # Only what this run has made is taken away again.
        if present != self._new:
            reason = f"it was to have {format_size(self._new)}; somebody else has changed its size"
            raise _new_room_in_use(path, present, reason=reason)
        # Somebody may have put the new space to use since; to cut it off would lose that.
        self._disk.refuse_in_use()
        # The table is read as the device will be: whole sectors of the old size.
        end = align_down(self._old, 512)
        try:
            table = read_table(Window(self._disk.file, 0, end), path)
        except GrowdiskError as error:
            raise _new_room_in_use(path, present, reason=f"its partition table: {error}") from error
        beyond = [part.number for part in table.partitions if part.end > end] if table else []
        if beyond:
            raise _new_room_in_use(
                path,
                present,
                reason=f"partition {beyond[0]} reaches beyond the old end",
            )
        resize_device(path, self._old)
        self._disk.file.refresh_size()
