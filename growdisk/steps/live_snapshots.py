"""Snapshots of a running guest inside its qcow2 images, memory included: going back puts the running guest back.

What the guest did since the snapshot is lost then, with everything that it told others meanwhile; so the guest's own
undo is tried first, which loses nothing. Names are those of the offline store: a guest that is off is taken back by
that one.
"""

from __future__ import annotations

from collections.abc import Sequence

from growdisk.errors import GrowdiskError
from growdisk.live.block_jobs import delete, load, save
from growdisk.steps.failures import SnapshotMissing
from growdisk.steps.live_context import LiveContext
from growdisk.steps.live_undo import LiveUndo
from growdisk.steps.snapshot_names import snapshot_names


class LiveSnapshots:
    """The SnapshotStore of `--snapshots internal`, online. `steps` are the plan's step names in order."""

    def __init__(self, context: LiveContext, run: str, steps: Sequence[str], undo: LiveUndo) -> None:
        self._context, self._undo = context, undo
        self._names = snapshot_names(run, steps)

    @property
    def can_restore(self) -> bool:
        """As long as there is a machine to be put back: what is cut short by a power cut is gone on with later."""
        try:
            self._context.machine.status()
        except GrowdiskError:
            return False
        return True

    def take(self, step: str) -> None:
        if self._names[step] not in self._context.disk.snapshots:
            save(self._context.machine, self._context.key, self._names[step])

    def refuse_missing(self, step: str) -> None:
        """Told by `restore`: perhaps the guest can take the step back itself."""

    def restore(self, step: str) -> None:
        name, names = self._names[step], list(self._names.values())
        if self._undone(step):
            self._delete(names[names.index(name) :])
            return
        if name not in self._context.disk.snapshots:
            raise SnapshotMissing(name, path=self._context.path)
        self._context.inside.forget()
        load(self._context.machine, self._context.key, name)
        self._delete(names[names.index(name) + 1 :])

    def reserve(self) -> None:
        """Settling only frees clusters."""

    def keep(self) -> None:
        """They lie in the image as they are."""

    def settle(self) -> None:
        self.discard()

    def discard(self) -> None:
        self._delete(list(self._names.values()))

    def close(self) -> None:
        self._context.inside.forget()

    def _undone(self, step: str) -> bool:
        """Whether the guest could take the step back itself, which loses nothing."""
        try:
            self._undo.restore(step)
        except GrowdiskError:
            return False
        return True

    def _delete(self, names: Sequence[str]) -> None:
        present = self._context.disk.snapshots
        for name in reversed(names):
            if name in present:
                delete(self._context.machine, name)
