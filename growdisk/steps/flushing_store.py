"""Before each snapshot: appliances write back or end, and nobody else may use the disks."""

from __future__ import annotations

from collections.abc import Sequence

from growdisk.steps.disk import Disk
from growdisk.steps.run_backend import RunBackend
from growdisk.workflow.snapshots import SnapshotStore


class QuietSnapshots:
    """A SnapshotStore around another one, for all backends that work on the run's disks.

    `disk` is the first of these disks.
    """

    def __init__(self, store: SnapshotStore, backends: Sequence[RunBackend], disk: Disk) -> None:
        self._store, self._backends, self._disk = store, tuple(backends), disk

    @property
    def can_restore(self) -> bool:
        return self._store.can_restore

    def take(self, step: str) -> None:
        for backend in self._backends:
            backend.sync()
        self._disk.refuse_in_use()
        self._store.take(step)

    def refuse_missing(self, step: str) -> None:
        for backend in self._backends:
            backend.kill()
        self._store.refuse_missing(step)

    def restore(self, step: str) -> None:
        for backend in self._backends:
            backend.kill()
        self._store.restore(step)

    def reserve(self) -> None:
        for backend in self._backends:
            backend.close()
        self._disk.refuse_in_use()
        self._store.reserve()

    def keep(self) -> None:
        for backend in self._backends:
            backend.close()
        self._disk.refuse_in_use()
        self._store.keep()

    def settle(self) -> None:
        for backend in self._backends:
            backend.close()
        self._disk.refuse_in_use()
        self._store.settle()

    def discard(self) -> None:
        for backend in self._backends:
            backend.kill()
        self._store.discard()

    def close(self) -> None:
        for backend in self._backends:
            backend.kill()
        self._store.close()
