"""The way back from a whole play: how each image was before the play's first task touched it.

A qcow2 image of version 3 gets an internal snapshot, which costs next to nothing; any other file a
sparse copy. Names follow from the run alone, so that another process finds them; every method may
be called again after a crash.
"""

from __future__ import annotations

import os
import shutil
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path

from growdisk.api.images.data_copy import copy_image
from growdisk.api.images.info import image_info
from growdisk.api.images.new_file import NewFile
from growdisk.block.host_blocks import free_room
from growdisk.block.raw import RawFile
from growdisk.durable import sync_directory
from growdisk.errors import Refused
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.image import Qcow2Image

_ROOM_TO_SPARE = 64 << 20


def _no_room_for_copy(image: Path, reason: str) -> Refused:
    return Refused.named(
        "no-room-for-copy",
        "there is no way back from a whole play on {image}",
        "{reason}",
        "let each task be its own way back: growdisk_on_failure: task",
        {"image": image, "reason": reason},
    )


class PlaySnapshot:
    """For one image of one play; `name` is unique to both."""

    def __init__(self, image: Path, run: str, play: int) -> None:
        self._image = image.resolve()
        self._name = f"growdisk-play-{run}-{play}"
        self._copy = self._image.with_name(f".{self._image.name}.{self._name}")
        self._unfinished = self._copy.with_name(self._copy.name + ".part")

    def take(self) -> None:
        """Kept as it is if it is there already."""
        if self._has_snapshots():
            if not self._has_snapshot():
                with self._opened() as image:
                    image.create_snapshot(self._name)
            return
        if self._copy.exists():
            return
        self._refuse_no_room()
        self._remove_unfinished()
        copy_image(self._image, self._unfinished, "auto", lambda done, total: None)
        # restore() renames the copy over the image: so it has the image's mode, times and owner.
        shutil.copystat(self._image, self._unfinished)
        status = self._image.stat()
        if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(self._unfinished, status.st_uid, status.st_gid)
        # Under its name it is whole or not there: half a copy would be restored as the image.
        self._unfinished.replace(self._copy)
        sync_directory(self._copy.parent)

    def restore(self) -> None:
        """The image is as it was; nothing of the way back is left."""
        self._remove_unfinished()
        # There is a copy only if the file had no snapshots when the play began.
        if self._copy.exists():
            with self._locked():
                self._copy.replace(self._image)
            sync_directory(self._image.parent)
        # Dirty: taking the snapshot may have been cut short. Opening repairs the image, and only
        # then it is known whether the snapshot is there.
        elif self._has_snapshots() and (self._has_snapshot() or self._is_dirty()):
            with self._opened() as image:
                if self._name in _names(image):
                    # Apply keeps the snapshot: after a crash here both are done again.
                    image.apply_snapshot(self._name)
                    image.delete_snapshot(self._name)

    def forget(self) -> None:
        """The image stays as it is; nothing of the way back is left."""
        self._remove_unfinished()
        self._copy.unlink(missing_ok=True)
        if self._has_snapshots() and (self._has_snapshot() or self._is_dirty()):
            with self._opened() as image:
                if self._name in _names(image):
                    image.delete_snapshot(self._name)

    def _remove_unfinished(self) -> None:
        """Where a copy was cut short."""
        NewFile(self._unfinished).remove_left_over()
        self._unfinished.unlink(missing_ok=True)

    def _locked(self) -> AbstractContextManager[object]:
        """ImageInUse while somebody writes to the file that is to be replaced."""
        if not self._image.exists():
            return nullcontext()
        return closing(RawFile.open(self._image, writable=True))

    def _opened(self) -> Qcow2Image:
        """The image, opened to write."""
        # Without the guard that `growdisk image` has, which refuses an image in a run: a play's way
        # back goes before the runs of its own tasks.
        return Qcow2Image.open(self._image, writable=True, with_backing=False)

    def _has_snapshots(self) -> bool:
        """Whether the image is one whose snapshots know its size."""
        info = image_info(self._image)
        # A snapshot of version 2 need not record the disk's size: it could not undo growth.
        return info.header is not None and info.header.version >= 3

    def _has_snapshot(self) -> bool:
        return self._name in [snapshot.name for snapshot in image_info(self._image).snapshots]

    def _is_dirty(self) -> bool:
        """Whether a change was cut short; it is repaired when the image is opened to write."""
        header = image_info(self._image).header
        return header is not None and header.has(Incompatible.DIRTY)

    def _refuse_no_room(self) -> None:
        if not self._image.is_file():
            raise _no_room_for_copy(
                self._image, reason="it is a block device, and would have to be copied"
            )
        # st_blocks counts 512 bytes; holes of the image stay holes in the copy.
        needed = self._image.stat().st_blocks * 512 + _ROOM_TO_SPARE
        free = free_room(self._image.parent)
        if free < needed:
            reason = (
                f"only qcow2 v3 has snapshots for that, and a copy needs {needed} bytes, of "
                f"which {free} are free"
            )
            raise _no_room_for_copy(self._image, reason=reason)


def _names(image: Qcow2Image) -> list[str]:
    return [snapshot.name for snapshot in image.snapshots()]
