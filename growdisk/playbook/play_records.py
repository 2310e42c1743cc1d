"""What is recorded of a playbook's run until it has ended, below $XDG_STATE_HOME/growdisk.

    plays/20261125-210000-ab12/run.json     what was asked, so that --resume asks the same
    plays/20261125-210000-ab12/0-0.jsonl    the journal of the first host in the first play
    plays/.20261125-210000-ab12/            one that is just being written or removed
    images/<hash of the path>               which run works on that image; locked while it does

A run that ended in order leaves nothing; one that was cut short leaves its folder, for --resume or
--undo.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from growdisk.durable import alone_in, open_locked, replace_file, sync_directory, user_folder
from growdisk.errors import Refused
from growdisk.fast_dataclass import asdict
from growdisk.host.json_codec import converted
from growdisk.playbook.checkpoints import TaskCheckpoint, file_identity
from growdisk.playbook.reports import HostReport
from growdisk.playbook.task_run import FinishedTask
from growdisk.workflow.journal import Event, Journal, JournalRecord

_DESCRIPTION = "run.json"
T = TypeVar("T")


@contextmanager
def _recording(folder: Path) -> Iterator[None]:
    """state-not-writable if that fails."""
    try:
        yield
    except OSError as error:
        raise Refused.named(
            "state-not-writable",
            "cannot record what is done",
            "{folder}: {reason}",
            "make that folder writable, or let XDG_STATE_HOME name another",
            {"folder": folder, "reason": error.strerror or str(error)},
        ) from error


def state_home() -> Path:
    return user_folder("XDG_STATE_HOME", ".local/state")


class RunFolder:
    """The folder of one run of a playbook: what was run, and a journal for each play and host."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.path = state_home() / "plays" / run
        self._description = self.path / _DESCRIPTION
        self._hidden = self.path.with_name(f".{run}")

    def begin(self, description: Mapping[str, object]) -> None:
        """Record it, whole or not at all."""
        content = json.dumps(description, indent=1, default=str).encode()
        plays = self.path.parent
        with _recording(self.path):
            plays.mkdir(mode=0o755, parents=True, exist_ok=True)
            with alone_in(plays) as alone:
                # What is half written there while nobody else records is of a killed process.
                for hidden in plays.glob(".*") if alone else ():
                    shutil.rmtree(hidden, ignore_errors=True)
                self._hidden.mkdir(mode=0o755)
                # The folder gets its name when it is complete, for is_unfinished.
                replace_file(self._hidden / _DESCRIPTION, content)
                self._hidden.rename(self.path)
            sync_directory(plays)

    def description(self) -> dict[str, object]:
        found: object = json.loads(self._description.read_bytes())
        assert isinstance(found, dict)
        return found

    @property
    def is_unfinished(self) -> bool:
        return self._description.is_file()

    def journal(self, play: int, host: int) -> Path:
        return self.path / f"{play}-{host}.jsonl"

    def finish(self) -> None:
        """Nothing is left to do: the record goes, at once as far as others see."""
        with suppress(OSError):  # else --resume finds it, and that all has ended
            self.path.rename(self._hidden)
        shutil.rmtree(self._hidden, ignore_errors=True)


def unfinished_run(playbook: Path, verb: str) -> RunFolder:
    """The newest run of the playbook that was cut short. nothing-unfinished."""
    folder, wanted = state_home() / "plays", os.path.realpath(playbook)
    # A run's name begins with its time: the newest comes first.
    for path in sorted(folder.glob("[!.]*"), reverse=True):
        run = RunFolder(path.name)
        if run.is_unfinished and run.description().get("playbook") == wanted:
            return run
    raise Refused.named(
        "nothing-unfinished",
        "there is no run of {playbook} to {verb}",
        "none that was cut short is recorded in {folder}",
        "growdisk run {playbook} begins one",
        {"playbook": playbook, "verb": verb, "folder": folder},
    )


