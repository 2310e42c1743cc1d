"""The state of a run: nothing but the fold of its journal."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TypedDict

from growdisk.fast_dataclass import dataclass, field
from growdisk.workflow.journal import Event, JournalRecord

_STEP_EVENTS = frozenset(
    {
        Event.CHECKED,
        Event.SKIPPED,
        Event.SNAPSHOTTING,
        Event.APPLYING,
        Event.APPLIED,
        Event.VERIFIED,
        Event.RESTORING,
        Event.RESTORED,
    }
)

TOUCHED = frozenset({Event.APPLYING, Event.APPLIED, Event.VERIFIED, Event.RESTORING})
"""Last events of a step after which the image may differ from the step's snapshot."""

ENDED = frozenset({Event.VERIFIED, Event.SKIPPED})
"""Last events of a step that is done, or had nothing to do."""


class RunStatus(Enum):
    """How a run stands, for `growdisk status`, which also reports one that is in progress."""

    NONE = "none"
    UNFINISHED = "unfinished"
    KEPT = "kept"
    DONE = "done"
    UNDONE = "undone"


class _Change(TypedDict, total=False):
    status: RunStatus
    going_back: bool
    back_to: str | None
    committing: bool
    keeping: bool
    failure: str


@dataclass(frozen=True)
class RunState:
    """What the journal says. `last` maps a step's name to its last record."""

    status: RunStatus = RunStatus.NONE
    last: dict[str, JournalRecord] = field(default_factory=dict)
    going_back: bool = False
    back_to: str | None = None
    committing: bool = False
    keeping: bool = False
    failure: str = ""

    def event_of(self, step: str) -> Event | None:
        record = self.last.get(step)
        return record.event if record else None

    @property
    def is_open(self) -> bool:
        """Whether something of the run is still to be done, or can still be taken back."""
        return self.status in (RunStatus.UNFINISHED, RunStatus.KEPT)

    @property
    def finished(self) -> bool:
        return self.status in (RunStatus.DONE, RunStatus.UNDONE)


def fold(records: Iterable[JournalRecord]) -> RunState:
    change: _Change = {}
    last: dict[str, JournalRecord] = {}
    for record in records:
        if record.event in _STEP_EVENTS and record.step is not None:
            change["status"], last[record.step] = RunStatus.UNFINISHED, record
        # FAILED alone does not turn the run round: ROLLBACK follows it, or never does (--snapshots
        # none).
        elif record.event is Event.FAILED:
            change["failure"] = record.detail
        elif record.event is Event.ROLLBACK:
            change.update(
                {
                    "status": RunStatus.UNFINISHED,
                    "going_back": True,
                    "back_to": record.step,
                    # A kept run that goes back to one step may go on from there: it decides again
                    # how it ends.
                    "keeping": False,
                }
            )
        # PARKED and whatever else is not in the table changes nothing.
        else:
            change.update(_RUN_EVENTS.get(record.event, {}))
    return RunState(last=last, **change)


_RUN_EVENTS: dict[Event, _Change] = {
    Event.BEGIN: {"status": RunStatus.UNFINISHED},
    Event.REVERTED: {"going_back": False, "back_to": None},
    Event.KEEPING: {"keeping": True},
    Event.KEPT: {"status": RunStatus.KEPT},
    Event.COMMITTING: {"status": RunStatus.UNFINISHED, "committing": True, "going_back": False},
    Event.DONE: {"status": RunStatus.DONE},
    Event.UNDONE: {"status": RunStatus.UNDONE, "going_back": False},
}
