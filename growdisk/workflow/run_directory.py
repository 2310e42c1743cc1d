"""The folder that holds a run: its plan, its journal, and what its snapshots need.

`IMAGE.growdisk/` next to an image file; that of a block device is in the state folder
(run_places.py).

When the run is finished its record (a few KiB) goes to the state folder, and nothing is left next
to the image. `reserve` sets a little of the host's disk aside, because restoring must be possible
exactly when the disk is full.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from growdisk.block.identity import lasting_path
from growdisk.block.locks import flock_holder, image_writers
from growdisk.durable import read_record, replace_file, reserve_room, sync_directory, truncate_file
from growdisk.errors import ImageNotReadable, Refused
from growdisk.workflow.failures import run_not_recorded, run_stands_in_the_way
from growdisk.workflow.journal import (
    Journal,
    JournalRecord,
    RunState,
    RunStatus,
    fold,
    read_journal,
    record_unreadable,
)
from growdisk.workflow.run_places import (
    image_beside,
    note_in_file,
    record_folder,
    remove_note,
    run_folder,
    same_bytes,
)
from growdisk.workflow.run_records import (
    is_record_of,
    keep_record,
    make_folder,
    unfinished_record,
)

RESERVE = 8 << 20
# several times what a run that fails and is restored again and again has to record
JOURNAL_ROOM = 128 << 10
# A folder without either is not a run: what is in it is left over from one.
_MAIN_FILES = ("plan.json", "part-of.json")
# What can be left there of a run that never began, or of one that was put away. No snapshots.
_OURS = (
    r"((plan|part-of|held-room)\.json|journal\.jsonl|reserve|trial|pin(\.lifted)?|fresh\.qcow2|"
    r"\d\d+-.+\.(qcow2|undo|undo-prepared))(\.new)?"
)
_LEFT_OVER = ("journal.jsonl", "reserve", "trial", *(f"{name}.new" for name in _MAIN_FILES))


class RunDirectory:
    """The run of `image`, a file or a device, if there is one."""

    def __init__(self, image: Path, path: Path | None = None) -> None:
        self.image = image
        self.path = path or run_folder(image)
        self.journal_file = self.path / "journal.jsonl"
        self._reserve = self.path / "reserve"

    @property
    def plan_file(self) -> Path:
        return self._shown / "plan.json"

    @property
    def _shown(self) -> Path:
        """Where the last run can be read: this folder, or its record."""
        if self._is_run:
            return self.path
        return (
            record if is_record_of(record := record_folder(self.image), self.image) else self.path
        )

    @property
    def _is_run(self) -> bool:
        return any(_is_there(self.path / name) for name in _MAIN_FILES)

    @classmethod
    def of(cls, path: Path) -> RunDirectory:
        """The run of the image at `path`, links followed, or of the device.

        ImageNotReadable if there can be none; record-unreadable if its folder may not be entered.
        """
        try:
            directory = cls(lasting_path(path) if path.is_block_device() else path.resolve())
            _is_there(directory.plan_file)
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno == errno.EACCES and os.path.exists(path):  # noqa: PTH110 (raises not)
                raise record_unreadable(Path(error.filename), reason) from error
            raise ImageNotReadable(path, reason=reason) from error
        except RuntimeError as error:
            raise ImageNotReadable(path, reason="it is a link that leads to itself") from error
        except ValueError as error:
            raise ImageNotReadable(path, reason="it is not the name of a file") from error
        return directory

    def records(self) -> list[JournalRecord]:
        return read_journal(self._shown / "journal.jsonl")

    def state(self) -> RunState:
        """How the run stands. A plan without a journal is one that never began."""
        shown = self._shown
        is_run = _is_there(shown / "plan.json")
        return fold(read_journal(shown / "journal.jsonl")) if is_run else RunState()

    def refuse_unrecorded(self, image: Path) -> None:
        """run-not-recorded if `begin` could not make the folder, as far as reading shows."""
        existing = next(path for path in (self.path, *self.path.parents) if os.path.lexists(path))
        if not existing.is_dir() or os.path.islink(self.path):  # noqa: PTH114 (raises not)
            raise run_not_recorded(image, self.path, f"{existing} is not a folder")
        if not os.access(existing, os.W_OK | os.X_OK, effective_ids=True):
            raise run_not_recorded(image, self.path, f"nothing can be made in {existing}")
        # What a run leaves there goes when the next begins, and when that has ended.
        names = self._names() if existing == self.path else []
        if strange := [name for name in names if not re.fullmatch(_OURS, name)]:
            reason = f"{strange[0]} in it is not growdisk's"
            raise run_not_recorded(image, self.path, reason, "move that folder to another place")
        longest = os.pathconf(existing, "PC_NAME_MAX")
        if len(os.fsencode(self.path.name)) > longest:
            reason = f"a name has {longest} bytes at most there"
            raise run_not_recorded(image, self.path, reason, "give the image a shorter name")

    def begin(self, plan: bytes, room: int = 0) -> Journal:
        """Make the folder hold a new run that has not begun yet.

        What a finished run left there goes. OSError if it cannot be written, or if the host,
        or a quota, would not give `room` bytes more.
        """
        self._clear()
        self.set_aside()
        self._try_room(room)
        # The plan last: a folder without it is not a run, so a crash before leaves nothing to undo.
        replace_file(self.path / "plan.json", plan)
        return Journal(self.journal_file)

    def take_part(self, main: RunDirectory) -> None:
        """Make the folder say that the image takes part in the run that is recorded in `main`."""
        self._clear()
        replace_file(
            self.path / "part-of.json",
            json.dumps({"image": str(main.image), "run": main.run()}).encode(),
        )

    def leading(self) -> RunDirectory:
        """Where the run is recorded that the image is part of; this folder if it has its own."""
        try:
            main, run = self._part_of()
            return main if main.run() == run else self
        except (OSError, ValueError, KeyError, TypeError, Refused):
            return self

    def never_began(self) -> bool:
        """Whether growdisk was killed just before it began the run that this folder is of.

        Images have the mark of such a run already, and nothing else of it.
        """
        if _is_there(self.path / "plan.json"):
            return not self.records()
        try:
            main, run = self._part_of()
            return main.never_began() or main.run() != run
        except (OSError, ValueError, KeyError, TypeError, Refused):
            return False

    def _part_of(self) -> tuple[RunDirectory, str]:
        """(where the run is recorded that the image takes part in, the run's name)."""
        recorded = json.loads(read_record(self._shown / "part-of.json"))
        return RunDirectory(Path(recorded["image"])), recorded["run"]

    def run(self) -> str:
        """The name of the run whose plan is recorded here."""
        try:
            name: str = json.loads(self.plan_text())["run"]
        except (ValueError, LookupError, TypeError) as error:
            raise record_unreadable(self.plan_file, reason="it does not name its run") from error
        return name

    def plan_text(self) -> bytes:
        """What the plan's file holds. record-unreadable if it cannot be read."""
        try:
            return read_record(self.plan_file)
        except OSError as error:
            raise record_unreadable(self.plan_file, reason=error.strerror or str(error)) from error

    def _clear(self) -> None:
        # The folder itself must outlive a power cut before what is written in it counts.
        make_folder(self.path)
        sync_directory(self.path.parent)
        self._empty()
        note_in_file(self.image, self.path)

    def _empty(self) -> None:
        # The journal first: a plan without one is a run that never began.
        self._remove("journal.jsonl", *self._names())

    def _names(self) -> list[str]:
        return [file.name for file in self.path.iterdir()]

    def _remove(self, *names: str) -> None:
        """Remove those files that can be growdisk's; NotADirectoryError if the folder is a link."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            for name in filter(partial(re.fullmatch, _OURS), names):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=fd)
        finally:
            os.close(fd)

    def set_aside(self) -> None:
        """Take the reserve from the host's disk.

        OSError if there is none left: then no run should begin.
        """
        reserve_room(self.journal_file, JOURNAL_ROOM)
        sync_directory(self.path)
        with self._reserve.open("wb") as file:
            # Really allocated: a sparse file would give nothing back on a full disk.
            os.posix_fallocate(file.fileno(), 0, RESERVE)

    def _try_room(self, room: int) -> None:
        """Take the space, and free it at once: only then is it known to be there."""
        trial = self._reserve.with_name("trial")
        try:
            reserve_room(trial, room)
        except OSError as error:
            # the image's file is another one, and may be long enough
            if error.errno != errno.EFBIG:
                raise
        finally:
            trial.unlink(missing_ok=True)

    def make_room(self) -> None:
        """Free the reserve. An error in that must not hide why it is needed."""
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)

    def put_away(self) -> None:
        """Let nothing but the record of a finished run stay, in the state folder.

        The caller has the image to itself: a folder without a run is not the beginning of one.
        """
        # If the record cannot be read or written, the folder stays: it is as good a record.
        with contextlib.suppress(OSError, Refused):
            names = _LEFT_OVER
            if self._is_run:
                # Whatever is recorded: nothing goes that a guest writes to.
                written_to = any(image_writers(file) for file in self.path.glob("*.qcow2"))
                if written_to or not self.leading().state().finished:
                    return
                keep_record(self.path, record_folder(self.image), self.image)
                remove_note(self.image)
                # The plan first: what is cut short here is not a run any more.
                names = (*_MAIN_FILES, *self._names())
            self._remove(*names)
            self.path.rmdir()

    def forget(self) -> None:
        """The image is another one now: neither run nor record is about it."""
        record = record_folder(self.image)
        remove_note(self.image)
        for folder in (record, unfinished_record(record)):
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self._empty()
            self.path.rmdir()

    def runs(self) -> Iterator[RunDirectory]:
        """All runs that are about the image's bytes, under whichever of their names."""
        yield self.leading()
        # Those of a loop device on the image, or of the file that it shows.
        for folder in same_bytes(self.image):
            if _is_there(folder / "part-of.json") or _is_there(folder / "plan.json"):
                yield RunDirectory(_image_of(folder), folder).leading()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Others can see that this process is at work on the run, until it ends or dies.

        It keeps nobody out: the lock on the image does.
        """
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with contextlib.suppress(OSError):  # a file system without locks: then nobody sees it
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(fd)

    def worker(self) -> int | None:
        """The process that is at work on the run; None if none is."""
        return flock_holder(self.path)

    def finish(self) -> None:
        """Free reserved space that is no longer needed: the run is over, or is kept."""
        self.make_room()
        # How the run has ended is told by others, who do not fail because this does.
        with contextlib.suppress(OSError, Refused):
            if self.state().finished:
                # Cut to its own length, a file gives back the blocks reserved after its end.
                truncate_file(self.journal_file, self.journal_file.stat().st_size)

    def withdraw(self) -> None:
        """After a `begin` that failed: leave no folder of a run that never began."""
        self.make_room()
        with contextlib.suppress(OSError):
            if self.state().status is RunStatus.NONE:
                remove_note(self.image)
                self._empty()
                self.path.rmdir()


def refuse_if_open(directory: RunDirectory, *, unless_kept: bool = False) -> None:
    """run-stands-in-the-way while a run is unfinished or kept.

    A kept run blocks only runs that would change something: see `unless_kept`.
    """
    for run in directory.runs():
        state = run.state()
        if state.is_open and not (unless_kept and state.status is RunStatus.KEPT):
            raise run_stands_in_the_way(run.image, state=state.status.value)


def _is_there(path: Path) -> bool:
    """Whether a file exists. An image's name may be too long for its folder to have one."""
    try:
        return path.exists()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def _image_of(folder: Path) -> Path:
    # The plan has its path as it was typed, perhaps in another folder.
    if (beside := image_beside(folder)) != folder and beside.exists():
        return beside
    try:
        return Path(json.loads(read_record(folder / "plan.json"))["before"]["image"]["path"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise record_unreadable(
            folder / "plan.json", reason="it does not name its image"
        ) from error
