"""Before each snapshot: appliances write back or end, and nobody else may use the disks."""

from __future__ import annotations

from collections.abc import Sequence

from growdisk.steps.context import Hands
from growdisk.steps.disk import Disk
from growdisk.workflow.snapshots import SnapshotStore


class QuietSnapshots:
    """A SnapshotStore around another one, for all hands that work on the run's disks.

    `disk` is the first of these disks.
    """

    def __init__(self, store: SnapshotStore, hands: Sequence[Hands], disk: Disk) -> None:
        self._store, self._hands, self._disk = store, tuple(hands), disk

    @property
    def can_restore(self) -> bool:
        return self._store.can_restore

    def take(self, step: str) -> None:
        for hands in self._hands:
            # What they still hold back belongs to the state before the step.
            hands.sync()
        # As late as can be: our locks keep out only those who take locks.
        self._disk.refuse_in_use()
        self._store.take(step)

    def refuse_missing(self, step: str) -> None:
        for hands in self._hands:
            hands.kill()
        self._store.refuse_missing(step)

    def restore(self, step: str) -> None:
        for hands in self._hands:
            # Ended without a flush: what they hold is of the step that is taken back.
            hands.kill()
        self._store.restore(step)

    def reserve(self) -> None:
        for hands in self._hands:
            hands.close()
        self._disk.refuse_in_use()
        self._store.reserve()

    def keep(self) -> None:
        for hands in self._hands:
            hands.close()
        self._disk.refuse_in_use()
        self._store.keep()

    def settle(self) -> None:
        for hands in self._hands:
            hands.close()
        self._disk.refuse_in_use()
        self._store.settle()

    def discard(self) -> None:
        for hands in self._hands:
            hands.kill()
        self._store.discard()

    def close(self) -> None:
        for hands in self._hands:
            hands.kill()
        self._store.close()
