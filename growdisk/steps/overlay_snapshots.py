"""External snapshots: each step writes to its own overlay; the image changes at the end only.

Restoring deletes overlays. At the end they are committed downward by a redo that survives a
crash: an overlay's file is removed only when all of it is durable below. For a restore after
that, an undo file keeps what the redo of each step is about to overwrite; it fits only the image as
growdisk left it, which the fingerprint checks.

All space that this takes on the host is taken by reserve(), while restoring still is nothing but
removing files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from growdisk.block.device import BlockDevice, ResizableDevice
from growdisk.block.raw import RawFile
from growdisk.block.window import Window
from growdisk.block.write_log import capture, redo
from growdisk.durable import remove_files, rename_file
from growdisk.qcow2.create import create
from growdisk.qcow2.image import Qcow2Image
from growdisk.steps.disk import Disk
from growdisk.steps.failures import snapshot_missing
from growdisk.steps.fingerprint import ImageFingerprint
from growdisk.steps.overlay_room import ReservedRoom, room_for_redo
from growdisk.workflow.snapshots import SnapshotStore


class OverlaySnapshots(SnapshotStore):
    """The SnapshotStore of `--snapshots overlay`. `steps` are the plan's step names in order.

    `keep_undo`: what the steps write over will be kept when the result is made final.
    `on_restored` is called with a step when the content is as before it.
    """

    def __init__(
        self,
        disk: Disk,
        directory: Path,
        steps: Sequence[str],
        fingerprint: ImageFingerprint,
        *,
        keep_undo: bool,
        on_restored: Callable[[str], None],
    ) -> None:
        self._disk, self._fingerprint, self._keep_undo = disk, fingerprint, keep_undo
        self._chain = OverlayChain(disk, directory, steps)
        self._room = ReservedRoom(directory / "held-room.json", disk.file)
        self._begun = False  # to make the result final
        self._on_restored = on_restored
        self._chain.open()
        disk.on_base_resized = self._renew_top

    def take(self, step: str) -> None:
        if not self._chain.overlay(step).exists():
            self._chain.add(step)

    def refuse_missing(self, step: str) -> None:
        if not (self._chain.overlay(step).exists() or self._chain.undo(step).exists()):
            raise snapshot_missing(self._chain.overlay(step).name, path=self._disk.path)

    def restore(self, step: str) -> None:
        chain = self._chain
        chain.abandon()
        for later in reversed(chain.steps[chain.steps.index(step) :]):
            # Newest first: each undo file fits only the image as the redo of the same step left it.
            self._restore_base(later)
            remove_files(chain.undo(later), chain.prepared_undo(later), chain.overlay(later))
        # The failed step's own overlay is gone too: take() makes a fresh one.
        chain.open(before=step)
        self._fingerprint.set()
        self._on_restored(step)

    def reserve(self) -> None:
        """Take the host's room that the redo will need, and write down what it will overwrite.

        OSError without room.
        """
        self._disk.flush()
        below: BlockDevice = self._disk.base(writable=False)
        for step, overlay in zip(self._chain.present(), self._chain.images, strict=True):
            if self._keep_undo and not self._chain.undo(step).exists():
                fresh = self._chain.create_fresh(below.size)
                undo = self._chain.open_image(fresh, backing=None, writable=True)
                capture(overlay, below, undo)
                undo.close()
                rename_file(fresh, self._chain.prepared_undo(step))
            below = overlay
        # Taking room may change the file's time, which the fingerprint has.
        self._fingerprint.lift()
        base, overlays = self._disk.base(writable=False), self._chain.images
        length = max((one.size for one in overlays), default=0)
        # A raw image becomes as long; a qcow2 file grows by what is reserved after its end.
        if isinstance(base, RawFile) and length > base.size:
            self._room.try_length(length)
        self._room.take(room_for_redo(base, overlays))
        self._fingerprint.set()

    def keep(self) -> None:
        self._make_final()
        self._fingerprint.set()

    def commit(self) -> None:
        self._make_final()
        self._room.forget()
        self.discard()

    def discard(self) -> None:
        chain = self._chain
        chain.abandon()
        for step in reversed(chain.steps):
            remove_files(chain.overlay(step), chain.undo(step), chain.prepared_undo(step))
        remove_files(chain.fresh)
        self._fingerprint.lift()
        self._room.give_back()
        self._fingerprint.remove()

    def close(self) -> None:
        with suppress(OSError):  # what could not be written was reported then
            self._chain.close()

    def _renew_top(self) -> None:
        """Replace an empty topmost overlay whose size is not that of the image below."""
        if present := self._chain.present():
            self._chain.open(before=present[-1])
            self._chain.add(present[-1])

    def _make_final(self) -> None:
        """Only what reserve() has prepared is needed: this may be done again until it succeeds."""
        self._begun, begun = True, self._begun
        self._chain.abandon()
        self._fingerprint.lift()  # from here on it is growdisk itself that changes the image
        base = self._disk.base(writable=True)
        if isinstance(base, Qcow2Image):
            base.append_only()  # there the room is
        for step in self._chain.present():
            # The undo file gets its name first, and the overlay goes last: a crash in between
            # merges the same overlay again, and what undoes it is from before the first time.
            if self._chain.prepared_undo(step).exists():
                rename_file(self._chain.prepared_undo(step), self._chain.undo(step))
            path = self._chain.overlay(step)
            overlay = self._chain.open_image(path, backing=base, writable=False)
            redo(overlay, base, keep_room=self._chain.undo(step).exists())
            overlay.close()
            remove_files(path)
        if begun and isinstance(base, Qcow2Image):
            base.forget_unwritten()  # what the attempt before has leaked
        self._room.trim()
        if isinstance(base, Qcow2Image):
            # Not in _put_back(): the room that is given back after it may have the new bits.
            base.try_to_store_bitmaps()
        # The overlays are gone: what comes later reads the image itself.
        self._disk.activate(base)

    def _restore_base(self, step: str) -> None:
        if self._chain.undo(step).exists():
            self._fingerprint.lift()
            undo = self._chain.open_image(self._chain.undo(step), backing=None, writable=False)
            # A raw image's holes are in the reserved room; qcow2 keeps no clusters for zeros.
            base = self._disk.base(writable=True)
            redo(undo, base, free_zeros=isinstance(base, Qcow2Image))
            if isinstance(base, Qcow2Image):
                base.forget_unwritten()  # nothing is; but what became free goes back to the host
            undo.close()


def backing_name(below: Path, directory: Path) -> Path:
    """What an overlay in the run's `directory` calls the file that it lies on.

    A relative name if that can be: the folder may be moved together with the image while the run
    is unfinished. A block device has its folder elsewhere.
    """
    if below.parent == directory:
        return Path(below.name)
    return Path("..", below.name) if below.parent == directory.parent else below.absolute()


# The files of a run's overlays, one a step, and the chain of open images that they make:
#
# guest.raw  <-  01-resize-image.qcow2  <-  02-rewrite-partitions.qcow2  <-  ... (written to)


class OverlayFiles:
    """`steps` are the plan's step names in order; one that was not reached has no overlay."""

    def __init__(self, directory: Path, steps: Sequence[str]) -> None:
        self.directory, self.steps = directory, list(steps)

    def overlay(self, step: str) -> Path:
        return self.directory / f"{self.steps.index(step) + 1:02}-{step}.qcow2"

    def present(self, before: str | None = None) -> list[str]:
        """The steps that have one, of all or of those before `before`."""
        end = self.steps.index(before) if before else None
        return [step for step in self.steps[:end] if self.overlay(step).exists()]


