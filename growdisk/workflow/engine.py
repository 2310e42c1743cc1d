"""The engine: takes the steps of a run, each after a snapshot, and finishes or undoes the run.

It can do so however the run ended. Everything it does next is decided by the journal alone, and
every decision is in the journal before it is acted on. So `advance` after a crash needs no special
path: it replays the journal and continues from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from growdisk.durable import NO_ROOM
from growdisk.errors import GrowdiskError, NeedsUser, OperationFailed, ToolFailed
from growdisk.workflow.failures import (
    WITHHELD,
    Interrupted,
    NothingToRestore,
    StoppedWithoutSnapshots,
    commit_failed,
    host_falls_short,
    reason_of,
    step_failed,
)
from growdisk.workflow.journal import ENDED, TOUCHED, Event, Journal, JournalRecord, RunState, fold
from growdisk.workflow.snapshots import SnapshotStore
from growdisk.workflow.step import AlreadyDone, Blocked, Evidence, Step
from growdisk.workflow.stopping import OF_A_SIGNAL, StopRequest

C = TypeVar("C")
_SAME_SIGNAL = 1.0  # seconds within which a signal that a tool died of has reached us as well


class Observer(Protocol):
    """What shows progress: a terminal, a log."""

    def step_started(self, number: int, total: int, name: str, description: str) -> None: ...

    def step_said(self, line: str) -> None:
        """What a guest says while a step works in it; it may come from another thread."""

    def step_ended(self, name: str, state: str, seconds: float, detail: str) -> None: ...


class Engine(Generic[C]):
    """One run of `steps` on `context`. `journal` and `snapshots` outlive the process.

    `make_room` frees what was set aside on the host's disk so that restoring works even when it is
    full. `again_in_place`: a step that was cut short is applied again where it stands (its steps
    must bear that), because its snapshot would cost what others have written since: a
    running guest.
    """

    def __init__(
        self,
        steps: Sequence[Step[C]],
        context: C,
        snapshots: SnapshotStore,
        journal: Journal,
        observer: Observer,
        *,
        keep: bool = False,
        stop: StopRequest | None = None,
        make_room: Callable[[], None] = lambda: None,
        again_in_place: bool = False,
    ) -> None:
        self._steps, self._context = steps, context
        self._snapshots, self._journal, self._observer = snapshots, journal, observer
        self._keep, self._stop, self._make_room = keep, stop or StopRequest(), make_room
        self._again_in_place = again_in_place

    @property
    def state(self) -> RunState:
        return fold(self._journal.records)

    def advance(self) -> RunState:
        """Begin or continue the run, in the direction of the journal, until it is finished or kept.

        Raises step-failed if a step failed and all was restored, restore-failed or settle-failed
        if a person is needed, and the step's own refusal if nothing had been touched yet.
        """
        state = self.state
        if state.finished or state.status.value == "kept":
            return state
        if state.rolling_back:
            self.roll_back(state.rollback_to)
            return self.state
        # Once either is in the journal some snapshots may be gone: the steps are not looked at
        # again.
        if not (state.committing or state.keeping):
            self._forward()
        self._finish()
        return self.state

    def roll_back(self, oldest: str | None = None) -> RunState:
        """Undo newest first, down to and including the step `oldest` (all steps if None)."""
        if stays := self._unrestorable():
            raise NothingToRestore(stays)
        self._make_room()  # on a full disk not even the journal could be written
        state = self.state
        if not (state.rolling_back and state.rollback_to == oldest):
            # Decided in the journal before the first restore: a run that dies half-way must
            # not go forward again, or it ends partly done.
            self._record(Event.ROLLBACK, oldest)
        # Newest first: restoring a snapshot forgets those that were taken after it.
        names = [step.name for step in self._steps]
        first = names.index(oldest) if oldest else 0
        # One that cannot be put back does not keep the older ones from it.
        failures = [
            failure for step in reversed(self._steps[first:]) if (failure := self._restore(step))
        ]
        if failures:
            raise _restore_failed(state, tuple(failures))
        if oldest and first > 0:
            self._record(Event.REVERTED)
        else:
            # In this order: nobody looks for snapshots of a run that is undone.
            self._discard(state)
            self._record(Event.UNDONE)
        return self.state

    def commit(self) -> RunState:
        """Make the present content final and forget the snapshots."""
        if not self.state.finished:
            self._commit()
        return self.state

    # --- forward --------------------------------------------------------------------------------

    def _forward(self) -> None:
        for number, step in enumerate(self._steps, start=1):
            if self.state.event_of(step.name) in ENDED:
                continue
            self._observer.step_started(number, len(self._steps), step.name, step.describe())
            started = time.monotonic()
            try:
                self._stop.check()
                self._run_step(step)
                self._stop.check()
            except Exception as error:
                self._give_up(step, error, time.monotonic() - started)
        try:
            # Without this a full disk would be found out only when the result is made
            # final, from where nothing can be restored.
            self._snapshots.reserve()
            self._stop.check()  # the last moment: what follows is gone on with, never undone
        except Exception as error:
            self._give_up(self._steps[-1], error, 0.0)

    def _run_step(self, step: Step[C]) -> None:
        """Take a step from its last record in the journal to verified or skipped."""
        started = time.monotonic()
        last = self.state.event_of(step.name)
        if last is Event.APPLIED:
            # Cut short between apply and verify: its evidence is in the journal, and it is not done
            # a second time.
            record = self.state.last[step.name]
            evidence = Evidence(record.detail, record.facts)
        else:
            # A running guest has gone on since: its step is carried out a second time, where a
            # snapshot would undo what the guest has done as well.
            again = last is Event.APPLYING and self._again_in_place
            # Half done by a process that died, nobody knows how far: restored, then done again.
            if (
                last in (Event.APPLYING, Event.RESTORING)
                and not again
                and self._snapshots.can_restore
            ):
                self._restore_one(step.name)
            # After SNAPSHOTTING check() has passed already, and nothing was touched since.
            if not again and last is not Event.SNAPSHOTTING and self._is_done(step):
                return
            evidence = self._carried_out(step) if again else self._apply(step)
        step.verify(self._context, evidence)
        seconds = time.monotonic() - started
        self._record(Event.VERIFIED, step.name, evidence.detail, seconds)
        self._observer.step_ended(step.name, "done", seconds, evidence.detail)

    def _is_done(self, step: Step[C]) -> bool:
        match step.check(self._context):
            case AlreadyDone(reason):
                self._record(Event.SKIPPED, step.name, reason)
                self._observer.step_ended(step.name, "skipped", 0.0, reason)
                return True
            case Blocked(error):
                raise error
        self._record(Event.CHECKED, step.name)
        return False

    def _apply(self, step: Step[C]) -> Evidence:
        # Said before it is done, here and below: after a crash the journal names the most that can
        # have happened.
        self._record(Event.SNAPSHOTTING, step.name)
        self._snapshots.take(step.name)
        self._stop.check()
        return self._carried_out(step)

    def _carried_out(self, step: Step[C]) -> Evidence:
        self._record(Event.APPLYING, step.name)
        evidence = step.apply(self._context)
        self._record(Event.APPLIED, step.name, evidence.detail, facts=evidence.facts)
        return evidence

    def _finish(self) -> None:
        keeping = self._keep and not self.state.committing
        if not (self.state.keeping or self.state.committing):
            try:
                self._record(Event.KEEPING if keeping else Event.COMMITTING)
            except WITHHELD as error:  # up to here all can be restored
                self._give_up(self._steps[-1], error, 0.0)
        if keeping:
            self._make_final(self._snapshots.keep, Event.KEPT)
        else:
            self._commit()

    def _commit(self) -> None:
        if not self.state.committing:
            try:
                self._record(Event.COMMITTING)
            except WITHHELD as error:
                raise commit_failed(reason_of(error)) from error
        self._make_final(self._snapshots.commit, Event.DONE)

    def _make_final(self, action: Callable[[], None], then: Event) -> None:
        """Only forward from here on."""
        try:
            try:
                action()
                self._record(then)
            except WITHHELD:
                # What had no room the first time may have it when what was set aside is free.
                self._make_room()
                action()
                self._record(then)
        except (GrowdiskError, *WITHHELD) as error:
            raise commit_failed(reason_of(error)) from error

    # --- back -----------------------------------------------------------------------------------

    def _give_up(self, step: Step[C], error: Exception, seconds: float) -> None:
        """Restore everything, then raise what the user should see."""
        # Ctrl-C goes to the whole process group: the tool may die of it before our own handler has
        # run.
        patience = (
            _SAME_SIGNAL if isinstance(error, ToolFailed) and error.status in OF_A_SIGNAL else 0.0
        )
        if not isinstance(error, Interrupted) and self._stop.requested_within(patience):
            # a tool died of the same signal, or was ended because of it
            error = Interrupted(self._stop.signal)
        error = host_falls_short(error) or error
        # First of all: on a full disk FAILED could not be written down, nor anything be restored.
        self._make_room()
        reason = reason_of(error)
        touched = bool(self._touched())
        self._record(Event.FAILED, step.name, reason)
        self._observer.step_ended(step.name, "failed", seconds, reason)
        # --snapshots none: it stays as it is, unfinished, for `resume`.
        if self._unrestorable():
            raise StoppedWithoutSnapshots(step.name, reason) from error
        self.roll_back()
        if isinstance(error, Interrupted):
            raise OperationFailed.named(
                "stopped-and-restored",
                "stopped by {signal}; everything is back as it was",
                "",
                "run the same command again when you want to go on",
                {"signal": error.signal},
            ) from error
        # Where nothing was touched, the step's own refusal keeps its id and its exit code.
        if isinstance(error, GrowdiskError) and touched:
            hint = error.what_to_do or "fix the cause and run the same command again"
            raise step_failed(step.name, reason=reason, hint=hint) from error
        if isinstance(error, OSError):
            hint = "fix the cause (df -h shows full file systems)"
            if error.errno in NO_ROOM:
                hint = "free some space on the host (df -h, quota)"
            raise step_failed(
                step.name, reason=reason, hint=f"{hint} and run the same command again"
            ) from error
        # Anything else is a bug, or the refusal of a run that had touched nothing: shown as it is.
        raise error

    def _discard(self, state: RunState) -> None:
        """As the store does; restore-failed, since the run is not over then."""
        try:
            self._snapshots.discard()
        except NeedsUser:
            raise
        except GrowdiskError as error:
            what = f"the removal of the snapshots ({reason_of(error)})"
            raise _restore_failed(state, (what,)) from error

    def _restore(self, step: Step[C]) -> str:
        """Restore one step, if it was touched; the error's text, or ""."""
        if self.state.event_of(step.name) not in TOUCHED:
            return ""
        try:
            self._restore_one(step.name)
        except (GrowdiskError, *WITHHELD) as error:
            return f"{step.name} ({reason_of(error)})"
        self._observer.step_ended(step.name, "restored", 0.0, "as before this step")
        return ""

    def _restore_one(self, step: str) -> None:
        if self.state.event_of(step) is not Event.RESTORING:
            self._snapshots.refuse_missing(step)
        # Restoring may use its snapshot up: after this record a missing one is not a mistake.
        self._record(Event.RESTORING, step)
        self._snapshots.restore(step)
        self._record(Event.RESTORED, step)

    def _unrestorable(self) -> str:
        """A step that cannot be undone; "" if all can."""
        if self._snapshots.can_restore:
            return ""
        if touched := self._touched():
            return touched[-1]
        begun = [step.name for step in self._steps if self.state.event_of(step.name)]
        return begun[-1] if begun and self._snapshots.is_in_use() else ""

    def _touched(self) -> list[str]:
        return [step.name for step in self._steps if self.state.event_of(step.name) in TOUCHED]

    def _record(
        self,
        event: Event,
        step: str | None = None,
        detail: str = "",
        seconds: float = 0.0,
        facts: dict[str, int | str] | None = None,
    ) -> None:
        self._journal.append(JournalRecord(event, step, detail, round(seconds, 3), facts or {}))


def _restore_failed(state: RunState, not_restored: tuple[str, ...]) -> NeedsUser:
    return NeedsUser.named(
        "restore-failed",
        "step {step} failed, and not everything could be restored",
        "{reason}; restoring failed at: {_failures}",
        "fix the cause, then run: growdisk rollback IMAGE",
        {
            # A rollback that the user asked for may have no failure.
            "step": state.failed_step or "rollback",
            "reason": state.failure or "going back",
            "not_restored": not_restored,
            "_failures": "; ".join(not_restored),
        },
    )
