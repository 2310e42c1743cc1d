from __future__ import annotations

import errno
import signal
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Timer

import pytest

from growdisk.errors import NeedsUser, OperationFailed, ToolFailed
from growdisk.workflow.engine import Engine
from growdisk.workflow.failures import NothingToRestore, StoppedWithoutSnapshots
from growdisk.workflow.journal import Event, RunStatus, fold
from growdisk.workflow.step import Evidence
from growdisk.workflow.stopping import StopRequest
from tests.refusals import raises
from tests.unit.workflow.world import (
    ALL_DONE,
    NAMES,
    Crash,
    FakeJournal,
    FakeSnapshots,
    FakeStep,
    Silent,
    Storage,
    begin,
    engine,
)


def new_world() -> Storage:
    storage = Storage()
    begin(storage)
    return storage


def crash_then(storage: Storage, writes: int, action) -> bool:
    """Run `action` until the machine dies at write number `writes`; False if it ended before."""
    storage.writes_left = writes
    try:
        action()
    except Crash:
        return True
    except OperationFailed:
        return False
    finally:
        storage.writes_left = None
    return False


def finish(storage: Storage, **options) -> None:
    with suppress(OperationFailed):
        engine(storage, **options).advance()


def test_a_run_does_every_step_and_leaves_no_snapshot():
    storage = new_world()
    state = engine(storage).advance()
    assert (state.status, storage.final, storage.snapshots) == (RunStatus.DONE, ALL_DONE, {})


def test_every_action_is_recorded_before_it_is_done():
    storage = new_world()
    engine(storage).advance()
    events = [record.event for record in storage.records if record.step == "a"]
    assert events == [
        Event.CHECKED,
        Event.SNAPSHOTTING,
        Event.APPLYING,
        Event.APPLIED,
        Event.VERIFIED,
    ]


def test_a_second_run_over_finished_work_skips_every_step():
    storage = new_world()
    engine(storage).advance()
    storage.records.clear()
    begin(storage)
    state = engine(storage).advance()
    assert {record.event for record in state.last.values()} == {Event.SKIPPED}
    assert storage.words == ALL_DONE


def test_a_failing_step_takes_everything_back():
    storage = new_world()
    with raises("step-failed") as failure:
        engine(storage, failing="b").advance()
    assert failure.value.what == "step b failed; everything is back as it was"
    assert failure.value.exit_code == 4
    assert (storage.words, storage.snapshots) == (["start"], {})
    assert fold(storage.records).status == RunStatus.UNDONE


@dataclass(frozen=True)
class HitStep(FakeStep):
    """Its tool dies of Ctrl-C, which reaches growdisk a moment later."""

    stop: StopRequest = field(default_factory=StopRequest)

    def apply(self, context: Storage) -> Evidence:
        Timer(0.05, self.stop.request, ["SIGINT"]).start()
        raise ToolFailed("e2fsck", -signal.SIGINT, "")


def test_a_tool_that_is_hit_by_the_signal_first_does_not_make_a_stopped_run_a_failed_one():
    storage, stop = new_world(), StopRequest()
    snapshots = FakeSnapshots(storage, order=("a",))
    run = Engine(
        [HitStep("a", stop=stop)], storage, snapshots, FakeJournal(storage), Silent(), stop=stop
    )
    with raises("stopped-and-restored"):
        run.advance()


def test_snapshots_that_cannot_be_removed_leave_a_run_that_goes_back_once_more():
    """As where QEMU dies while it takes the first one: nothing is touched, and nobody answers."""

    class Gone(FakeSnapshots):
        def take(self, step: str) -> None:
            super().take(step)
            raise OperationFailed

        def discard(self) -> None:
            raise OperationFailed

    storage = new_world()
    steps = [FakeStep(name) for name in NAMES]
    snapshots = Gone(storage, order=NAMES)
    with raises("restore-failed") as failure:
        Engine(steps, storage, snapshots, FakeJournal(storage), Silent()).advance()
    assert failure.value.exit_code == 5
    assert fold(storage.records).status is RunStatus.UNFINISHED
    assert engine(storage).advance().status is RunStatus.UNDONE
    assert storage.snapshots == {}


