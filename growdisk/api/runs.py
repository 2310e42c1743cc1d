"""Carrying plans out: expand, and what can be done with a run that is recorded beside an image."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.api.by_rule import known_to_host, refuse_to_fill_host
from growdisk.api.disks import inspect
from growdisk.api.extra_disks import found_formats, plan_beside, refuse_spoiling
from growdisk.api.guard import carried_at, carried_by, refuse_carried, refuse_overlays
from growdisk.api.guest import as_guest_says, with_guest
from growdisk.api.host import facts_of_host, fit_to_host, refuse_unfit_host
from growdisk.api.host_space import SET_ASIDE, HostTooFull, parts_of, refuse_without_room
from growdisk.api.images.host import free_room
from growdisk.api.result import Result, step_reports
from growdisk.api.run_to_outcome import how_far_back, outcome, run_to_outcome
from growdisk.api.second_opinion import heard
from growdisk.api.session import Session, layout_now
from growdisk.backends.doctor import require_appliance
from growdisk.errors import GrowdiskError, KeyNeeded, Refused
from growdisk.fast_dataclass import dataclass, field
from growdisk.planner.backend_choice import choose_backend
from growdisk.planner.extra_disks import as_disk_layout, together
from growdisk.planner.goal import Goal, RunOptions
from growdisk.planner.inspect import image_facts, inspect_device
from growdisk.planner.layout import Layout, layout_of
from growdisk.planner.plan import Plan, decode_plan, make_plan
from growdisk.planner.planner import AllDone, PlanFunction, propose
from growdisk.qcow2.named_files import trusting_references
from growdisk.qcow2.probe import probe_to_write
from growdisk.steps.disk import Disk, Format
from growdisk.volumes.keyring import Keyring
from growdisk.volumes.other_pvs import PhysicalVolumeFinder
from growdisk.workflow.engine import Observer
from growdisk.workflow.journal import Event
from growdisk.workflow.run_directory import (
    NoSuchRun,
    RunDirectory,
    RunNotRecorded,
    refuse_if_unfinished,
)
from growdisk.workflow.states import TOUCHED, RunState, Status
from growdisk.workflow.stopping import StopRequest

if TYPE_CHECKING:
    from growdisk.api.live_session import LiveSession


@dataclass(frozen=True)
class Allowed:
    """What goes with going on: passphrases of what is encrypted, consent to spoil what lies on the image, and the
    user's word that nobody uses it whom growdisk cannot see."""

    keys: tuple[bytes, ...] = field(default=(), repr=False)
    overlays_may_break: bool = False
    not_in_use: bool = False


class Silent:
    """An observer that shows nothing."""

    def step_started(self, number: int, total: int, name: str, description: str) -> None: ...

    def step_said(self, line: str) -> None: ...

    def step_ended(self, name: str, state: str, seconds: float, detail: str) -> None: ...


def expand(
    path: Path, goal: Goal, options: RunOptions, image_format: Format | None = None,
    observer: Observer | None = None, stop: StopRequest | None = None, proposer: PlanFunction = propose,
) -> Result:  # fmt: skip
    """Grow image, partition and file system, or what else `proposer` proposes. Raises refusals; everything later is in
    the Result."""
    directory, goal = RunDirectory.beside(path), known_to_host(goal, path)
    others = found_formats(path, options.others)
    chosen = image_format or probe_to_write(path)
    refuse_unfit_host(path, options)
    with closing(Disk.open(directory.image, chosen, others, not_in_use=options.not_in_use, key=options.keys)) as disk:
        # Now that the image is ours: a run that is going on is named by its process.
        refuse_if_unfinished(directory)
        for each in (disk, *disk.companions):
            refuse_carried(path if each is disk else each.path, carried_by(each.active))
        keyring = Keyring(options.keys)
        named = [(companion.active, companion.path) for companion in disk.companions]
        image = facts_of_host(image_facts(disk.active, path), path, goal)
        facts = inspect_device(disk, image, goal.sector_size, keyring, others=named)
        facts = as_guest_says(facts, goal, disk, keyring, named)
        beside = plan_beside(facts, named, options, goal.sector_size, keyring)
        proposal = together(with_guest(proposer, facts, goal, disk, keyring, named), facts, beside)
        if isinstance(proposal, AllDone):
            layout = layout_of(facts)
            return Result("nochange", None, None, layout, layout, reason=proposal.reason)
        refuse_to_fill_host(path, goal, facts.image.virtual_size, proposal.after.image.virtual_size)
        refuse_spoiling(path, options)
        neighbours = PhysicalVolumeFinder([(disk, path), *named], goal.sector_size)
        opinion = heard(facts, goal, proposal, disk, keyring, neighbours)
        proposal = opinion.proposal
        choice = choose_backend(facts, proposal, options, disk, tried=opinion.asked)
        plan = make_plan(facts, proposal, goal, options, choice, beside)
        plan = fit_to_host(plan, path, directory, options)
        if "guestfs" in (choice.backend, *(other.choice.backend for other in beside if other.proposal)):
            require_appliance()
        parts = parts_of(disk.active, facts, proposal, plan, zip([other for other, _ in named], beside, strict=True))
        room = refuse_without_room(path, parts)
        try:
            session = Session.begin(
                path, plan, disk, directory, observer or Silent(), stop or StopRequest(), keyring, room=room
            )
        except OSError as error:
            directory.withdraw()
            raise _not_begun(path, directory, error, room) from error
        return _carry_out(session, session.engine.advance)


