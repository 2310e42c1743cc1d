"""How the run recorded beside an image stands. Reads only, and works while the run is going on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from growdisk.api.result import StepReport, step_reports
from growdisk.planner.plan import decode_plan
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.states import Status

_NEXT = {
    Status.UNFINISHED: ("resume", "rollback"),
    Status.KEPT: ("rollback", "commit"),
}


@dataclass(frozen=True)
class StatusReport:
    """`state` is none, unfinished, kept, done or undone; `next` are the commands that make sense now."""

    state: str
    run: str | None = None
    steps: tuple[StepReport, ...] = ()
    next: tuple[str, ...] = ()
    failure: str = ""


def status(path: Path) -> StatusReport:
    """How the run of an image stands, and what can be done now. Reads only."""
    directory = RunDirectory.beside(path).leading()
    state = directory.state()
    if state.status is Status.NONE:
        return StatusReport("none")
    plan = decode_plan(directory.plan_file.read_bytes())
    only_forward = state.settling or plan.snapshots == "none"
    following = ("resume",) if only_forward and state.status is Status.UNFINISHED else _NEXT.get(state.status, ())
    return StatusReport(state.status.value, plan.run, step_reports(plan, state), following, state.failure)
