"""How a call ended, or how a run stands, as values: for programs, --json, the command line."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from growdisk.api.guard import CarriedRun, carried_at, without_folder
from growdisk.error_document import error_document
from growdisk.errors import GrowdiskError, NeedsUser, Refused
from growdisk.fast_dataclass import asdict, dataclass, replace
from growdisk.planner.goal import SnapshotMode
from growdisk.planner.layout import Layout
from growdisk.workflow.failures import WITHHELD, reason_of
from growdisk.workflow.journal import ENDED, Event, JournalRecord, RunState, RunStatus
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.run_places import is_served

if TYPE_CHECKING:
    from growdisk.planner.plan import Plan

Outcome = Literal["planned", "changed", "nochange", "refused", "restored", "stuck"]

_STATE_WORDS = {
    Event.VERIFIED: "done",
    Event.SKIPPED: "skipped",
    Event.RESTORED: "restored",
    # After CHECKED and SNAPSHOTTING the step has changed nothing yet: these are "pending".
    Event.APPLYING: "unfinished",
    Event.APPLIED: "unfinished",
    Event.RESTORING: "unfinished",
}
_NO_RECORD = JournalRecord(Event.CHECKED)  # as good as none


@dataclass(frozen=True)
class StepReport:
    """`state` is pending, done, skipped, restored or unfinished; `detail` is in words.

    It says what was done, or would be.
    """

    name: str
    state: str
    seconds: float
    detail: str


@dataclass(frozen=True)
class Result:
    """The end of a run, or a plan.

    `error` is set if it did not end as asked; `kept`: it can be rolled back. `notes` is what
    should be known before it is done: of a running guest, what cannot be undone. `others` are the
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


def result_of(
    plan: Plan, state: RunState, outcome: Outcome, before: Layout, after: Layout
) -> Result:
    """With what the plan says of the run."""
    return Result(
        outcome,
        plan.run,
        plan.backend,
        before,
        after,
        step_reports(plan, state),
        snapshots=plan.snapshots,
        kept=state.status is RunStatus.KEPT,
        backend_reason=plan.backend_reason,
    )


def planned_result(plan: Plan) -> Result:
    """What a run would do."""
    others = [(disk.before, disk.after) for disk in plan.extra_disks if disk.before and disk.after]
    return replace(
        result_of(plan, RunState(), "planned", plan.before, plan.after),
        run=None,
        given_up=plan.given_up,
        notes=plan.notes,
        others=tuple(others),
    )


def step_reports(plan: Plan, state: RunState) -> tuple[StepReport, ...]:
    reports = []
    for step in plan.steps:
        record = state.last.get(step.name, _NO_RECORD)
        word, detail = _STATE_WORDS.get(record.event, "pending"), record.detail or step.describe()
        reports.append(StepReport(step.name, word, record.seconds, detail))
    return tuple(reports)


# How a run ended, in the words of a Result: the same for guests that are off and guests that run.


def run_to_outcome(action: Callable[[], RunState]) -> GrowdiskError | None:
    """Do it. Errors of growdisk are how it ended; everything else is a bug."""
    try:
        action()
    except GrowdiskError as failure:
        return failure
    except WITHHELD as failure:
        # Not even the journal could be written, or the like: only another process can go on.
        return NeedsUser.named(
            "run-stopped",
            "the run stopped half-way",
            "{reason}",
            "fix the cause (df -h shows full file systems), then run: growdisk rollback IMAGE",
            {"reason": reason_of(failure)},
        )
    return None


def how_far_back(state: RunState) -> str:
    """What to say after a rollback down to one step; "" after everything else."""
    if state.status is not RunStatus.UNFINISHED:
        return ""
    undone = ", ".join(name for name, r in state.last.items() if r.event is Event.RESTORED)
    if not undone:
        return "nothing was to be undone; growdisk resume goes on, growdisk rollback undoes all"
    return f"undone: {undone}; growdisk resume does it again, growdisk rollback undoes the rest"


def outcome(state: RunState, error: GrowdiskError | None) -> Outcome:
    if isinstance(error, NeedsUser):
        return "stuck"
    if state.status is RunStatus.UNFINISHED and error is None:
        return "restored"  # down to one step, as asked
    # The engine lets a step's own refusal through only if no step had touched anything.
    if state.status is RunStatus.UNDONE:
        return "refused" if isinstance(error, Refused) else "restored"
    return "changed" if error is None else "stuck"


