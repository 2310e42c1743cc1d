"""How the run of an image stands, as its folder records it or the image itself tells.

Works while the run is in progress.
"""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.api.carried import CarriedRun
from growdisk.api.guard import carried_at, is_without_folder, without_folder
from growdisk.api.result import StepReport, step_reports
from growdisk.fast_dataclass import dataclass
from growdisk.workflow.journal import ENDED, JournalRecord, RunStatus
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.run_places import is_served

if TYPE_CHECKING:
    from growdisk.planner.plan import Plan

_NEXT = {
    RunStatus.UNFINISHED: ("resume", "rollback"),
    RunStatus.KEPT: ("rollback", "commit"),
}


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
    directory = RunDirectory.beside(path)
    # First: of a run whose folder was left elsewhere only the image itself tells.
    carried = None if is_served(path) else carried_at(path)  # it is raw, and need not be reached
    if carried is not None and is_without_folder(path, carried):
        return _of_carried(path, carried)
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
    following = (
        ("resume",)
        if only_forward and state.status is RunStatus.UNFINISHED
        else _NEXT.get(state.status, ())
    )
    return StatusReport(state.status.value, plan.run, steps, following, state.failure)


def _path_of(image: str | PathLike[str]) -> Path:
    if ":/" in fspath(image):
        from growdisk.api.served_disks import served_path

        return served_path(image) or Path(image)
    return Path(image)


def _of_carried(path: Path, run: CarriedRun) -> StatusReport:
    steps = tuple(
        StepReport(snapshot.step, "unknown", 0.0, f"snapshot {snapshot.name}")
        for snapshot in run.snapshots
    )
    following = ("rollback --force", "commit --force") if run.first else ("commit --force",)
    error = without_folder(path, run)
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