class OverlayChain(OverlayFiles):
    """Keeps `disk`'s active device at the top of the chain."""

    def __init__(self, disk: Disk, directory: Path, steps: Sequence[str]) -> None:
        super().__init__(directory, steps)
        self._disk = disk
        self.fresh = directory / "fresh.qcow2"
        self.images: list[Qcow2Image] = []

    def undo(self, step: str) -> Path:
        return self.overlay(step).with_suffix(".undo")

    def prepared_undo(self, step: str) -> Path:
        """What will be the undo file as soon as the step's overlay is made part of the image."""
        return self.undo(step).with_suffix(".undo-prepared")

    def open(self, before: str | None = None) -> None:
        """Open the overlays of the steps before `before`; the topmost becomes the active device."""
        self.close()
        for step in self.present(before):
            self._push(self.overlay(step))

    def close(self) -> None:
        for image in reversed(self.images):
            image.flush()
        self.abandon()

    def abandon(self) -> None:
        """Close them without writing anything more."""
        for image in reversed(self.images):
            image.abandon()
        self.images.clear()
        self._disk.activate(self._disk.base(writable=False))

    def add(self, step: str) -> None:
        """Put a fresh overlay for `step` on top of the open chain.

        It takes the place of a file that may be there.
        """
        below = self.images[-1].path if self.images else self._disk.path
        fresh = self.create_fresh(
            self._disk.size,
            backing_name(below, self.directory),
            "qcow2" if self.images else self._disk.format,
        )
        rename_file(fresh, self.overlay(step))
        self._disk.flush()
        self._push(self.overlay(step))

    def create_fresh(
        self, size: int, backing: Path | None = None, backing_format: str | None = None
    ) -> Path:
        """The path of a new overlay without its final name: a crash leaves no false overlay."""
        self.fresh.unlink(missing_ok=True)
        create(
            self.fresh,
            size,
            backing=backing,
            backing_format=backing_format,
            luks=self._disk.luks_header,
            mode=0o600,  # the image itself may be private
        )
        return self.fresh

    def open_image(
        self, path: Path, *, backing: ResizableDevice | None, writable: bool
    ) -> Qcow2Image:
        """An image of our own, on a backing device that is open and stays so when it is closed.

        If the disk is encrypted it is too, with the same key: no byte of the guest is stored in the
        clear.
        """
        window = Window(backing, 0, backing.size) if backing is not None else None
        file = RawFile.open(path, writable=writable)
        data = self._disk.unlocked_over(file)
        return Qcow2Image.over(file, path, writable=writable, backing=window, data=data)

    def _push(self, path: Path) -> None:
        image = self.open_image(path, backing=self._disk.active, writable=True)
        self.images.append(image)
        self._disk.activate(image)
