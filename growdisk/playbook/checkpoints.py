"""An image as it was before a play, or before a task that had begun when its process died."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import TypeGuard

from growdisk import api
from growdisk.api.images.data_copy import copy_image
from growdisk.api.images.info import image_info
from growdisk.api.images.new_file import NewFile
from growdisk.api.provisioning.seeding import seed_place
from growdisk.block.host_blocks import free_room
from growdisk.block.raw import RawFile
from growdisk.durable import sync_directory
from growdisk.errors import GrowdiskError, Refused, shell_word
from growdisk.fast_dataclass import dataclass
from growdisk.playbook.options import typed
from growdisk.playbook.perform import TaskResult
from growdisk.playbook.specs import TASKS
from growdisk.qcow2.create import data_file_of
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.header import Header
from growdisk.qcow2.image import Qcow2Image
from growdisk.steps.failures import snapshot_missing
from growdisk.steps.table_steps import RereadPartitions
from growdisk.units import parse_goal_size
from growdisk.workflow.engine import Observer
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.stopping import StopRequest

_SPARE_ROOM = 64 << 20
_GET_GENERATION = 0x80087601  # FS_IOC_GETVERSION: a file that gets the inode of a removed one


def file_identity(path: Path) -> str:
    """Which file it is, whatever its name; "" for none, and for a device."""
    inode = generation = ""
    with suppress(OSError):  # nobody may look; or a file system without generations
        if path.is_file():
            inode = str(path.stat().st_ino)
            with path.open("rb") as file:
                generation = fcntl.ioctl(file, _GET_GENERATION, bytes(8)).hex()
    return inode and f"{inode}-{generation}"


@dataclass(frozen=True)
class TaskCheckpoint:
    """What a task was about to touch.

    `run` is the last run recorded beside the image ("" for none), `size` the virtual size in bytes
    (0 if it could not be read), `made` a file that was not there.
    """

    image: Path | None
    run: str = ""
    size: int = 0
    made: Path | None = None

    @classmethod
    def of(cls, image: Path | None, made: Path | None) -> TaskCheckpoint:
        if image is None or not image.exists():
            return cls(image, made=made)
        try:
            size = image_info(image).virtual_size
        except GrowdiskError:
            size = 0
        return cls(image, api.status(image).run or "", size, made)

    def pinned(self, task: str, options: Mapping[str, object]) -> Mapping[str, object]:
        """The options with a fixed size: growing by an amount must not happen twice.

        Only `image` needs it, which has no run that would show whether it was done.
        """
        size = options.get("size")
        if task != "image" or not size or not self.size:
            return options
        try:
            spec = parse_goal_size(str(size))
        except GrowdiskError:
            return options  # the task itself will say so
        # +10G of 40G is 50G, also if the disk has 50G by now.
        return {**options, "size": f"{spec.resolve(self.size)}b"}

    def finish(
        self, options: Mapping[str, object], stop: StopRequest, observer: Observer
    ) -> TaskResult | None:
        """Finish what the task had begun on its image, in the direction in which it was going.

        None if nothing of it is left, so that the task is to be done: it never began, or was
        restored.
        """
        if self.image is None or not self.image.exists():
            return None
        status = api.status(self.image)
        # The task has not begun a run of its own: the last one is from before it.
        if status.run is None or status.run == self.run:
            return None
        from growdisk.playbook.tasks.expand import outcome_of
        from growdisk.playbook.tasks.steps import swaps_of_run

        # Any task with key_file would do: typed() makes paths, and wants its required image.
        given = {"image": "-", "key_file": options.get("key_file")}
        keys = typed(TASKS["grow_filesystem"], given).keys()
        result = api.resume(self.image, observer, stop, keys)
        outcome = outcome_of(result)
        if outcome.failed:
            return outcome
        # Restored: the task is to be done as if it had never begun.
        if api.status(self.image).state not in ("done", "kept"):
            return None
        # A look at the table is a run, too, and changes nothing.
        changed = any(s.state == "done" and s.name != RereadPartitions.name for s in result.steps)
        swaps = swaps_of_run(RunDirectory.of(self.image))
        return TaskResult(
            changed, outcome.message, {**outcome.result, "result": "changed", **swaps}, outcome.diff
        )


def made_beside(task: str, options: Mapping[str, object], image: Path | None) -> Iterator[Path]:
    """What a task may make beside its new image: a seed, an external data file."""
    if image is not None and task == "provision":
        yield seed_place(image)
    given = options.get("options")
    if image is not None and isinstance(given, Mapping) and given.get("data_file"):
        yield data_file_of(image, str(given["data_file"]))


class PlaySnapshot:
    """For one image of one play; `name` is unique to both.

    A qcow2 image of version 3 gets an internal snapshot, which costs next to nothing; any other
    file a sparse copy. Names follow from the run alone, so that another process finds them; every
    method may be called again after a crash.
    """

    def __init__(self, image: Path, run: str, play: int) -> None:
        self._image = image.resolve()
        self._name = f"growdisk-play-{run}-{play}"
        self.copy = self._image.with_name(f".{self._image.name}.{self._name}")
        self._unfinished = self.copy.with_name(self.copy.name + ".part")

    def take(self) -> None:
        """Kept as it is if it is there already."""
        info = image_info(self._image)
        if _has_snapshots(info.header):
            if self._name not in [snapshot.name for snapshot in info.snapshots]:
                with self._opened() as image:
                    image.create_snapshot(self._name)
            return
        if self.copy.exists():
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
        self._unfinished.replace(self.copy)
        sync_directory(self.copy.parent)

    def refuse_missing(self) -> None:
        """snapshot-missing if somebody has removed it."""
        names = [snapshot.name for snapshot in image_info(self._image).snapshots]
        if self._name not in names and not self.copy.exists():
            copied = f"cp {shell_word(self._image)} {shell_word(self.copy)}"
            hint = f"{copied} lets the image stay as it is now"
            raise snapshot_missing(self._name, self._image, hint)

    def restore(self) -> None:
        """The image is as it was; nothing of the snapshot is left."""
        self._remove_unfinished()
        # There is a copy only if the file had no snapshots when the play began.
        if self.copy.exists():
            # ImageInUse while somebody writes to the file that is to be replaced.
            image = self._image
            with closing(RawFile.open(image, writable=True)) if image.exists() else nullcontext():
                self.copy.replace(image)
            sync_directory(image.parent)
        else:
            self._delete_snapshot(apply=True)

    def forget(self) -> None:
        """The image stays as it is; nothing of the snapshot is left."""
        self._remove_unfinished()
        self.copy.unlink(missing_ok=True)
        self._delete_snapshot(apply=False)

    def is_after(self, name: str) -> bool:
        """Whether another snapshot was there before this one, which does not bring that back."""
        names = [snapshot.name for snapshot in image_info(self._image).snapshots]
        return self._name in names and name in names[: names.index(self._name)]

    def _delete_snapshot(self, *, apply: bool) -> None:
        info = image_info(self._image)
        found = self._name in [snapshot.name for snapshot in info.snapshots]
        # Dirty: opening repairs it, and then it is known whether the snapshot is there.
        if not _has_snapshots(info.header) or not (found or info.header.has(Incompatible.DIRTY)):
            return
        with self._opened() as image:
            if self._name in [snapshot.name for snapshot in image.snapshots()]:
                if apply:
                    # Apply keeps the snapshot: after a crash here both are done again.
                    image.apply_snapshot(self._name)
                image.delete_snapshot(self._name)

    def _remove_unfinished(self) -> None:
        """A copy that was cut short."""
        NewFile(self._unfinished).remove_left_over()
        self._unfinished.unlink(missing_ok=True)

    def _opened(self) -> Qcow2Image:
        """The image, opened to write."""
        # Without a guard: a play's snapshot is older than the runs of its own tasks.
        return Qcow2Image.open(self._image, writable=True, with_backing=False)

    def _refuse_no_room(self) -> None:
        # st_blocks counts 512 bytes; holes of the image stay holes in the copy.
        needed = self._image.stat().st_blocks * 512 + _SPARE_ROOM
        free = free_room(self._image.parent)
        reason = (
            f"only qcow2 v3 has snapshots for that, and a copy needs {needed} bytes, of which "
            f"{free} are free"
        )
        if not self._image.is_file():
            reason = "it is a block device, and would have to be copied"
        elif free >= needed:
            return
        raise Refused.named(
            "no-room-for-copy",
            "there is no way back from a whole play on {image}",
            "{reason}",
            "let each task be its own way back: growdisk_on_failure: task",
            {"image": self._image, "reason": reason},
        )


def _has_snapshots(header: Header | None) -> TypeGuard[Header]:
    """Whether it is an image whose snapshots know its size."""
    # A snapshot of version 2 need not record the disk's size: it could not undo growth.
    return header is not None and header.version >= 3
