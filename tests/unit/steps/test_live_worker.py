"""Swap and the guest's files in a running guest: one phase of its scripts does all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from growdisk.api.current_run import Silent
from growdisk.api.disks import inspect
from growdisk.fast_dataclass import replace
from growdisk.guest_scripts.render import render
from growdisk.guest_scripts.script_plan import GuestPlan, Phase
from growdisk.live.guest_shell import GuestAnswer, LineCallback
from growdisk.planner.goal import Goal, RunOptions, SwapPolicy
from growdisk.planner.live_plan import make_live_plan
from growdisk.planner.plan import Plan
from growdisk.planner.planner import propose
from growdisk.planner.proposal import Proposal
from growdisk.steps.live_place import GuestAccess
from growdisk.steps.live_worker import LiveWorker
from growdisk.units import parse_size
from growdisk.workflow.engine import Engine
from growdisk.workflow.failures import StoppedWithoutSnapshots
from growdisk.workflow.journal import Event, JournalRecord
from growdisk.workflow.snapshots import NoSnapshots
from growdisk.workflow.step import Ready
from growdisk.workflow.stopping import StopRequest
from tests.conftest import DiskMaker
from tests.unit.planner.live_facts import AROUND, WAY

DONE = {"result": "done", "what": "swap and fstab are as planned"}
ALREADY = {"result": "already", "what": "nothing was left to do"}
FAILED = {"result": "failed", "what": "mkswap failed", "why": "no room", "do": "make room"}


class Guest:
    """A GuestShell that answers each phase with the next of `answers`, and knows what it was."""

    name = "a guest"

    def __init__(self, plan: GuestPlan, answers: list[dict[str, str]]) -> None:
        self._plan, self._answers = plan, iter(answers)
        self.phases: list[Phase] = []

    def run(self, script: str, timeout: float, on_line: LineCallback | None = None) -> GuestAnswer:
        scripts = render(self._plan)
        phase = next(phase for phase in Phase if script.endswith(scripts.get(phase.file_name, "?")))
        self.phases.append(phase)
        said = next(self._answers)
        line = {"growdisk": 1, "run": self._plan.run, "phase": phase.value, **said}
        return GuestAnswer(0, json.dumps(line).encode(), b"")

    def close(self) -> None: ...


class Journal:
    """In memory."""

    def __init__(self) -> None:
        self.records: list[JournalRecord] = []

    def append(self, record: JournalRecord) -> None:
        self.records.append(record)


@pytest.fixture
def image(small_disk: DiskMaker) -> Path:
    return small_disk()


def planned(image: Path, swap: SwapPolicy) -> Plan:
    """The plan's last steps: those that are the guest's own."""
    goal, facts = Goal(parse_size("+64M"), swap=swap), inspect(image)
    proposal = propose(facts, goal)
    assert isinstance(proposal, Proposal)
    plan = make_live_plan("run-1", facts, proposal, goal, RunOptions(), AROUND, WAY)
    own = tuple(step for step in plan.own_steps if step.swap_actions or step.changes_guest)
    return replace(plan, steps=own)


def reached(plan: Plan, *answers: dict[str, str]) -> tuple[LiveWorker, Guest]:
    assert plan.way is not None and plan.way.guest is not None
    guest = Guest(plan.way.guest, list(answers))
    worker = LiveWorker(
        None,
        "disk",
        GuestAccess(lambda: guest, StopRequest()),
        "/dev/sda",
        plan.way.guest,
        Path("guest.qcow2"),
        may_restart=False,
        parts={},
        last=plan.steps[-1].name,
        keys=(),
        on_line=lambda line: None,
    )
    return worker, guest


def engine_of(plan: Plan, worker: LiveWorker, journal: Journal) -> Engine[LiveWorker]:
    return Engine(plan.own_steps, worker, NoSnapshots(), journal, Silent(), again_in_place=True)


def details(journal: Journal, event: Event) -> Iterator[tuple[str | None, str]]:
    return ((record.step, record.detail) for record in journal.records if record.event is event)


@pytest.mark.parametrize("swap", ["move", "file"])
def test_swap_comes_again_and_the_guest_says_in_what_words(image: Path, swap: SwapPolicy) -> None:
    plan, journal = planned(image, swap), Journal()
    answers = [DONE, ALREADY] if swap == "file" else [DONE]
    worker, guest = reached(plan, *answers, {"result": "done"})
    engine_of(plan, worker, journal).advance()
    names = ["remake-swap", "repair-guest"] if swap == "file" else ["remake-swap"]
    words = [DONE["what"], "done already"]
    assert list(details(journal, Event.APPLIED)) == list(zip(names, words, strict=False))
    # Read back once, after the last step of the plan.
    assert guest.phases == [*([Phase.REPAIR] * len(names)), Phase.VERIFY]


@pytest.mark.parametrize("result", ["done", "already"])
def test_what_still_names_the_swap_in_the_guest_is_said(image: Path, result: str) -> None:
    plan = planned(image, "drop")
    worker, _ = reached(plan, {"result": result, "what": "x", "why": "still named in: /etc/rc"})
    (step,) = plan.own_steps
    assert step.apply(worker).detail.endswith("; still named in: /etc/rc")


def test_a_guest_that_has_no_words_gets_those_of_the_plan(image: Path) -> None:
    plan = planned(image, "drop")
    worker, _ = reached(plan, {"result": "done"})
    (step,) = plan.own_steps
    assert step.apply(worker).detail == step.describe()


@pytest.mark.parametrize("swap", ["move", "file", "drop"])
def test_nothing_is_asked_beforehand_for_the_script_looks_itself(
    image: Path, swap: SwapPolicy
) -> None:
    plan = planned(image, swap)
    worker, guest = reached(plan)
    assert [step.check(worker) for step in plan.own_steps] == [Ready()] * len(plan.steps)
    assert guest.phases == []


def test_swap_that_was_there_already_is_told_in_the_guest_s_words(image: Path) -> None:
    plan = planned(image, "move")
    worker, _ = reached(plan, ALREADY)
    assert plan.own_steps[0].apply(worker).detail == ALREADY["what"]


def test_a_phase_that_fails_is_the_step_s_failure(image: Path) -> None:
    plan, journal = planned(image, "move"), Journal()
    worker, _ = reached(plan, FAILED)
    with pytest.raises(StoppedWithoutSnapshots):
        engine_of(plan, worker, journal).advance()
    assert list(details(journal, Event.FAILED)) == [
        ("remake-swap", "repair failed inside the guest: mkswap failed: no room")
    ]


def test_a_step_that_was_cut_short_is_taken_again_without_a_look(image: Path) -> None:
    plan, journal = planned(image, "move"), Journal()
    for event in (Event.BEGIN, Event.CHECKED, Event.SNAPSHOTTING, Event.APPLYING):
        step = None if event is Event.BEGIN else "remake-swap"
        journal.append(JournalRecord(event, step))
    worker, guest = reached(plan, ALREADY, {"result": "done"})
    engine_of(plan, worker, journal).advance()
    assert guest.phases == [Phase.REPAIR, Phase.VERIFY]


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ({"result": "done", "what": "x", "why": "make initrds again"}, "make initrds again"),
        ({"result": "done", "what": "x"}, ""),
        ({"result": "already", "what": "x", "why": "of another kind"}, ""),
    ],
)
def test_a_check_says_what_is_left_to_do_before_the_guest_starts_again(
    image: Path, answer: dict[str, str], left: str
) -> None:
    worker, guest = reached(planned(image, "drop"), answer)
    assert worker.check() == left
    assert guest.phases == [Phase.PREPARE]
