"""The journal of one play on one host: which task is next is decided by it alone.

begin · (snapshotting IMAGE · applying TASK.ITEM)* · verified TASK · … · done
                                                     └ failed · rollback · undone
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from growdisk.fast_dataclass import asdict
from growdisk.playbook.reports import HostReport, TaskReport
from growdisk.playbook.task_checkpoint import TaskCheckpoint
from growdisk.playbook.task_result import Diff
from growdisk.playbook.task_run import Done
from growdisk.workflow.journal import Event, Journal, JournalRecord

_ENDS = frozenset({Event.DONE, Event.UNDONE})


class PlayJournal:
    """The journal of a play on one host: what its tasks came to, and whether it goes back."""

    # It has the events of a run's journal, in other meanings: `step` is a task's number, TASK.ITEM,
    # or the path of an image.

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path)

    # --- what it says ---------------------------------------------------------------------------

    @property
    def has_begun(self) -> bool:
        return bool(self._journal.records)

    @property
    def going_back(self) -> bool:
        return any(record.event is Event.ROLLBACK for record in self._journal.records)

    @property
    def failure(self) -> Mapping[str, object]:
        """The error for which it goes back."""
        return next((_loaded(record) for record in self._of(Event.ROLLBACK)), {})

    def ended_before(self) -> HostReport | None:
        """The report of a play that has ended on this host."""
        last = next((record for record in self._journal.records if record.event in _ENDS), None)
        return _host_report(_loaded(last)) if last is not None else None

    def task_done(self, number: int) -> Done | None:
        """How a task ended that need not be done again."""
        found = [record for record in self._of(Event.VERIFIED) if record.step == str(number)]
        return _done(_loaded(found[-1])) if found else None

    def item_begun(self, key: str) -> TaskCheckpoint | None:
        """How it was before a task, or an item of its loop, that has begun."""
        found = [record for record in self._of(Event.APPLYING) if record.step == key]
        # item_begins writes no second one: it tells of the image before the first attempt.
        return _before(_loaded(found[0])) if found else None

    def half_done(self) -> list[TaskCheckpoint]:
        """What had begun and not ended."""
        ended = {record.step for record in self._of(Event.VERIFIED)}
        begun = [
            record
            for record in self._of(Event.APPLYING)
            # An item's key is TASK.ITEM; only whole tasks are recorded as ended.
            if str(record.step).split(".")[0] not in ended
        ]
        return [_before(_loaded(record)) for record in begun]

    def run_before(self, image: Path) -> str | None:
        """The last run of an image from before the play ("" for none).

        None if no task has begun on it.
        """
        begun = (_before(_loaded(record)) for record in self._of(Event.APPLYING))
        return next((before.run for before in begun if before.image == image), None)

    def ways_back(self) -> list[Path]:
        """Images that the play can be taken back on, in the order in which they were touched."""
        return [Path(str(record.step)) for record in self._of(Event.SNAPSHOTTING)]

    def made(self) -> list[Path]:
        """Files that were not there before the play."""
        begun = (_before(_loaded(record)) for record in self._of(Event.APPLYING))
        return [before.made for before in begun if before.made is not None]

    # --- what is said to it ---------------------------------------------------------------------

    def begin(self) -> None:
        if not self.has_begun:
            self._journal.append(JournalRecord(Event.BEGIN))

    def makes_way_back(self, image: Path) -> None:
        if image not in self.ways_back():
            self._journal.append(JournalRecord(Event.SNAPSHOTTING, str(image)))

    def item_begins(self, key: str, before: TaskCheckpoint) -> None:
        if self.item_begun(key) is None:
            self._journal.append(JournalRecord(Event.APPLYING, key, facts=_dumped(asdict(before))))

    def task_ended(self, number: int, done: Done) -> None:
        self._journal.append(
            JournalRecord(Event.VERIFIED, str(number), facts=_dumped(asdict(done)))
        )

    def goes_back(self, error: Mapping[str, object]) -> None:
        if not self.going_back:
            self._journal.append(
                JournalRecord(
                    Event.ROLLBACK, detail=str(error.get("what", "")), facts=_dumped(dict(error))
                )
            )

    def ended(self, report: HostReport) -> None:
        event = Event.UNDONE if report.result == "restored" else Event.DONE
        self._journal.append(JournalRecord(event, facts=_dumped(asdict(report))))

    def _of(self, event: Event) -> Iterator[JournalRecord]:
        return (record for record in self._journal.records if record.event is event)


def _dumped(value: Mapping[str, object]) -> dict[str, int | str]:
    # A record of the engine's journal has plain values alone: ours is one text in it.
    return {"value": json.dumps(value, default=str)}


def _loaded(record: JournalRecord) -> dict[str, object]:
    found: object = json.loads(str(record.facts["value"]))
    assert isinstance(found, dict)
    return found


def _before(found: dict[str, object]) -> TaskCheckpoint:
    image, made = found["image"], found["made"]
    return TaskCheckpoint(
        # Paths were written as texts (default=str), None as null.
        Path(str(image)) if image else None,
        str(found["run"]),
        int(str(found["size"])),
        Path(str(made)) if made else None,
    )


def _done(found: dict[str, object]) -> Done:
    registered, facts = found["registered"], found["facts"]
    assert isinstance(registered, dict) and isinstance(facts, dict)
    return Done(tuple(_reports(found["reports"])), registered, facts)


def _host_report(found: dict[str, object]) -> HostReport:
    return HostReport(**{**found, "tasks": tuple(_reports(found["tasks"]))})  # type: ignore[arg-type]


def _reports(found: object) -> Iterator[TaskReport]:
    assert isinstance(found, list)
    for recorded in found:
        diff = recorded.get("diff")
        yield TaskReport(**{**recorded, "diff": Diff(**diff) if diff else None})
