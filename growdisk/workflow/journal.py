"""The append-only record of a run, from which its state follows.

One JSON object a line, each with a checksum and an fsync. A torn last line (the machine died while
it was written) is dropped and cut off before the next one is appended; damage anywhere else is an
error, because the records after it would be read as something they are not.

The state of a run is nothing but the fold of its journal.
"""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from growdisk.durable import append_record, read_record, truncate_file
from growdisk.errors import Refused
from growdisk.fast_dataclass import asdict, dataclass, field, replace
from growdisk.host.json_codec import in_bytes


class Event(Enum):
    BEGIN = "begin"
    CHECKED = "checked"
    SKIPPED = "skipped"
    SNAPSHOTTING = "snapshotting"
    APPLYING = "applying"
    APPLIED = "applied"
    VERIFIED = "verified"
    FAILED = "failed"
    # the decision to roll back; `step` is the oldest step to restore, or None for all
    ROLLBACK = "rollback"
    RESTORING = "restoring"
    RESTORED = "restored"
    REVERTED = "reverted"  # a rollback to one step has ended; the run can go on from there
    PARKED = "parked"  # stopped with something left to do
    KEEPING = "keeping"
    KEPT = "kept"
    COMMITTING = "settling"
    DONE = "done"
    UNDONE = "undone"


@dataclass(frozen=True)
class JournalRecord:
    event: Event
    step: str | None = None
    detail: str = ""
    seconds: float = 0.0
    facts: dict[str, int | str] = field(default_factory=dict)
    time: str = ""


class Journal:
    """The journal file at `path`. `append` returns when the record is durable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records, sound_length = _read(path)
        if path.exists() and sound_length < path.stat().st_size:
            # A torn last line was never acted on, as append() did not return; another one after it
            # would make the whole journal unreadable.
            truncate_file(path, sound_length)

    def append(self, record: JournalRecord) -> None:
        stamped = replace(record, time=datetime.now(UTC).isoformat(timespec="milliseconds"))
        before = self.path.stat().st_size if self.path.exists() else 0
        try:
            append_record(self.path, _encode(stamped))
        except OSError:
            with suppress(OSError):  # after half a record no other one could be read
                truncate_file(self.path, before)
            raise
        # Only what is durable counts as said: the state in memory is what a crash would leave.
        self.records.append(stamped)


def read_journal(path: Path) -> list[JournalRecord]:
    """The sound records of a journal; changes nothing, so that `status` can read a running one."""
    return _read(path)[0]


def _read(path: Path) -> tuple[list[JournalRecord], int]:
    """The records, and the length in bytes up to which the file is sound."""
    records: list[JournalRecord] = []
    length = 0
    try:
        lines = read_record(path).splitlines(keepends=True) if os.path.lexists(path) else []
    except OSError as error:
        raise record_unreadable(path, reason=error.strerror or str(error)) from error
    for number, line in enumerate(lines, 1):
        if body := _sound_body(line):
            records.append(_decoded(body, path, number))
            length += len(line)
        elif number < len(lines):
            raise _damaged(path, number)
    return records, length


def _damaged(path: Path, line: int) -> Refused:
    return Refused.named(
        "journal-damaged",
        "cannot read the journal {path}",
        "line {line} is damaged",
        "keep the image and its .growdisk folder as they are, and look at the journal by hand",
        {"path": path, "line": line},
    )


def record_unreadable(path: Path, reason: str) -> Refused:
    hint = (
        "keep the image and its .growdisk folder as they are, and bring that file back from a "
        "backup"
    )
    if reason == os.strerror(errno.EACCES):
        hint = "do it as the user who has begun the run (sudo), or let this one read its folder"
    return Refused.because("record-unreadable", "cannot read {path}", reason, hint, path=path)


def _encode(record: JournalRecord) -> bytes:
    # crc32 of the body as eight hex digits, a blank, the body, a line break.
    fields = {**asdict(record), "event": record.event.value}
    body = in_bytes(json.dumps(fields, ensure_ascii=False, sort_keys=True))
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _sound_body(line: bytes) -> bytes:
    """The body of a line; b"" if the line is torn or its checksum is wrong."""
    checksum, _, body = line.rstrip(b"\n").partition(b" ")
    # A whole record without its line break is torn, too: the next one would continue its line.
    sound = line.endswith(b"\n") and checksum == f"{zlib.crc32(body):08x}".encode()
    return body if sound else b""


def _decoded(body: bytes, path: Path, line: int) -> JournalRecord:
    try:
        fields = json.loads(body)
        return JournalRecord(**{**fields, "event": Event(fields["event"])})
    except (ValueError, TypeError, LookupError) as error:
        # Whole, but in words of a later growdisk: whatever it says, it was acted on.
        raise _damaged(path, line) from error


TOUCHED = frozenset({Event.APPLYING, Event.APPLIED, Event.VERIFIED, Event.RESTORING})
"""Last events of a step after which the image may differ from the step's snapshot."""

