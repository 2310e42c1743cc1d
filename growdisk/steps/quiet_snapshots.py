"""Keeps the appliance out of the way of snapshots: what it holds is written back before one is taken, and it is ended
before one is restored or the result is made final."""

from __future__ import annotations

from growdisk.steps.context import Hands
from growdisk.workflow.snapshots import SnapshotStore


class QuietSnapshots:
    """A SnapshotStore around another one."""

    def __init__(self, store: SnapshotStore, hands: Hands) -> None:
        self._store, self._hands = store, hands

    @property
    def can_restore(self) -> bool:
        return self._store.can_restore

    def take(self, step: str) -> None:
        self._hands.sync()
        self._store.take(step)

    def restore(self, step: str) -> None:
        self._hands.kill()
        self._store.restore(step)

    def reserve(self) -> None:
        self._hands.close()
        self._store.reserve()

    def keep(self) -> None:
        self._hands.close()
        self._store.keep()

    def settle(self) -> None:
        self._hands.close()
        self._store.settle()

    def discard(self) -> None:
        self._hands.kill()
        self._store.discard()

    def close(self) -> None:
        self._hands.kill()
        self._store.close()