# What --json shows of a Result: for the command line and for the tasks of playbooks.


def document(result: Result) -> dict[str, object]:
    content: dict[str, object] = {
        "result": result.result,
        "run": result.run,
        "backend": result.backend,
        "snapshots": result.snapshots,
        "kept": result.kept,
        "before": asdict(result.before),
        "after": asdict(result.after),
        "steps": [asdict(step) for step in result.steps],
        "given_up": list(result.given_up),
    }
    others = [{"before": asdict(before), "after": asdict(after)} for before, after in result.others]
    if_any = {
        "others": others,
        "backend_reason": result.backend_reason,
        "notes": list(result.notes),
        "reason": result.reason,
        "error": error_document(result.error) if result.error else None,
    }
    return content | {key: value for key, value in if_any.items() if value}


# --- how the run of an image stands, as its folder records it or the image itself shows -----------


_NEXT = {RunStatus.UNFINISHED: ("resume", "rollback"), RunStatus.KEPT: ("rollback", "commit")}


@dataclass(frozen=True)
class StatusReport:
    """`state` is none, running, unfinished, kept, done or undone; `next`: sensible commands.

    Of a run in progress: `pid` is its process, `step` what that does. `missing`: the run is
    only known by what the image carries of it, and this says how to continue.
    """

    state: str
    run: str | None = None
    steps: tuple[StepReport, ...] = ()
    next: tuple[str, ...] = ()
    failure: str = ""
    pid: int | None = None
    step: str = ""
    missing: str = ""

    @property
    def is_recorded(self) -> bool:
        """Whether there is a run to end whose plan and journal are here."""
        return self.state in ("running", "unfinished", "kept") and not self.missing


def status(image: str | PathLike[str]) -> StatusReport:
    """How the run of an image stands, and what can be done now.

    Reads only. ImageNotReadable if there is no image. Of a disk of another host, named by its
    address, it is known without reaching that.
    """
    path = _path_of(image)
    directory = RunDirectory.of(path)
    # First: of a run whose folder was left elsewhere only the image itself shows.
    carried = None if is_served(path) else carried_at(path)  # it is raw, and need not be reached
    if carried is not None and carried.is_without_folder:
        return _of_carried(carried)
    leading = directory.leading()
    state = leading.state()
    if state.status is RunStatus.NONE:
        return StatusReport("none")
    from growdisk.api.current_run import recorded_plan  # most images have no run

    plan = recorded_plan(leading)
    steps = step_reports(plan, state)
    # A run in progress is "unfinished" in its journal as well: the lock on its folder decides.
    if state.status is RunStatus.UNFINISHED and (pid := leading.worker()) is not None:
        return StatusReport(
            "running", plan.run, steps, (), state.failure, pid, _current(plan, leading.records())
        )
    # Settling removes snapshots, and `none` takes none: rollback would refuse.
    only_forward = state.committing or plan.snapshots == "none"
    following: tuple[str, ...] = _NEXT.get(state.status, ())
    if only_forward and state.status is RunStatus.UNFINISHED:
        following = ("resume",)
    return StatusReport(state.status.value, plan.run, steps, following, state.failure)


def _path_of(image: str | PathLike[str]) -> Path:
    if ":/" in fspath(image):
        from growdisk.api.served_disks import served_path

        return served_path(image) or Path(image)
    return Path(image)


def _of_carried(run: CarriedRun) -> StatusReport:
    steps = tuple(
        StepReport(snapshot.step, "unknown", 0.0, f"snapshot {snapshot.name}")
        for snapshot in run.snapshots
    )
    following = ("rollback --force", "commit --force") if run.first else ("commit --force",)
    error = without_folder(run)
    missing = f"{error.why}; {error.what_to_do}"
    return StatusReport(run.state, run.run or None, steps, following, missing=missing)


def _current(plan: Plan, records: list[JournalRecord]) -> str:
    """The step that is worked on: the last one that was heard of, or the one after it."""
    names = [step.name for step in plan.steps]
    of_steps = [record for record in records if record.step in names]
    if not of_steps:
        return names[0]
    last = names.index(of_steps[-1].step or "")
    return names[min(last + (of_steps[-1].event in ENDED), len(names) - 1)]
