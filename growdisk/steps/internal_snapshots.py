"""Snapshots inside the qcow2 image, by our own engine: instant, and nothing else to look after.

By their names an image without its run's folder is known. A user's snapshots are never touched.
"""

from __future__ import annotations

from collections.abc import Sequence

from growdisk.qcow2.image import Qcow2Image
from growdisk.steps.failures import snapshot_missing
from growdisk.workflow.snapshots import SnapshotStore, snapshot_names


class InternalSnapshots(SnapshotStore):
    """The SnapshotStore of `--snapshots internal`. `steps` are the plan's step names in order."""

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