def _not_begun(path: Path, directory: RunDirectory, error: OSError, room: int) -> Refused:
    """Why a run could not even be written down."""
    reason = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = directory.path.parent
        return HostTooFull(path, place, room + SET_ASIDE, free_room(place), problem=reason)
    return RunNotRecorded(path, directory.path, reason=reason)


def resume(
    image: str | PathLike[str], observer: Observer | None = None, stop: StopRequest | None = None,
    keys: tuple[bytes, ...] = (), *, overlays_may_break: bool = False, not_in_use: bool = False,
) -> Result:  # fmt: skip
    """Go on with an unfinished run, in the direction it was going. A finished or kept one is left as it is.

    `keys` are the passphrases of what is encrypted inside. `not_in_use` is as in RunOptions.
    """
    path = Path(image)
    refuse_carried(path, carried_at(path))
    directory = RunDirectory.beside(path).leading()
    state = directory.state()
    if state.finished or state.status is Status.KEPT:
        directory.finish()  # where growdisk was killed when all was done but this
        result = _nothing_to_resume(directory.image, directory, state, keys)
        directory.put_away()
        return result
    allowed = Allowed(keys, overlays_may_break, not_in_use)
    return _with_session(path, "resume", observer, stop, lambda session: session.engine.advance, allowed)


def rollback(
    image: str | PathLike[str], to: str | None = None, observer: Observer | None = None,
    stop: StopRequest | None = None, keys: tuple[bytes, ...] = (), *, overlays_may_break: bool = False,
    not_in_use: bool = False,
) -> Result:  # fmt: skip
    """Undo a run, newest step first, down to and including the step `to` (all of them if None)."""
    path = Path(image)

    def back(session: Session | LiveSession) -> Callable[[], RunState]:
        if session.engine.state.settling:
            reason = "all its steps are done and their snapshots are being removed: growdisk resume finishes that"
            raise NoSuchRun(path, verb="roll back", reason=reason)
        refuse_unknown_step(path, [step.name for step in session.plan.steps], to)
        return lambda: session.engine.go_back(to)

    allowed = Allowed(keys, overlays_may_break, not_in_use)
    return _with_session(path, "roll back", observer, stop, back, allowed, undoable=True)


def refuse_unknown_step(path: Path, steps: Sequence[str], to: str | None) -> None:
    """NoSuchRun where `to` is none of the run's steps."""
    if to is not None and to not in steps:
        reason = f"the run has no step '{to}'; its steps are: {', '.join(steps)}"
        raise NoSuchRun(path, verb="roll back", reason=reason)


def commit(
    image: str | PathLike[str], observer: Observer | None = None, keys: tuple[bytes, ...] = (), *,
    not_in_use: bool = False,
) -> Result:  # fmt: skip
    """Accept the image as it is, and forget the run's snapshots. What lies on the image sees what it saw."""
    path = Path(image)

    def accept(session: Session | LiveSession) -> Callable[[], RunState]:
        state = session.engine.state
        half_done = [s.name for s in session.plan.steps if state.event_of(s.name) in TOUCHED - {Event.VERIFIED}]
        if half_done and not state.settling:
            raise NoSuchRun(path, verb="commit", reason=f"step {half_done[0]} is half done: resume or roll back first")
        return session.engine.commit

    allowed = Allowed(keys, overlays_may_break=True, not_in_use=not_in_use)
    return _with_session(path, "commit", observer, None, accept, allowed, undoable=True)