ENDED = frozenset({Event.VERIFIED, Event.SKIPPED})
"""Last events of a step that is done, or had nothing to do."""

_STEP_EVENTS = TOUCHED | ENDED | {Event.CHECKED, Event.SNAPSHOTTING, Event.RESTORED}


class RunStatus(Enum):
    """How a run stands, for `growdisk status`, which also reports one that is in progress."""

    NONE = "none"
    UNFINISHED = "unfinished"
    KEPT = "kept"
    DONE = "done"
    UNDONE = "undone"


@dataclass(frozen=True)
class RunState:
    """What the journal says. `last` maps a step's name to its last record."""

    status: RunStatus = RunStatus.NONE
    last: dict[str, JournalRecord] = field(default_factory=dict)
    rolling_back: bool = False
    rollback_to: str | None = None
    committing: bool = False
    keeping: bool = False
    failed_step: str = ""
    failure: str = ""

    def event_of(self, step: str) -> Event | None:
        record = self.last.get(step)
        return record.event if record else None

    @property
    def is_open(self) -> bool:
        """Whether something of the run is still to be done, or can still be rolled back."""
        return self.status in (RunStatus.UNFINISHED, RunStatus.KEPT)

    @property
    def finished(self) -> bool:
        return self.status in (RunStatus.DONE, RunStatus.UNDONE)


def fold(records: Iterable[JournalRecord]) -> RunState:
    state, last = RunState(), dict[str, JournalRecord]()
    for record in records:
        if record.event in _STEP_EVENTS and record.step is not None:
            last[record.step] = record
            if state.status is not RunStatus.UNFINISHED:  # rarely: fold() is called again and again
                state = replace(state, status=RunStatus.UNFINISHED)
        else:
            state = _after(state, record)
    return replace(state, last=last)


def _after(state: RunState, record: JournalRecord) -> RunState:
    match record.event:
        case Event.BEGIN:
            return replace(state, status=RunStatus.UNFINISHED)
        # FAILED alone does not turn the run round: ROLLBACK follows it, or never does (--snapshots
        # none).
        case Event.FAILED:
            step = record.step or state.failed_step
            return replace(state, failed_step=step, failure=record.detail)
        # A kept run that is rolled back to one step may go on from there: it decides again how it
        # ends.
        case Event.ROLLBACK:
            back = replace(state, rolling_back=True, rollback_to=record.step, keeping=False)
            return replace(back, status=RunStatus.UNFINISHED)
        case Event.REVERTED:
            return replace(state, rolling_back=False, rollback_to=None)
        case Event.KEEPING:
            return replace(state, keeping=True)
        case Event.KEPT:
            return replace(state, status=RunStatus.KEPT)
        case Event.COMMITTING:
            forward = replace(state, committing=True, rolling_back=False)
            return replace(forward, status=RunStatus.UNFINISHED)
        case Event.DONE:
            return replace(state, status=RunStatus.DONE)
        case Event.UNDONE:
            return replace(state, status=RunStatus.UNDONE, rolling_back=False)
    return state  # PARKED changes nothing
