"""Before each snapshot: appliances write back or end, and nobody else may use the disks."""

from __future__ import annotations

from collections.abc import Sequence

from growdisk.steps.disk import Disk
from growdisk.steps.run_backend import RunBackend
from growdisk.workflow.snapshots import CompositeSnapshotStore, SnapshotStore


class QuietSnapshots(CompositeSnapshotStore):
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
        # Ended without a flush: what they hold is of the step that is taken back.
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