def _with_session(
    path: Path, verb: str, observer: Observer | None, stop: StopRequest | None,
    action: Callable[[Session | LiveSession], Callable[[], RunState]], allowed: Allowed, *, undoable: bool = False,
) -> Result:  # fmt: skip
    directory = RunDirectory.beside(path)
    refuse_carried(path, carried_at(path))
    if (leading := directory.leading()) is not directory:
        directory, path = leading, leading.image
    _refuse_without_run(path, verb, directory.state(), undoable=undoable)
    plan = decode_plan(directory.plan_file.read_bytes())
    if plan.way is not None and (
        result := _on_running_guest(path, plan, directory, verb, observer, stop, action, allowed.keys)
    ):
        return result
    others = [(Path(companion.path), _format(companion.format)) for companion in plan.companions]
    with trusting_references():  # what the images name was followed with the user's consent when the run began
        disk = Disk.open(
            directory.image, _format(plan.before.image.format), others, not_in_use=allowed.not_in_use, key=allowed.keys
        )
    with closing(disk):
        _refuse_without_run(path, verb, directory.state(), undoable=undoable)  # now that nobody else can end it
        for each in (disk, *disk.companions):
            if each.is_locked and (verb == "resume" or plan.snapshots != "internal"):
                raise KeyNeeded(path if each is disk else each.path)
            if not allowed.overlays_may_break:
                refuse_overlays(each.path)
        session = Session.reopen(
            path, plan, disk, directory, observer or Silent(), stop or StopRequest(), Keyring(allowed.keys),
            accepting=verb == "commit",
        )  # fmt: skip
        if verb == "resume":
            session.refuse_locked()
        return _carry_out(session, action(session))


def _on_running_guest(
    path: Path, plan: Plan, directory: RunDirectory, verb: str, observer: Observer | None, stop: StopRequest | None,
    action: Callable[[Session | LiveSession], Callable[[], RunState]], keys: tuple[bytes, ...],
) -> Result | None:  # fmt: skip
    """The run of a guest that was grown while it ran. None where it is off now, and the image can be worked on here."""
    from growdisk.api.live_runs import (
        carry_out,
        refuse_closed,
        refuse_forward_without_guest,
        refuse_other_image,
        reopened,
    )

    with reopened(path, plan, directory, observer or Silent(), stop or StopRequest(), keys) as session:
        if session is not None:
            if verb != "roll back":
                refuse_other_image(session)
            if verb == "resume":
                refuse_closed(session)
            return carry_out(session, action(session))
    if verb == "resume":
        refuse_forward_without_guest(path, directory.state())
    return None


def _refuse_without_run(path: Path, verb: str, state: RunState, *, undoable: bool) -> None:
    if state.status is Status.NONE:
        raise NoSuchRun(path, verb=verb)
    if undoable and state.finished:
        raise NoSuchRun(path, verb=verb, reason=f"the last run is {state.status.value}, and its snapshots are gone")


def _carry_out(session: Session, action: Callable[[], RunState]) -> Result:
    """Do it, and say how it ended. Errors of growdisk become part of the Result; everything else is a bug."""
    with closing(session.snapshots), session.directory.working():
        error = run_to_outcome(action)
        session.directory.finish()
        result = _result(session, error)
    session.put_away()
    return result


def _result(session: Session, error: GrowdiskError | None) -> Result:
    state, plan = session.engine.state, session.plan
    layout = layout_now(session.disk, session.path, plan.sector_size, session.keyring)
    if session.disk.is_locked:
        layout = plan.before if state.status is Status.UNDONE else plan.after
    reason = how_far_back(state) if error is None else ""
    return Result(
        outcome(state, error), plan.run, plan.backend, plan.before, layout, step_reports(plan, state),
        () if state.status is Status.UNDONE else plan.given_up, reason, error,
        plan.snapshots, kept=state.status is Status.KEPT, backend_reason=plan.backend_reason,
        notes=() if state.status is Status.UNDONE else plan.notes, others=tuple(_others(session)),
    )  # fmt: skip


def _others(session: Session) -> Iterator[tuple[Layout, Layout]]:
    """The further disks that were to grow: before, and as they are now."""
    for number, (disk, known) in enumerate(zip(session.disk.companions, session.plan.companions, strict=True), 1):
        if known.before is not None:
            layout = layout_now(disk, disk.path, session.plan.sector_size, session.keyring)
            yield known.before, as_disk_layout(layout, number)


def _nothing_to_resume(path: Path, directory: RunDirectory, state: RunState, keys: tuple[bytes, ...]) -> Result:
    plan = decode_plan(directory.plan_file.read_bytes())
    layout = plan.after
    if plan.way is None:  # an image in use is not looked into
        with suppress(KeyNeeded):
            layout = layout_of(inspect(path, _format(plan.before.image.format), plan.sector_size, keys))
    reason = f"the last run is {state.status.value} already"
    if state.status is Status.KEPT:
        reason = "all steps are done, and the way back is kept (growdisk rollback takes it, growdisk commit forgets it)"
    return Result(
        "nochange", plan.run, plan.backend, layout, layout, step_reports(plan, state), reason=reason,
        snapshots=plan.snapshots, kept=state.status is Status.KEPT, backend_reason=plan.backend_reason,
    )  # fmt: skip


def _format(name: str) -> Format:
    return "raw" if name == "raw" else "qcow2"
