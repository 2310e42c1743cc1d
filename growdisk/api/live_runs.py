"""Carrying plans out on running guests: look, plan, expand, and what can be done with such a run later.

A guest that is off goes the offline way by itself: every call here begins by finding out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar

from growdisk.api.by_rule import known_to_host, refuse_to_fill_host
from growdisk.api.extra_disks import refuse_spoiling
from growdisk.api.live_device import refuse_full_storage, with_device
from growdisk.api.live_session import GuestNotRunning, InspectedGuest, LiveSession, context_of, lock_run, look, thaw
from growdisk.api.live_target import LiveRequest, RunningGuest, reach, reconnect, request_of
from growdisk.api.result import Result, planned_steps, step_reports
from growdisk.api.run_to_outcome import how_far_back, outcome, run_to_outcome
from growdisk.errors import GrowdiskError, Refused
from growdisk.fast_dataclass import dataclass
from growdisk.planner.failures import OptionUnsupported
from growdisk.planner.goal import Goal, RunOptions
from growdisk.planner.layout import Layout, layout_of
from growdisk.planner.live_plan import make_live_plan
from growdisk.planner.plan import Plan, encode_plan
from growdisk.planner.planner import AllDone, Proposal, propose
from growdisk.steps.live_context import Inside
from growdisk.steps.live_failures import MachineGone, OverlaysNeedRest, StoppedOnOverlays
from growdisk.steps.live_overlays import LiveOverlays
from growdisk.workflow.engine import Observer
from growdisk.workflow.failures import NothingToRestore, StoppedWithoutWayBack
from growdisk.workflow.journal import Event, Record
from growdisk.workflow.run_directory import RunDirectory, RunNotRecorded, refuse_if_unfinished
from growdisk.workflow.states import RunState, Status
from growdisk.workflow.stopping import StopRequest


@dataclass(eq=False)
class GuestIsOff(Refused):
    WHAT: ClassVar[str] = "the guest of {path} is off"
    WHY: ClassVar[str] = "its run was begun while it was running, and goes on inside it"
    DO: ClassVar[str] = "start the guest and run growdisk resume {path} again; or growdisk rollback {path}"
    path: Path


@contextmanager
def looked_at(request: LiveRequest, stop: StopRequest, *, fullness: bool = False) -> Iterator[InspectedGuest | Path]:
    """The running guest, looked at; or the path of its image, where it is off. `fullness`: with what its df says."""
    reached = reach(request)
    if isinstance(reached, Path):
        yield reached
        return
    with closing(reached):
        looked = look(reached, request.path or reached.path, stop, fullness=fullness)
        try:
            yield looked
        finally:
            looked.inside.forget()


def plan_live(looked: InspectedGuest, goal: Goal, options: RunOptions) -> Result:
    """What expanding the running guest would do."""
    directory = RunDirectory.beside(looked.reached.path)
    refuse_if_unfinished(directory)
    _refuse_companions(looked, options)
    looked, goal = with_device(looked, known_to_host(goal, looked.reached.path))
    proposal = propose(looked.facts, goal)
    if isinstance(proposal, AllDone):
        return _nothing(looked, proposal)
    refuse_spoiling(looked.reached.path, options)
    planned = _planned(looked, proposal, goal, options)
    return Result(
        "planned", None, planned.backend, planned.before, planned.after, planned_steps(planned), planned.given_up,
        snapshots=planned.snapshots, notes=planned.notes,
    )  # fmt: skip


def expand_live(
    looked: InspectedGuest, goal: Goal, options: RunOptions, observer: Observer, stop: StopRequest
) -> Result:  # fmt: skip
    """Grow it while it runs. Raises refusals; everything later is in the Result."""
    directory = RunDirectory.beside(looked.reached.path)
    refuse_if_unfinished(directory)
    _refuse_companions(looked, options)
    looked, goal = with_device(looked, known_to_host(goal, looked.reached.path))
    proposal = propose(looked.facts, goal)
    if isinstance(proposal, AllDone):
        return _nothing(looked, proposal)
    plan = _planned(looked, proposal, goal, options)
    with _locked(directory):
        try:
            refuse_spoiling(looked.reached.path, options)
            journal = directory.begin(encode_plan(plan))
            journal.append(Record(Event.BEGIN, facts={"run": plan.run}))
        except OSError as error:
            directory.withdraw()
            raise RunNotRecorded(looked.reached.path, directory.path, reason=error.strerror or str(error)) from error
        session = LiveSession(
            looked.facts.image.path, plan, looked.reached, looked.inside, directory, journal, observer, stop,
            options.keys,
        )  # fmt: skip
        return carry_out(session, session.engine.advance)


def _refuse_companions(looked: InspectedGuest, options: RunOptions) -> None:
    if options.others:
        raise OptionUnsupported(
            looked.facts.image.path, option=f"--with {options.others[0].path}", reason="its guest runs",
            hint="leave it out, or shut the guest down",
        )  # fmt: skip


@contextmanager
def reopened(
    path: Path, plan: Plan, directory: RunDirectory, observer: Observer, stop: StopRequest,
    keys: tuple[bytes, ...] = (),
) -> Iterator[LiveSession | None]:  # fmt: skip
    """The run of a guest that runs now; None where it is off."""
    assert plan.way is not None
    reached = _reached_again(path, plan)
    if reached is None:
        yield None
        return
    with closing(reached), _locked(directory):
        status = reached.machine.status()
        if status != "running":
            raise GuestNotRunning(reached.machine.name, status=status)
        if plan.snapshots == "overlay":
            thaw(reached)
        inside = Inside(reached.open_shell, stop)
        yield LiveSession(path, plan, reached, inside, directory, directory.journal(), observer, stop, keys)


def _reached_again(path: Path, plan: Plan) -> RunningGuest | None:
    """By the way that the plan has; where that is gone, by the image, which may have been started another way."""
    assert plan.way is not None
    request = request_of(path, plan.way)
    try:
        reached = reach(request)
    except GrowdiskError:
        reached = reconnect(request)
    return None if isinstance(reached, Path) else reached


def carry_out(session: LiveSession, action: Callable[[], RunState]) -> Result:
    """Do it, and say how it ended."""
    with closing(session.snapshots):
        error = _in_our_words(session, run_to_outcome(action))
        session.directory.finish()
        state, plan = session.engine.state, session.plan
        session.directory.put_away()
        return Result(
            outcome(state, error), plan.run, plan.backend, plan.before, _layout_now(session, state),
            step_reports(plan, state), () if state.status is Status.UNDONE else plan.given_up,
            how_far_back(state) if error is None else "", error, plan.snapshots, kept=state.status is Status.KEPT,
            notes=plan.notes,
        )  # fmt: skip


def _in_our_words(session: LiveSession, error: GrowdiskError | None) -> GrowdiskError | None:
    """A run with snapshots does have a way back, once the guest is off."""
    if isinstance(error, StoppedWithoutWayBack) and session.plan.snapshots == "internal":
        return MachineGone(session.path, step=error.step, reason=error.reason)
    if session.plan.snapshots != "overlay":
        return error
    if isinstance(error, StoppedWithoutWayBack):
        return StoppedOnOverlays(session.path, step=error.step, reason=error.reason)
    if isinstance(error, NothingToRestore):
        return OverlaysNeedRest(session.path, overlay=session.reached.disk.file)
    return error


def refuse_other_image(session: LiveSession) -> None:
    """WrongImage, where the guest was started past the run's overlays: nothing is even written down then."""
    if isinstance(session.snapshots, LiveOverlays):
        session.snapshots.refuse_other_image()