def test_a_failed_restore_is_reported_and_the_others_still_run():
    storage = new_world()
    with raises("restore-failed") as failure:
        engine(storage, failing="c", broken=frozenset({"b"})).advance()
    assert failure.value.exit_code == 5
    assert [text[0] for text in failure.value.not_restored] == ["b"]
    assert storage.words == ["start"]  # a's snapshot was restored all the same
    assert fold(storage.records).status is RunStatus.UNFINISHED


def test_a_restore_without_memory_leaves_a_run_that_goes_back_once_more(
    monkeypatch: pytest.MonkeyPatch,
):
    def without_memory(snapshots: FakeSnapshots, step: str) -> None:
        raise MemoryError

    storage = new_world()
    with monkeypatch.context() as patched:
        patched.setattr(FakeSnapshots, "restore", without_memory)
        with raises("restore-failed", match="no more memory"):
            engine(storage, failing="b").advance()
    assert fold(storage.records).status is RunStatus.UNFINISHED
    assert engine(storage).roll_back().status is RunStatus.UNDONE
    assert storage.words == ["start"]


def test_a_kept_run_goes_back_to_any_step_and_on_again():
    for oldest in ("a", "b", "c"):
        storage = new_world()
        assert engine(storage, keep=True).advance().status is RunStatus.KEPT
        assert set(storage.snapshots) == {"a", "b", "c"}
        before = ["start"] + [
            f"{name}.{half}" for name in "abc"[: "abc".index(oldest)] for half in (1, 2)
        ]
        engine(storage, keep=True).roll_back(oldest)
        assert storage.words == before
        if oldest != "a":
            assert engine(storage).advance().status is RunStatus.DONE
            assert storage.final == ALL_DONE


def test_committing_a_kept_run_forgets_its_snapshots():
    storage = new_world()
    engine(storage, keep=True).advance()
    assert engine(storage, keep=True).commit().status is RunStatus.DONE
    assert storage.snapshots == {}


@pytest.mark.parametrize("broken", ["", "b"])
def test_what_is_accepted_half_taken_back_is_not_taken_back_further_after_a_crash(
    broken: str,
):
    """`broken`: the restore that failed, so that the run was going back when it was accepted."""
    for writes in range(20):
        storage = new_world()
        engine(storage, keep=True).advance()
        with suppress(NeedsUser):
            engine(storage, keep=True, broken=frozenset({broken})).roll_back("b")
        accepted = list(storage.words)
        died = crash_then(storage, writes, lambda s=storage: engine(s, keep=True).commit())
        if fold(storage.records).committing:
            assert engine(storage, keep=True).advance().status is RunStatus.DONE
            assert (storage.words, storage.final, storage.snapshots) == (accepted, accepted, {})
        if not died:
            return
    raise AssertionError("it never ended")


def test_resuming_a_finished_run_changes_nothing():
    storage = new_world()
    engine(storage).advance()
    records = len(storage.records)
    engine(storage).advance()
    assert len(storage.records) == records


@pytest.mark.parametrize("failing", ["", "a", "b", "c"])
@pytest.mark.parametrize("keep", [False, True])
def test_a_crash_at_every_pair_of_writes_ends_all_done_or_all_undone(failing: str, keep: bool):
    schedules = 0
    for first in range(200):
        storage = new_world()
        if not crash_then(
            storage, first, lambda s=storage: engine(s, failing=failing, keep=keep).advance()
        ):
            break
        for second in range(200):
            again = new_world()
            crash_then(
                again, first, lambda s=again: engine(s, failing=failing, keep=keep).advance()
            )
            died = crash_then(
                again, second, lambda s=again: engine(s, failing=failing, keep=keep).advance()
            )
            finish(again, failing=failing, keep=keep)
            schedules += 1
            assert again.words in (["start"], ALL_DONE)
            assert (again.words == ALL_DONE) == (failing == "")
            assert again.snapshots == {} or (keep and not failing)
            if not died:
                break
    assert schedules > 100


