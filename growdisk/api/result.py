"""How a call ended, as values: for programs, for --json, for the words of the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from growdisk.errors import GrowdiskError
from growdisk.fast_dataclass import dataclass
from growdisk.planner.goal import SnapshotMode
from growdisk.planner.layout import Layout
from growdisk.workflow.journal import Event
from growdisk.workflow.states import RunState

if TYPE_CHECKING:
    from growdisk.planner.plan import Plan

Outcome = Literal["planned", "changed", "nochange", "refused", "restored", "stuck"]

_STATE_WORDS = {
    Event.VERIFIED: "done",
    Event.SKIPPED: "skipped",
    Event.RESTORED: "restored",
    Event.APPLYING: "unfinished",
    Event.APPLIED: "unfinished",
    Event.RESTORING: "unfinished",
}


@dataclass(frozen=True)
class StepReport:
    """`state` is pending, done, skipped, restored or unfinished; `detail` says what was done, or would be."""

    name: str
    state: str
    seconds: float
    detail: str


@dataclass(frozen=True)
class Result:
    """The end of a run, or a plan. `error` is set where it did not end as asked; `kept`: there still is a way back.

    `notes` is what should be known before it is done: of a running guest, what cannot be undone. `others` are the
    guest's further disks that grow in the same run, each before and after.
    """

    result: Outcome
    run: str | None
    backend: str | None
    before: Layout
    after: Layout
    steps: tuple[StepReport, ...] = ()
    given_up: tuple[str, ...] = ()
    reason: str = ""
    error: GrowdiskError | None = None
    snapshots: SnapshotMode | None = None
    kept: bool = False
    notes: tuple[str, ...] = ()
    backend_reason: str = ""
    others: tuple[tuple[Layout, Layout], ...] = ()

    @property
    def exit_code(self) -> int:
        return self.error.exit_code if self.error else 0


def step_reports(plan: Plan, state: RunState) -> tuple[StepReport, ...]:
    reports = []
    for step in plan.steps:
        record = state.last.get(step.name)
        word = _STATE_WORDS.get(record.event, "pending") if record else "pending"
        seconds = record.seconds if record else 0.0
        reports.append(StepReport(step.name, word, seconds, (record.detail if record else "") or step.describe()))
    return tuple(reports)


def planned_steps(plan: Plan) -> tuple[StepReport, ...]:
    return tuple(StepReport(step.name, "pending", 0.0, step.describe()) for step in plan.steps)