def refuse_closed(session: LiveSession) -> None:
    """What does not let us in now, a user can open: that is no reason to take the run back. GuestUnreachable; and
    GuestRefused, where containers are closed since the guest has restarted."""
    state, context = session.engine.state, session.context
    if state.settling or state.keeping or state.going_back:
        return
    context.ask("true")
    if context.guest.all_layers:
        context.check()


def refuse_forward_without_guest(path: Path, state: RunState) -> None:
    """GuestIsOff, unless all that is left to do is done to the image alone."""
    if not (state.settling or state.keeping or state.going_back):
        raise GuestIsOff(path)


def _layout_now(session: LiveSession, state: RunState) -> Layout:
    """The disk as it is now; as it should be, where the guest cannot be asked any more."""
    session.context.inside.forget()  # an agent talks to one at a time
    try:
        looked = look(session.reached.again(), session.path, StopRequest())
    except GrowdiskError:
        return session.plan.before if state.status is Status.UNDONE else session.plan.after
    looked.inside.forget()
    return layout_of(looked.facts)


def _planned(looked: InspectedGuest, proposal: Proposal, goal: Goal, options: RunOptions) -> Plan:
    """Refused, too, where the guest itself says that it cannot do its part."""
    old, new = looked.facts.image.virtual_size, proposal.after.image.virtual_size
    refuse_to_fill_host(looked.reached.path, goal, old, new)
    way = looked.reached.way(looked.device)
    plan = make_live_plan(looked.facts, proposal, goal, options, looked.surroundings(), way)
    refuse_full_storage(plan, looked)
    context_of(plan, looked.reached, looked.inside, looked.reached.path, options.keys).check()
    return plan


def _nothing(looked: InspectedGuest, proposal: AllDone) -> Result:
    layout = layout_of(looked.facts)
    return Result("nochange", None, None, layout, layout, reason=proposal.reason)


@contextmanager
def _locked(directory: RunDirectory) -> Iterator[None]:
    fd = lock_run(directory)
    try:
        yield
    finally:
        os.close(fd)
