"""What has to be so before anything is written: the appliance has written back what it holds,
or is ended, and nobody else has begun to use the disks.
"""

from __future__ import annotations

from collections.abc import Sequence

from growdisk.steps.context import Hands
from growdisk.steps.disk import Disk
from growdisk.workflow.snapshots import CompositeSnapshotStore, SnapshotStore


class QuietSnapshots(CompositeSnapshotStore):
    """Those of all disks of a run, of which `disk` is the first."""

    def __init__(self, stores: Sequence[SnapshotStore], hands: Sequence[Hands], disk: Disk) -> None:
        super().__init__(stores)
        self._hands, self._disk = tuple(hands), disk

    def take(self, step: str) -> None:
        for hands in self._hands:
            hands.sync()
        self._disk.refuse_in_use()
        super().take(step)

    def refuse_missing(self, step: str) -> None:
        self._kill()
        super().refuse_missing(step)

    def restore(self, step: str) -> None:
        self._kill()
        super().restore(step)

    def reserve(self) -> None:
        self._let_go()
        super().reserve()

    def keep(self) -> None:
        self._let_go()
        super().keep()

    def settle(self) -> None:
        self._let_go()
        super().settle()

    def discard(self) -> None:
        self._kill()
        super().discard()

    def close(self) -> None:
        self._kill()
        super().close()

    def _let_go(self) -> None:
        for hands in self._hands:
            hands.close()
        self._disk.refuse_in_use()

    def _kill(self) -> None:
        for hands in self._hands:
            hands.kill()
