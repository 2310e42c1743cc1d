"""The files of a run's overlays, one a step, and the chain of open images that they make.

guest.raw  <-  01-resize-image.qcow2  <-  02-rewrite-partitions.qcow2  <-  ...  (the top one is written to)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from growdisk.block.device import BlockDevice, ResizableDevice
from growdisk.block.raw import RawFile
from growdisk.block.window import Window
from growdisk.durable import sync_directory
from growdisk.qcow2.create import create
from growdisk.qcow2.image import Qcow2Image
from growdisk.steps.disk import Disk


class OverlayChain:
    """Keeps `disk`'s active device at the top of the chain. `steps` are the plan's step names in order."""

    def __init__(self, disk: Disk, directory: Path, steps: Sequence[str]) -> None:
        self._disk, self._directory, self.steps = disk, directory, list(steps)
        self.fresh = directory / "fresh.qcow2"
        self.images: list[Qcow2Image] = []

    def overlay(self, step: str) -> Path:
        return self._directory / f"{self.steps.index(step) + 1:02}-{step}.qcow2"

    def undo(self, step: str) -> Path:
        return self.overlay(step).with_suffix(".undo")

    def prepared_undo(self, step: str) -> Path:
        """What will be the undo file as soon as the step's overlay is made part of the image."""
        return self.undo(step).with_suffix(".undo-prepared")

    def use_prepared_undo(self, step: str) -> None:
        if self.prepared_undo(step).exists():
            self.publish(self.prepared_undo(step), self.undo(step))

    def layers(self) -> Iterator[tuple[str, Qcow2Image, BlockDevice]]:
        """Each open overlay with its step and what lies below it, the oldest first."""
        below: BlockDevice = self._disk.base(writable=False)
        for step, image in zip([step for step in self.steps if self.overlay(step).exists()], self.images, strict=True):
            yield step, image, below
            below = image

    def open(self, before: str | None = None) -> None:
        """Open what the files say, of the steps before `before`, and make the top the active device."""
        self.close()
        for step in self.steps[: self.steps.index(before) if before else None]:
            if self.overlay(step).exists():
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
        """A fresh overlay for `step` on top of the open chain, in place of a file that may be there."""
        below = self.images[-1].path.name if self.images else self._base_name()
        fresh = self.create_fresh(self._disk.size, Path(below), "qcow2" if self.images else self._disk.format)
        self.publish(fresh, self.overlay(step))
        self._disk.flush()
        self._push(self.overlay(step))

    def _base_name(self) -> str:
        image = self._disk.path
        return f"../{image.name}" if image.parent == self._directory.parent else str(image.absolute())

    def create_fresh(self, size: int, backing: Path | None = None, backing_format: str | None = None) -> Path:
        """A file that has no name of its own yet: a crash leaves nothing that looks like an overlay."""
        self.fresh.unlink(missing_ok=True)
        create(self.fresh, size, backing=backing, backing_format=backing_format, luks=self._disk.luks_header)
        return self.fresh

    def publish(self, fresh: Path, path: Path) -> None:
        """Give a finished file its name: it appears whole or not at all."""
        fresh.replace(path)
        sync_directory(self._directory)

    def remove(self, path: Path) -> None:
        if path.exists():
            path.unlink()
            sync_directory(self._directory)

    def open_image(self, path: Path, *, backing: ResizableDevice | None, writable: bool) -> Qcow2Image:
        """An image of our own making, on a backing device that is open already and stays so when it is closed.

        Where the disk is encrypted it is, too, with the same key: no byte of the guest lies here in the clear.
        """
        window = Window(backing, 0, backing.size) if backing is not None else None
        file = RawFile.open(path, writable=writable)
        data = self._disk.unlocked_over(file)
        return Qcow2Image.over(file, path, writable=writable, backing=window, data=data)

    def _push(self, path: Path) -> None:
        image = self.open_image(path, backing=self._disk.active, writable=True)
        self.images.append(image)
        self._disk.activate(image)
