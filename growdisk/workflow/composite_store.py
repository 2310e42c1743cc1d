"""Several snapshot stores as one: a run that works on several disks goes forward and back on all of them together.

Each call goes to all stores. One that dies in between is made again, as every call may be: what a store has done
already it leaves as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from growdisk.workflow.snapshots import SnapshotStore


class CompositeSnapshotStore:
    """A SnapshotStore of SnapshotStores."""

    def __init__(self, stores: Sequence[SnapshotStore]) -> None:
        self._stores = tuple(stores)

    @property
    def can_restore(self) -> bool:
        return all(store.can_restore for store in self._stores)

    def take(self, step: str) -> None:
        for store in self._stores:
            store.take(step)

    def refuse_missing(self, step: str) -> None:
        for store in self._stores:
            store.refuse_missing(step)

    def restore(self, step: str) -> None:
        for store in self._stores:
            store.restore(step)

    def reserve(self) -> None:
        for store in self._stores:
            store.reserve()

    def keep(self) -> None:
        for store in self._stores:
            store.keep()

    def settle(self) -> None:
        for store in self._stores:
            store.settle()

    def discard(self) -> None:
        for store in self._stores:
            store.discard()

    def close(self) -> None:
        for store in self._stores:
            store.close()