def test_a_crash_at_every_write_of_a_rollback_ends_all_undone():
    for first in range(60):
        storage = new_world()
        crash_then(storage, first, lambda s=storage: engine(s).advance())
        if fold(storage.records).committing:
            break  # past the decision that the result is final
        for second in range(60):
            again = new_world()
            crash_then(again, first, lambda s=again: engine(s).advance())
            died = crash_then(again, second, lambda s=again: engine(s).roll_back())
            if not fold(again.records).finished:
                engine(again).roll_back()
            assert (again.words, again.snapshots) == (["start"], {})
            if not died:
                break


def without_decision(eager):
    original = eager._record
    eager._record = lambda event, *rest, **facts: (
        None if event is Event.ROLLBACK else original(event, *rest, **facts)
    )
    return eager


def test_the_crash_schedules_notice_an_engine_that_restores_without_deciding_first():
    """Without rule 4 a run ends both ways.

    The rule: the decision to go back is journalled before the first restore.
    """
    seen_half_way = False
    for first in range(200):
        storage = new_world()
        if not crash_then(storage, first, without_decision(engine(storage, failing="c")).advance):
            break
        # the cause of the failure is gone at the second run: it goes forward although it had gone
        # back
        finish(storage)
        if any(r.event is Event.FAILED for r in storage.records) and storage.words == ALL_DONE:
            seen_half_way = True
    assert seen_half_way


def test_without_snapshots_a_failed_run_stays_where_it_is():
    storage = new_world()
    with pytest.raises(StoppedWithoutSnapshots) as failure:
        engine(storage, failing="c", reversible=False).advance()
    assert failure.value.exit_code == 5
    assert fold(storage.records).status == RunStatus.UNFINISHED
    assert fold(storage.records).rolling_back is False
    with pytest.raises(NothingToRestore):
        engine(storage, reversible=False).roll_back()
    assert fold(storage.records).rolling_back is False


def test_a_step_that_is_gone_on_with_in_place_costs_nothing_that_others_wrote():
    for writes in range(40):
        storage = new_world()
        if not crash_then(storage, writes, engine(storage, in_place=True).advance):
            return
        storage.words.insert(0, "by the guest")
        engine(storage, in_place=True).advance()
        assert storage.words == ["by the guest", *ALL_DONE], writes
        assert storage.snapshots == {}
    raise AssertionError("the run never ended")


def test_what_was_gone_on_with_in_place_is_still_undone_when_a_later_step_fails():
    for first in range(40):
        for second in range(12):
            storage = new_world()
            crash_then(storage, first, engine(storage, in_place=True, failing="c").advance)
            crash_then(storage, second, engine(storage, in_place=True, failing="c").advance)
            finish(storage, in_place=True, failing="c")
            assert (storage.words, fold(storage.records).status) == (["start"], RunStatus.UNDONE), (
                first,
                second,
            )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("can't start new thread"), "no further process or thread"),
        (MemoryError(), "no more memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "no more memory"),
    ],
    ids=["thread", "memory", "memory of a tool"],
)
def test_what_a_host_does_not_give_fails_the_step(error: Exception, told: str):
    class Wanting(FakeStep):
        def apply(self, context: Storage) -> Evidence:
            raise error

    storage = new_world()
    with raises("step-failed", match=told):
        Engine(
            [FakeStep(NAMES[0]), Wanting(NAMES[1])],
            storage,
            FakeSnapshots(storage, frozenset(), NAMES, can_restore=True),
            FakeJournal(storage),
            Silent(),
        ).advance()
    assert fold(storage.records).status is RunStatus.UNDONE
