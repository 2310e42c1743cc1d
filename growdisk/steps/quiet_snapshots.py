"""Keeps the appliance out of the way of snapshots: what it holds is written back before one is taken, and it is ended
before one is restored or the result is made final."""

from __future__ import annotations

from collections.abc import Sequence

from growdisk.steps.context import Hands
from growdisk.workflow.snapshots import SnapshotStore


class QuietSnapshots:
    """A SnapshotStore around another one, for all that works on the run's disks."""

    def __init__(self, store: SnapshotStore, hands: Sequence[Hands]) -> None:
        self._store, self._hands = store, tuple(hands)

    @property
    def can_restore(self) -> bool:
        return self._store.can_restore

    def take(self, step: str) -> None:
        for hands in self._hands:
            hands.sync()
        self._store.take(step)

    def restore(self, step: str) -> None:
        for hands in self._hands:
            hands.kill()
        self._store.restore(step)

    def reserve(self) -> None:
        for hands in self._hands:
            hands.close()
        self._store.reserve()

    def keep(self) -> None:
        for hands in self._hands:
            hands.close()
        self._store.keep()

    def settle(self) -> None:
        for hands in self._hands:
            hands.close()
        self._store.settle()

    def discard(self) -> None:
        for hands in self._hands:
            hands.kill()
        self._store.discard()

    def close(self) -> None:
        for hands in self._hands:
            hands.kill()
        self._store.close()
