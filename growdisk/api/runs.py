"""Carrying plans out: expand, and what can be done with a run that is recorded beside an image."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from growdisk.api.result import Outcome, Result, step_reports
from growdisk.api.session import Session
from growdisk.errors import GrowdiskError, NeedsUser
from growdisk.planner.goal import Goal, RunOptions
from growdisk.planner.inspect import image_facts, inspect_device
from growdisk.planner.layout import layout_of
from growdisk.planner.plan import decode_plan, make_plan
from growdisk.planner.planner import AllDone, propose
from growdisk.qcow2.probe import probe_format
from growdisk.steps.disk import Disk, Format
from growdisk.workflow.engine import Observer
from growdisk.workflow.journal import Event
from growdisk.workflow.run_directory import NoSuchRun, RunDirectory, refuse_if_open
from growdisk.workflow.states import TOUCHED, RunState, Status
from growdisk.workflow.stopping import StopRequest


class Silent:
    """An observer that shows nothing."""

    def step_started(self, number: int, total: int, name: str, description: str) -> None: ...

    def step_ended(self, name: str, state: str, seconds: float, detail: str) -> None: ...


def expand(
    path: Path, goal: Goal, options: RunOptions, image_format: Format | None = None,
    observer: Observer | None = None, stop: StopRequest | None = None,
) -> Result:  # fmt: skip
    """Grow image, partition and file system. Raises refusals; everything later is in the Result."""
    directory = RunDirectory(path.resolve())
    refuse_if_open(directory)
    with closing(Disk.open(path.resolve(), image_format or probe_format(path))) as disk:
        refuse_if_open(directory)  # again, now that nobody else can begin one
        facts = inspect_device(disk, image_facts(disk.active, path))
        proposal = propose(facts, goal)
        if isinstance(proposal, AllDone):
            layout = layout_of(facts)
            return Result("nochange", None, None, layout, layout, reason=proposal.reason)
        plan = make_plan(facts, proposal, goal, options)
        session = Session.begin(path, plan, disk, directory, observer or Silent(), stop or StopRequest())
        return _carry_out(session, session.engine.advance)


def resume(path: Path, observer: Observer | None = None, stop: StopRequest | None = None) -> Result:
    """Go on with an unfinished run, in the direction it was going. A finished or kept one is left as it is."""
    return _with_session(path, "resume", observer, stop, lambda session: session.engine.advance)


def rollback(
    path: Path, to: str | None = None, observer: Observer | None = None, stop: StopRequest | None = None
) -> Result:
    """Undo a run, newest step first, down to and including the step `to` (all of them if None)."""

    def back(session: Session) -> Callable[[], RunState]:
        if to is not None and to not in [step.name for step in session.plan.steps]:
            names = ", ".join(step.name for step in session.plan.steps)
            raise NoSuchRun(path, verb="roll back", reason=f"the run has no step '{to}'; its steps are: {names}")
        return lambda: session.engine.go_back(to)

    return _with_session(path, "roll back", observer, stop, back, undoable=True)


def commit(path: Path, observer: Observer | None = None) -> Result:
    """Accept the image as it is, and forget the run's snapshots."""

    def accept(session: Session) -> Callable[[], RunState]:
        state = session.engine.state
        half_done = [s.name for s in session.plan.steps if state.event_of(s.name) in TOUCHED - {Event.VERIFIED}]
        if half_done and not state.settling:
            raise NoSuchRun(path, verb="commit", reason=f"step {half_done[0]} is half done: resume or roll back first")
        return session.engine.commit

    return _with_session(path, "commit", observer, None, accept, undoable=True)


def _with_session(
    path: Path, verb: str, observer: Observer | None, stop: StopRequest | None,
    action: Callable[[Session], Callable[[], RunState]], *, undoable: bool = False,
) -> Result:  # fmt: skip
    directory = RunDirectory(path.resolve())
    state = directory.state()
    if state.status is Status.NONE:
        raise NoSuchRun(path, verb=verb)
    if undoable and state.finished:
        raise NoSuchRun(path, verb=verb, reason=f"the last run is {state.status.value}, and its snapshots are gone")
    plan = decode_plan(directory.plan_file.read_bytes())
    with closing(Disk.open(path.resolve(), _format(plan.before.image.format))) as disk:
        session = Session.reopen(path, plan, disk, directory, observer or Silent(), stop or StopRequest())
        return _carry_out(session, action(session))


def _carry_out(session: Session, action: Callable[[], RunState]) -> Result:
    """Do it, and say how it ended. Errors of growdisk become part of the Result; everything else is a bug."""
    error: GrowdiskError | None = None
    try:
        action()
    except GrowdiskError as failure:
        error = failure
    finally:
        session.hands.kill()
        session.directory.make_room()
    state, plan = session.engine.state, session.plan
    facts = inspect_device(session.disk, image_facts(session.disk.base(writable=False), session.path))
    return Result(
        _outcome(state, error), plan.run, plan.backend, plan.before, layout_of(facts), step_reports(plan, state),
        () if state.status is Status.UNDONE else plan.given_up, error=error,
    )  # fmt: skip


def _outcome(state: RunState, error: GrowdiskError | None) -> Outcome:
    if isinstance(error, NeedsUser):
        return "stuck"
    if state.status is Status.UNDONE:
        touched = any(record.event is Event.RESTORED for record in state.last.values())
        return "restored" if touched or not error else "refused"
    return "changed" if error is None else "stuck"


def _format(name: str) -> Format:
    return "raw" if name == "raw" else "qcow2"
