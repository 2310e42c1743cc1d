"""Overlays under a running guest: each step writes to a file of its own, merged at the end.

A running guest cannot go back, because its memory belongs to the newest data. Once it is off, the
offline store takes the same files back, or merges them. A QEMU that was restarted would bypass the
overlays: it lacks a mark that only the old process bears.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from growdisk.durable import remove_files, sync_directory
from growdisk.errors import GrowdiskError, NeedsUser
from growdisk.live.block_jobs import is_marked, mark, merge_overlays, put_overlay, unmark
from growdisk.qcow2.create import create
from growdisk.steps.failures import overlays_need_rest
from growdisk.steps.live_worker import LiveWorker
from growdisk.steps.overlay_snapshots import OverlayFiles, backing_name
from growdisk.workflow.snapshots import SnapshotStore


class LiveOverlays(SnapshotStore):
    """SnapshotStore of `--snapshots overlay`, online; `quiet` acts while the guest's files rest."""

    can_restore = False

    def __init__(
        self,
        worker: LiveWorker,
        directory: Path,
        base_node: str,
        run: str,
        steps: Sequence[str],
        quiet: Callable[[Callable[[], None]], None],
    ) -> None:
        self._worker, self._base_node, self._quiet = worker, base_node, quiet
        self._files = OverlayFiles(directory, steps)
        self._mark = f"growdisk-{run}"

    def is_in_use(self) -> bool:
        """Whether QEMU has one open; also if it cannot be asked."""
        try:
            return any(self._is_open(overlay) for overlay in self._present())
        except GrowdiskError:
            return True

    def take(self, step: str) -> None:
        overlay, directory = self._files.overlay(step), self._files.directory
        # Taken already by a process that died afterwards.
        if self._writes_to(overlay):
            return
        below = self._present(before=step)
        expected = below[-1] if below else self._worker.path.resolve()
        if not self._writes_to(expected):
            raise self._wrong_image(expected)
        if overlay.exists() and self._is_open(overlay):
            raise overlays_need_rest(self._worker.path, overlay=str(overlay))
        # before there is a file: one that finds a file without the mark is another QEMU
        mark(self._worker.machine, self._mark)
        # A file that QEMU does not use yet is of a process that died before put_overlay.
        overlay.unlink(missing_ok=True)
        # A device by its lasting name: that of its node may be another one after a restart.
        backing = backing_name(below[-1] if below else self._worker.path, directory)
        kind = "qcow2" if below else self._worker.disk.format
        create(overlay, self._worker.disk.size, backing=backing, backing_format=kind)
        # Before the guest writes to it: after a power cut its data must be found by this name.
        sync_directory(directory)
        # QEMU refuses a node name that it has: an earlier process may have taken the step's.
        node = f"growdisk-{self._files.steps.index(step) + 1:02}-{os.getpid()}"
        self._quiet(lambda: put_overlay(self._worker.machine, self._worker.key, overlay, node))

    def refuse_other_image(self) -> None:
        """wrong-image if a QEMU that was started again went past the overlays."""
        left = self._present()
        if left and not (is_marked(self._worker.machine, self._mark) or self._writes_to(left[-1])):
            raise self._wrong_image(left[-1])

    def refuse_missing(self, step: str) -> None:
        raise overlays_need_rest(self._worker.path, overlay=self._worker.disk.file)

    def restore(self, step: str) -> None:
        raise overlays_need_rest(self._worker.path, overlay=self._worker.disk.file)

    def keep(self) -> None:
        """They stay under the guest."""

    def commit(self) -> None:
        left = self._present()
        # On an overlay it is still in use. On the image, a merge has ended before a crash, or QEMU
        # was started without the overlays.
        if left and not self._writes_to(self._worker.path):
            merge_overlays(
                self._worker.machine,
                self._worker.key,
                self._base_node,
                self._worker.inside.check_stop,
            )
        else:
            self.refuse_other_image()
        self.discard()

    def discard(self) -> None:
        """overlays-need-rest while the guest's newest data are in them."""
        present = self._present()
        if present and self.is_in_use():
            raise overlays_need_rest(self._worker.path, overlay=str(present[-1]))
        remove_files(*reversed(present))
        # Last: as long as there is a file, the mark tells this QEMU from a restarted one.
        unmark(self._worker.machine, self._mark)

    def close(self) -> None:
        self._worker.inside.forget()

    def _is_open(self, overlay: Path) -> bool:
        return self._worker.machine.has_open(lambda file: is_same_file(file, overlay))

    def _present(self, before: str | None = None) -> list[Path]:
        return [self._files.overlay(step) for step in self._files.present(before)]

    def _writes_to(self, path: Path) -> bool:
        """Whether that is the guest's disk at the moment."""
        return is_same_file(self._worker.disk.file, path)

    def _wrong_image(self, expected: Path) -> NeedsUser:
        return NeedsUser.named(
            "wrong-image",
            "the guest was started from {file}, and this run has its newest data in {expected}",
            "what was written during the run lies in overlays, which that start went past",
            "shut the guest down; growdisk commit --force {path} then brings the overlays into "
            "the image (if nothing that matters was written since), growdisk rollback {path} "
            "drops them",
            {"path": self._worker.path, "file": self._worker.disk.file, "expected": str(expected)},
        )


def is_same_file(file: str, path: Path) -> bool:
    try:
        return Path(file).samefile(path)
    except OSError:
        return False