class Claims:
    """The images of a run: nobody else's play touches them meanwhile.

    Released when the processes that have it end.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._held: dict[Path, int] = {}

    def claim(self, image: Path) -> None:
        """image-claimed or play-unfinished, unless it is ours or free."""
        holder = ""
        place = state_home() / "images" / hashlib.sha256(os.fsencode(image)).hexdigest()[:32]
        with _recording(place.parent):
            try:
                place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                fd = self._held[place] = open_locked(place, 0o600)
                holder = _text_in(fd)
            except BlockingIOError as error:
                with suppress(FileNotFoundError), place.open("rb") as claim:
                    holder = _text_in(claim.fileno())
                raise Refused.named(
                    "image-claimed",
                    "{image} is being worked on",
                    "another run of a playbook has it ({run})",
                    "wait until it has ended",
                    {"image": image, "run": holder or "it is just beginning"},
                ) from error
        # We have the lock, so the process is not at work: was it cut short, or has it ended?
        other = RunFolder(holder) if holder else None
        # Ours is named if the play is resumed.
        if other is not None and holder != self._run and other.is_unfinished:
            raise Refused.named(
                "play-unfinished",
                "{image} is in the middle of a play",
                "run {run} of {playbook} was cut short",
                "growdisk run {playbook} --resume goes on, and says how it ended; growdisk run "
                "{playbook} --undo takes back what is not final yet",
                {
                    "image": image,
                    "run": holder,
                    "playbook": Path(str(other.description().get("playbook"))),
                },
            )
        with _recording(place.parent):
            os.ftruncate(fd, 0)
            os.pwrite(fd, self._run.encode(), 0)

    def release(self, *, finished: bool) -> None:
        for place, fd in self._held.items():
            with suppress(OSError):  # one that stays hinders nobody
                # A refused claim may be among them: its file names another run, and stays.
                if finished and _text_in(fd) == self._run:
                    place.unlink(missing_ok=True)
            os.close(fd)
        self._held.clear()


def _text_in(fd: int) -> str:
    return os.pread(fd, 4096, 0).decode("utf-8", "replace")


class PlayJournal:
    """The journal of a play on one host: which task is next is decided by it alone.

    begin · (snapshotting IMAGE · applying TASK.ITEM · checked IMAGE)* · verified TASK · …
      └ … settling · done
      └ failed · rollback · (restoring IMAGE)* · undone
    """

    # The events have other meanings here: `step` is a task's number, TASK.ITEM, or an image.

    def __init__(self, path: Path) -> None:
        self._journal, self.folder = Journal(path), path.parent

    # --- reading --------------------------------------------------------------------------------

    @property
    def has_begun(self) -> bool:
        return bool(self._journal.records)

    @property
    def is_restoring(self) -> bool:
        return any(self._of(Event.ROLLBACK))

    @property
    def failure(self) -> Mapping[str, object]:
        """The error for which the images are restored."""
        return next(self._all(dict, Event.ROLLBACK), {})

    def end_report(self) -> HostReport | None:
        """The report of a play that has ended on this host."""
        return next(self._all(HostReport, Event.COMMITTING, Event.DONE, Event.UNDONE), None)

    @property
    def is_over(self) -> bool:
        """Whether its ways back are gone, too."""
        return any(self._of(Event.DONE, Event.UNDONE))

    def task_done(self, number: int) -> FinishedTask | None:
        """How a task ended that need not be done again."""
        ended = [record for record in self._of(Event.VERIFIED) if record.step == str(number)]
        return _loaded(ended[-1], FinishedTask) if ended else None

    def item_before(self, key: str) -> TaskCheckpoint | None:
        """How it was before a task, or an item of its loop, that has begun."""
        # record_item writes no second one: it has the image before the first attempt.
        begun = (record for record in self._of(Event.APPLYING) if record.step == key)
        return next((_loaded(record, TaskCheckpoint) for record in begun), None)

    def unfinished_items(self) -> list[TaskCheckpoint]:
        """What had begun and not ended."""
        ended = {record.step for record in self._of(Event.VERIFIED)}
        return [
            _loaded(record, TaskCheckpoint)
            for record in self._of(Event.APPLYING)
            # An item's key is TASK.ITEM; only whole tasks are recorded as ended.
            if str(record.step).split(".")[0] not in ended
        ]

    def run_before(self, image: Path) -> str | None:
        """The last run of an image from before the play ("" for none).

        None if no task has begun on it.
        """
        begun = self._all(TaskCheckpoint, Event.APPLYING)
        return next((before.run for before in begun if before.image == image), None)

    def images(self) -> list[Path]:
        """Those that have a snapshot from before the play, in the order in which it was taken."""
        return [Path(str(record.step)) for record in self._of(Event.SNAPSHOTTING)]

    def needs_snapshot(self, image: Path) -> bool:
        """Whether a task has begun on it, and nothing has begun to bring it back."""
        restoring = (record.step for record in self._of(Event.RESTORING))
        return self.run_before(image) is not None and str(image) not in restoring

    def created_files(self) -> list[Path]:
        """Files that were not there before the play."""
        begun = self._all(TaskCheckpoint, Event.APPLYING)
        return [before.made for before in begun if before.made is not None]

    def refuse_exchanged(self, image: Path | None, hint: str) -> None:
        """image-exchanged if another file than the one that was pinned has its name now."""
        now, pinned = file_identity(image) if image else "", self._pinned(image)
        if now and pinned and now not in pinned:
            raise Refused.named(
                "image-exchanged",
                "{image} is not the file that the play has worked on",
                "another one has its name now, and is left as it is",
                "{hint}",
                {"image": image, "hint": hint},
            )

    def _pinned(self, image: Path | None) -> list[str]:
        pins = [record for record in self._of(Event.CHECKED) if record.step == str(image)]
        return str(pins[-1].facts["files"]).split() if pins else []

    # --- writing --------------------------------------------------------------------------------

    def begin(self) -> None:
        if not self.has_begun:
            self._journal.append(JournalRecord(Event.BEGIN))

    def record_snapshot(self, image: Path) -> None:
        if image not in self.images():
            self._journal.append(JournalRecord(Event.SNAPSHOTTING, str(image)))

    def pin(self, image: Path, *files: Path) -> None:
        """The image is one of these files from now on; without any, it may be another one."""
        found = [known for file in files if (known := file_identity(file))]
        if found != self._pinned(image):
            self._journal.append(
                JournalRecord(Event.CHECKED, str(image), facts={"files": " ".join(found)})
            )

    def record_item(self, key: str, before: TaskCheckpoint) -> None:
        if self.item_before(key) is None:
            self._append(Event.APPLYING, asdict(before), key)

    def record_task(self, number: int, done: FinishedTask) -> None:
        self._append(Event.VERIFIED, asdict(done), str(number))

    def record_restoring(self, error: Mapping[str, object]) -> None:
        if not self.is_restoring:
            self._append(Event.ROLLBACK, error, detail=str(error.get("what", "")))

    def record_image_restoring(self, image: Path) -> None:
        """From now on its snapshot may be gone."""
        self._journal.append(JournalRecord(Event.RESTORING, str(image)))

    def record_settling(self, report: HostReport) -> None:
        self._append(Event.COMMITTING, asdict(report))

    def record_end(self, report: HostReport) -> None:
        event = Event.UNDONE if report.result == "restored" else Event.DONE
        self._append(event, asdict(report))

    def _append(
        self, event: Event, value: Mapping[str, object], step: str | None = None, detail: str = ""
    ) -> None:
        # A record of the engine's journal has plain values alone: ours is one text in it.
        text = json.dumps(dict(value), default=str)
        self._journal.append(JournalRecord(event, step, detail=detail, facts={"value": text}))

    def _all(self, kind: type[T], *events: Event) -> Iterator[T]:
        return (_loaded(record, kind) for record in self._of(*events))

    def _of(self, *events: Event) -> Iterator[JournalRecord]:
        return (record for record in self._journal.records if record.event in events)


def _loaded(record: JournalRecord, kind: type[T]) -> T:
    return converted(json.loads(str(record.facts["value"])), kind)
