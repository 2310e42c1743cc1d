"""Runs: a plan is made and carried out. Recorded ones are continued in recorded_runs.py.

It is the same for an image at rest and for a guest that runs. What differs is the Target: how its
disks are opened and locked, who says what is on them, who does the steps, and where the snapshots
lie.

    target    opened, locked              facts            plan               worker, snapshots
    at rest   at_rest.py, steps/disk.py   disk_facts.py    planner/plan.py    session.py
    running   running.py, live_target.py  live_inspect.py  planner/live_plan  live_session.py
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.api.at_rest import DisksAtRest, refuse_spoiling, to_read, to_write
from growdisk.api.current_run import CurrentRun, Prepared, Silent
from growdisk.api.disks import explained_refusals
from growdisk.api.host_space import SET_ASIDE, host_too_full, refuse_to_fill_host
from growdisk.api.result import (
    Result,
    how_far_back,
    outcome,
    planned_result,
    result_of,
    run_to_outcome,
)
from growdisk.block.host_blocks import free_room
from growdisk.durable import NO_ROOM
from growdisk.errors import GrowdiskError, Refused
from growdisk.fast_dataclass import replace
from growdisk.planner.goal import Goal, RunOptions
from growdisk.planner.layout import layout_of
from growdisk.planner.plan import Plan
from growdisk.planner.planner import propose
from growdisk.planner.proposal import GoalReached, PlanFunction
from growdisk.qcow2.probe import ImageFormat
from growdisk.units import SizeSpec, parse_goal_size
from growdisk.workflow.failures import before_anything, run_not_recorded
from growdisk.workflow.journal import RunState, RunStatus
from growdisk.workflow.run_directory import RunDirectory, refuse_if_open
from growdisk.workflow.stopping import StopRequest

if TYPE_CHECKING:
    from growdisk.api.live_request import LiveRequest
    from growdisk.api.live_session import LiveSession
    from growdisk.api.running import GuestTarget
    from growdisk.api.session import Session
    from growdisk.workflow.engine import Observer

    # What a run works on, open and not to be changed by anybody else.
    Target = DisksAtRest | GuestTarget
    AnySession = Session | LiveSession
    Asked = str | PathLike[str] | LiveRequest
    Wanted = Goal | SizeSpec | str | None


def plan(
    target: Asked,
    goal: Wanted = None,
    options: RunOptions | None = None,
    image_format: ImageFormat | None = None,
    propose: PlanFunction = propose,
) -> Result:
    """What expand would do, as a Result that is "planned" or "nochange".

    Reads only. Arguments: see expand.
    """
    goal, options = _goal(goal), options or RunOptions()
    with (
        before_anything(),
        _opened(target, goal, options, image_format, StopRequest(), verb="plan") as found,
    ):
        prepared = _prepare(found, goal, propose)
    return prepared if isinstance(prepared, Result) else planned_result(prepared.plan)


def expand(
    target: Asked,
    goal: Wanted = None,
    options: RunOptions | None = None,
    image_format: ImageFormat | None = None,
    observer: Observer | None = None,
    stop: StopRequest | None = None,
    propose: PlanFunction = propose,
) -> Result:
    """Grow a disk and all that is in it, each step after a snapshot.

    target: the image's path, or a LiveRequest for a guest that may be running. goal: a size
    ("+10G", "40G"), or a Goal that also says which partition grows and what may give way; None
    fills what is there. options: backend, snapshots, passphrases. observer hears of each step;
    stop.ask() ends the run early, and takes it back. propose: what the run is to do, if that is not
    the whole job.

    Raises UsageError for a size that cannot be read, and Refused if nothing was touched. Once a run
    has begun, the Result says how it ended: "changed", "nochange", "restored" or "stuck", with
    `error` unless it ended as asked.
    """
    goal, options, stop = _goal(goal), options or RunOptions(), stop or StopRequest()
    with ExitStack() as stack:
        with before_anything():
            found = stack.enter_context(
                _opened(target, goal, options, image_format, stop, verb="expand")
            )
            prepared = _prepare(found, goal, propose)
        if isinstance(prepared, Result):
            # Nothing to do. What a killed run has left beside the image is removed all the same.
            found.put_away()
            return prepared
        path = Path(prepared.plan.before.image.path)  # as the user named it
        run = CurrentRun(
            path, prepared.plan, found.directory, observer or Silent(), stop, found.keyring
        )
        # At rest this takes no lock: the image's own is held since _opened().
        with found.locked():
            # What cannot be written down must leave no folder that looks like a run.
            try:
                with before_anything():
                    session = found.begin(run, prepared.room)
            except BaseException as error:
                run.directory.withdraw()
                if isinstance(error, OSError):
                    raise _not_begun(run, error, prepared.room) from error
                raise
            return carry_out(session, session.engine.advance)


def _goal(wanted: Wanted) -> Goal:
    if isinstance(wanted, Goal):
        return wanted
    return Goal(parse_goal_size(wanted) if isinstance(wanted, str) else wanted)


@contextmanager
def _opened(
    asked: Asked,
    goal: Goal,
    options: RunOptions,
    image_format: ImageFormat | None,
    stop: StopRequest,
    *,
    verb: str,
) -> Iterator[Target]:
    with ExitStack() as stack:
        if isinstance(asked, (str, PathLike)):
            path = Path(asked)
            # A LiveRequest finds the guest that has the image; a mere path only gets a hint at it.
            stack.enter_context(explained_refusals(path, verb, goal.size))
        else:
            from growdisk.api.running import running_guest

            guest = stack.enter_context(running_guest(asked, goal, options, stop))
            if not isinstance(guest, Path):
                yield guest
                return
            # It is off: from here on as if its image had been named.
            path = guest
        opened = to_read if verb == "plan" else to_write
        yield stack.enter_context(opened(path, options, image_format))


def _prepare(target: Target, goal: Goal, propose: PlanFunction) -> Prepared | Result:
    """The plan as it would be carried out now; the Result, if there is nothing to do. Refusals."""
    # A kept run is let through here: if there is nothing to do, it hinders nobody.
    refuse_if_open(target.directory, unless_kept=True)
    goal = target.completed(_with_last_growth(goal, target.path))
    facts = target.facts(goal)
    # What only a change needs (room, no kept run, no overlays) is asked below this line.
    proposal = target.proposed(facts, goal, propose)
    if isinstance(proposal, GoalReached):
        layout = layout_of(facts)
        return Result("nochange", None, None, layout, layout, reason=proposal.reason)
    refuse_to_fill_host(
        target.path, goal, facts.image.virtual_size, proposal.after.image.virtual_size
    )
    refuse_spoiling(target.path, target.options)
    prepared = target.planned(facts, proposal, goal)
    # It only reads, so that `plan` refuses what `expand` would: begin() tries it for certain.
    _refuse_unrecorded(target, prepared.plan)
    return prepared


def _with_last_growth(goal: Goal, path: Path) -> Goal:
    """The goal, whose rule knows how long ago a run of the image at `path` ended well."""
    rule = goal.rule
    if rule is None or rule.min_interval is None:
        return goal
    directory = RunDirectory.of(path)
    if directory.state().status not in (RunStatus.DONE, RunStatus.KEPT):
        return goal
    # Put away with its plan, and last written when the run ended. After a wrong clock that may lie
    # in the future, which delays a growth by the interval at most.
    journal = directory.plan_file.with_name("journal.jsonl")
    seconds = abs(time.time() - journal.stat().st_mtime)
    return replace(goal, rule=replace(rule, since_growth=seconds))


def _refuse_unrecorded(target: Target, plan: Plan) -> None:
    """run-not-recorded if the folder of the run, or of a disk in it, cannot be made."""
    target.directory.refuse_unrecorded(target.path)
    for path in (Path(other.path) for other in plan.extra_disks):
        RunDirectory(path).refuse_unrecorded(path)


def _not_begun(run: CurrentRun, error: OSError, room: int) -> Refused:
    """Why a run could not even be written down."""
    reason = error.strerror or str(error)
    if error.errno in NO_ROOM:
        place = run.directory.path.parent
        return host_too_full(run.path, place, room + SET_ASIDE, free_room(place), problem=reason)
    return run_not_recorded(run.path, run.directory.path, reason=reason)


def carry_out(session: AnySession, action: Callable[[], RunState]) -> Result:
    """Do it, and say how it ended.

    Errors of growdisk become part of the Result; everything else is a bug.
    """
    with closing(session.snapshots), session.run.directory.working():
        # The error is kept, not raised: the Result also says how the disk stands now.
        error = session.explained(run_to_outcome(action))
        session.run.directory.finish()
        result = _result(session, error)
    # Does nothing unless the run is finished: an unfinished or kept one needs its folder.
    session.put_away()
    return result


def _result(session: AnySession, error: GrowdiskError | None) -> Result:
    state, plan = session.engine.state, session.run.plan
    undone = state.status is RunStatus.UNDONE
    # What cannot be read any more (lost, locked, guest gone) is shown as the plan has it.
    layout = session.layout_now() or (plan.before if undone else plan.after)
    reason = how_far_back(state) if error is None else ""
    return replace(
        result_of(plan, state, outcome(state, error), plan.before, layout),
        given_up=() if undone else plan.given_up,
        reason=reason,
        error=error,
        notes=() if undone else plan.notes,
        others=session.others_now(),
    )
