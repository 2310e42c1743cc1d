"""External snapshots: the image itself stays untouched until the end, each step writes to an overlay of its own.

Going back throws overlays away. At the end they are committed downward by a redo that survives a crash: an overlay's
file is removed only when all of it is durable below. To keep a way back after that, an undo file keeps what the redo
of each step is about to overwrite; it fits only the image as we left it, which is what the pin is for.

All room that this takes on the host is taken by reserve(), while going back still is nothing but removing files.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from growdisk.block.write_log import capture, redo
from growdisk.qcow2.image import Qcow2Image
from growdisk.steps.disk import Disk
from growdisk.steps.failures import SnapshotMissing
from growdisk.steps.fingerprint import ImageFingerprint
from growdisk.steps.held_room import HeldRoom
from growdisk.steps.overlay_chain import OverlayChain
from growdisk.steps.redo_room import new_length, room_for_redo


class OverlaySnapshots:
    """The SnapshotStore of `--snapshots overlay`. `steps` are the plan's step names in order.

    `keep_undo`: what the steps write over will be kept when the result is made final.
    """

    can_restore = True

    def __init__(
        self, disk: Disk, directory: Path, steps: Sequence[str], pin: ImageFingerprint, *, keep_undo: bool = False
    ) -> None:
        self._disk, self._pin, self._keep_undo = disk, pin, keep_undo
        self._chain = OverlayChain(disk, directory, steps)
        self._room = HeldRoom(directory / "held-room.json", disk.file)
        self._begun = False  # to make the result final
        self._chain.open()
        disk.on_base_resized = self._renew_top

    def take(self, step: str) -> None:
        if not self._chain.overlay(step).exists():
            self._chain.add(step)

    def refuse_missing(self, step: str) -> None:
        if not (self._chain.overlay(step).exists() or self._chain.undo(step).exists()):
            raise SnapshotMissing(self._chain.overlay(step).name, path=self._disk.path)

    def restore(self, step: str) -> None:
        chain = self._chain
        chain.abandon()
        for later in reversed(chain.steps[chain.steps.index(step) :]):
            self._put_back(later)
            for path in (chain.undo(later), chain.prepared_undo(later), chain.overlay(later)):
                chain.remove(path)
        chain.open(before=step)
        self._pin.set()

    def reserve(self) -> None:
        """Take the host's room that the redo will need, and write down what it will overwrite. OSError without room."""
        self._disk.flush()
        for step, overlay, below in self._chain.layers():
            if self._keep_undo and not self._chain.undo(step).exists():
                fresh = self._chain.create_fresh(below.size)
                undo = self._chain.open_image(fresh, backing=None, writable=True)
                capture(overlay, below, undo)
                undo.close()
                self._chain.publish(fresh, self._chain.prepared_undo(step))
        with self._pin.lifted():
            base = self._disk.base(writable=False)
            overlays = self._chain.images
            if (length := new_length(base, overlays)) > base.size:
                self._room.try_length(length)
            self._room.take(room_for_redo(base, overlays))

    def keep(self) -> None:
        self._make_final()
        self._pin.set()

    def settle(self) -> None:
        self._make_final()
        self._room.forget()
        self.discard()

    def discard(self) -> None:
        self._chain.abandon()
        for step in reversed(self._chain.steps):
            for path in (self._chain.overlay(step), self._chain.undo(step), self._chain.prepared_undo(step)):
                self._chain.remove(path)
        self._chain.remove(self._chain.fresh)
        self._pin.lift()
        self._room.give_back()
        self._pin.remove()

    def close(self) -> None:
        with suppress(OSError):  # what could not be written was told when it was asked for
            self._chain.close()

    def _renew_top(self) -> None:
        """A fresh topmost overlay in place of one with another size than the image below; nothing is in it yet."""
        present = [step for step in self._chain.steps if self._chain.overlay(step).exists()]
        if present:
            self._chain.open(before=present[-1])
            self._chain.add(present[-1])

    def _make_final(self) -> None:
        """Only what reserve() has prepared is needed: this may be done again until it succeeds."""
        self._begun, begun = True, self._begun
        self._chain.abandon()
        self._pin.lift()  # from here on it is growdisk itself that changes the image
        base = self._disk.base(writable=True)
        if isinstance(base, Qcow2Image):
            base.append_only()  # there the room is
        for step in self._chain.steps:
            if self._chain.overlay(step).exists():
                self._chain.use_prepared_undo(step)
                overlay = self._chain.open_image(self._chain.overlay(step), backing=base, writable=False)
                redo(overlay, base, keep_room=self._chain.undo(step).exists())
                overlay.close()
                self._chain.remove(self._chain.overlay(step))
        if begun and isinstance(base, Qcow2Image):
            base.forget_unwritten()  # what the attempt before has leaked
        self._room.trim()
        self._disk.activate(base)

    def _put_back(self, step: str) -> None:
        if self._chain.undo(step).exists():
            self._pin.lift()
            undo = self._chain.open_image(self._chain.undo(step), backing=None, writable=False)
            # Where a raw image had holes the held room tells; a qcow2 image shall not keep clusters for zeros.
            base = self._disk.base(writable=True)
            redo(undo, base, free_zeros=isinstance(base, Qcow2Image))
            if isinstance(base, Qcow2Image):
                base.forget_unwritten()  # nothing is; but what became free goes back to the host
            undo.close()
