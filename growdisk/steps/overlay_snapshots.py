"""External snapshots: the image itself stays untouched until the end, each step writes to an overlay of its own.

Going back throws overlays away. At the end they are committed downward by a redo that survives a crash: an overlay's
file is removed only when all of it is durable below. To keep a way back after that, an undo file keeps what the redo
of each step is about to overwrite; it fits only the image as we left it, which is what the pin is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from growdisk.block.device import ExtentKind, ResizableDevice
from growdisk.block.redo import capture, redo
from growdisk.qcow2.image import Qcow2Image
from growdisk.steps.disk import Disk
from growdisk.steps.failures import SnapshotMissing
from growdisk.steps.overlay_chain import OverlayChain, open_image
from growdisk.steps.pin import Pin


class OverlaySnapshots:
    """The SnapshotStore of `--snapshots overlay`. `steps` are the plan's step names in order."""

    can_restore = True

    def __init__(self, disk: Disk, directory: Path, steps: Sequence[str], pin: Pin) -> None:
        self._disk, self._pin = disk, pin
        self._chain = OverlayChain(disk, directory, steps)
        self._chain.open()

    def take(self, step: str) -> None:
        if not self._chain.overlay(step).exists():
            self._chain.add(step)

    def restore(self, step: str) -> None:
        chain = self._chain
        if not (chain.overlay(step).exists() or chain.undo(step).exists()):
            raise SnapshotMissing(chain.overlay(step).name, path=self._disk.path)
        chain.close()
        for later in reversed(chain.steps[chain.steps.index(step) :]):
            self._put_back(later)
            if later != step:  # what belongs to `step` itself stays until its fresh overlay is there
                chain.remove(chain.undo(later))
                chain.remove(chain.overlay(later))
        chain.open(before=step)
        chain.add(step)
        chain.remove(chain.undo(step))
        self._pin.set()

    def reserve(self) -> None:
        """Take the host's blocks that settling will need while there still is a way back. OSError if there are none."""
        if self._disk.format != "raw":
            return  # a qcow2 image allocates where it likes; a full disk then stops the redo, which can be resumed
        with self._pin.lifted():
            for overlay in self._chain.images:
                for extent in overlay.own_extents():
                    if extent.kind is ExtentKind.DATA:
                        self._disk.file.reserve(extent.start, extent.length)

    def keep(self) -> None:
        self._make_final(keep_undo=True)
        self._pin.set()

    def settle(self) -> None:
        self._make_final(keep_undo=False)
        self.discard()

    def discard(self) -> None:
        self._chain.close()
        for step in reversed(self._chain.steps):
            self._chain.remove(self._chain.overlay(step))
            self._chain.remove(self._chain.undo(step))
        self._chain.remove(self._chain.fresh)
        self._pin.remove()

    def close(self) -> None:
        with suppress(OSError):  # what could not be written was told when it was asked for
            self._chain.close()

    def _make_final(self, *, keep_undo: bool) -> None:
        self._disk.flush()
        self._chain.close()
        self._pin.remove()  # from here on it is growdisk itself that changes the image
        base = self._disk.base(writable=True)
        for step in self._chain.steps:
            if self._chain.overlay(step).exists():
                overlay = open_image(self._chain.overlay(step), backing=base, writable=False)
                if keep_undo and not self._chain.undo(step).exists():
                    self._keep_undo(step, overlay, base)
                redo(overlay, base)
                overlay.close()
                self._chain.remove(self._chain.overlay(step))
        self._disk.activate(base)

    def _keep_undo(self, step: str, overlay: Qcow2Image, base: ResizableDevice) -> None:
        fresh = self._chain.create_fresh(base.size)
        undo = open_image(fresh, backing=None, writable=True)
        capture(overlay, base, undo)
        undo.close()
        self._chain.publish(fresh, self._chain.undo(step))

    def _put_back(self, step: str) -> None:
        if self._chain.undo(step).exists():
            self._pin.remove()
            undo = open_image(self._chain.undo(step), backing=None, writable=False)
            redo(undo, self._disk.base(writable=True))
            undo.close()
