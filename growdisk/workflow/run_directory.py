"""The folder beside an image, `IMAGE.growdisk/`, that holds a run: its plan, its journal, and what its snapshots need.

It stays after the run as its record (a few KiB) and is taken over by the next one. `reserve` sets a little of the
host's disk aside, because going back must be possible exactly when the disk is full.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from growdisk.block.locks import flock_holder
from growdisk.durable import replace_file, reserve_room, sync_directory, truncate_file
from growdisk.errors import ImageNotReadable, Refused
from growdisk.workflow.journal import Journal, Record, read_journal
from growdisk.workflow.states import RunState, Status, fold

RESERVE = 8 << 20
JOURNAL_ROOM = 128 << 10  # several times what a run that fails and goes back again and again has to tell


@dataclass(eq=False)
class RunStandsInTheWay(Refused):
    WHAT: ClassVar[str] = "{image} still has {what_is_left}"
    WHY: ClassVar[str] = "{because}"
    DO: ClassVar[str] = "growdisk {first} {image}, or growdisk rollback {image}; growdisk status {image} says more"
    image: Path
    state: str

    @property
    def what_is_left(self) -> str:
        return "an unfinished run" if self.state == "unfinished" else "the snapshots of its last run"

    @property
    def because(self) -> str:
        return "it was cut short" if self.state == "unfinished" else "it was done with --keep-snapshots"

    @property
    def first(self) -> str:
        return "resume" if self.state == "unfinished" else "commit"


@dataclass(eq=False)
class NoSuchRun(Refused):
    WHAT: ClassVar[str] = "there is nothing to {verb} for {image}"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "growdisk status {image} says how it stands"
    image: Path
    verb: str
    reason: str = "no run of growdisk is recorded beside it"


@dataclass(eq=False)
class RunNotRecorded(Refused):
    WHAT: ClassVar[str] = "cannot begin a run on {image}"
    WHY: ClassVar[str] = "its journal lies in {image}.growdisk, which cannot be written: {reason}"
    DO: ClassVar[str] = "make that folder writable and give it some space, then run the same command again"
    image: Path
    reason: str


class RunDirectory:
    """The run recorded beside `image`, if there is one."""

    def __init__(self, image: Path) -> None:
        self.image = image
        self.path = image.with_name(image.name + ".growdisk")
        self.plan_file = self.path / "plan.json"
        self.journal_file = self.path / "journal.jsonl"
        self._reserve = self.path / "reserve"
        self._part_file = self.path / "part-of.json"

    @classmethod
    def beside(cls, path: Path) -> RunDirectory:
        """The run of the image at `path`, links followed. ImageNotReadable where there can be none."""
        try:
            directory = cls(path.resolve())
            directory.plan_file.exists()
        except OSError as error:
            raise ImageNotReadable(path, reason=error.strerror or str(error)) from error
        except RuntimeError as error:
            raise ImageNotReadable(path, reason="it is a link that leads to itself") from error
        except ValueError as error:
            raise ImageNotReadable(path, reason="it is not the name of a file") from error
        return directory

    def records(self) -> list[Record]:
        return read_journal(self.journal_file)

    def state(self) -> RunState:
        """How the run stands. A plan without a journal is one that never began."""
        return fold(self.records()) if self.plan_file.exists() else RunState()

    def begin(self, plan: bytes, room: int = 0) -> Journal:
        """Make the folder hold a new run that has not begun yet. What a finished run left there goes.

        OSError where it cannot be written, or where the host, or a quota, would not give `room` bytes more.
        """
        self._clear()
        self.set_aside()
        self._try_room(room)
        replace_file(self.plan_file, plan)
        return self.journal()

    def take_part(self, main: RunDirectory) -> None:
        """Make the folder say that the image takes part in the run that is recorded in `main`."""
        self._clear()
        replace_file(self._part_file, json.dumps({"image": str(main.image), "run": main.run()}).encode())

    def leading(self) -> RunDirectory:
        """Where the run is recorded that the image takes part in; this folder, where that is a run of its own."""
        try:
            told = json.loads(self._part_file.read_bytes())
            main = RunDirectory(Path(told["image"]))
            return main if main.run() == told["run"] else self
        except (OSError, ValueError, KeyError, TypeError):
            return self

    def run(self) -> str:
        """The name of the run whose plan is recorded here."""
        name: str = json.loads(self.plan_file.read_bytes())["run"]
        return name

    def _clear(self) -> None:
        self.path.mkdir(exist_ok=True)
        sync_directory(self.path.parent)
        self._empty()

    def _empty(self) -> None:
        for name in ("journal.jsonl", *(file.name for file in self.path.iterdir())):
            (self.path / name).unlink(missing_ok=True)

    def journal(self) -> Journal:
        return Journal(self.journal_file)

    def set_aside(self) -> None:
        """Take the reserve from the host's disk. OSError where there is none left: then no run should begin."""
        reserve_room(self.journal_file, JOURNAL_ROOM)
        sync_directory(self.path)
        with self._reserve.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, RESERVE)

    def _try_room(self, room: int) -> None:
        """Only what is really taken is known to be there: so it is taken, and given back at once."""
        trial = self._reserve.with_name("trial")
        try:
            reserve_room(trial, room)
        except OSError as error:
            if error.errno != errno.EFBIG:  # the image's file is another one, and may be long enough
                raise
        finally:
            trial.unlink(missing_ok=True)

    def make_room(self) -> None:
        """Give the reserve back. Whatever hinders that must not hide why it is needed."""
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Others can see that this process is at work on the run, until it ends or dies. It keeps nobody out: the lock
        on the image does."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with contextlib.suppress(OSError):  # a file system without locks: then nobody sees it
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(fd)

    def worker(self) -> int | None:
        """The process that is at work on the run; None where none is."""
        return flock_holder(self.path)

    def finish(self) -> None:
        """The run is over, or leaves a way back: give back what was set aside and is not needed any more."""
        self.make_room()
        with contextlib.suppress(OSError):
            if self.state().finished:
                truncate_file(self.journal_file, self.journal_file.stat().st_size)

    def withdraw(self) -> None:
        """After a `begin` that failed: leave no folder behind of a run that never began."""
        self.make_room()
        with contextlib.suppress(OSError):
            if self.state().status is Status.NONE:
                self._empty()
                self.path.rmdir()


def refuse_if_unfinished(directory: RunDirectory) -> None:
    """RunStandsInTheWay while a run is unfinished. A kept one hinders only who has something to do."""
    _refuse(directory, Status.UNFINISHED)


def refuse_if_open(directory: RunDirectory) -> None:
    """RunStandsInTheWay while a run is unfinished or kept."""
    _refuse(directory, Status.UNFINISHED, Status.KEPT)


def _refuse(directory: RunDirectory, *statuses: Status) -> None:
    leading = directory.leading()
    status = leading.state().status
    if status in statuses:
        raise RunStandsInTheWay(leading.image, state=status.value)
