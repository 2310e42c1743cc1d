"""Ends a run that another process began: it is continued, rolled back, or accepted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.api.at_rest import Allowed, format_named, reopened, session_of
from growdisk.api.current_run import CurrentRun, Silent, recorded_plan
from growdisk.api.disk_facts import facts_of_image
from growdisk.api.guard import CarriedRun, carried_at, carried_by, refuse_carried, refuse_dependents
from growdisk.api.result import Outcome, Result, result_of
from growdisk.api.runs import carry_out
from growdisk.api.session import layout_now
from growdisk.block.raw import RawFile
from growdisk.errors import GrowdiskError, ImageInUse, KeyNeeded, Refused
from growdisk.fast_dataclass import replace
from growdisk.planner.layout import layout_of
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.named_files import real
from growdisk.qcow2.probe import probe_to_write
from growdisk.qcow2.repair import repair
from growdisk.steps.disk import Disk
from growdisk.suggestions import suggestion
from growdisk.volumes.keyring import Keyring
from growdisk.workflow.failures import no_such_run
from growdisk.workflow.journal import ENDED, RunState, RunStatus
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.stopping import StopRequest

if TYPE_CHECKING:
    from growdisk.api.runs import AnySession
    from growdisk.workflow.engine import Observer

    Action = Callable[[AnySession], Callable[[], RunState]]


def resume(
    image: str | PathLike[str],
    observer: Observer | None = None,
    stop: StopRequest | None = None,
    keys: tuple[bytes, ...] = (),
    *,
    overlays_may_break: bool = False,
    not_in_use: bool = False,
) -> Result:
    """Go on with an unfinished run, in the direction it was going.

    A finished or kept one is left as it is. `keys` are the passphrases of what is encrypted inside.
    `not_in_use` is as in RunOptions.
    """
    path = Path(image)
    refuse_carried(carried_at(path))
    directory = RunDirectory.of(path).leading()
    # A run that ended between its last record and here is finished; what it left is put away.
    state = directory.state()
    if state.finished or state.status is RunStatus.KEPT:
        directory.finish()  # where growdisk was killed when all was done but this
        result = _nothing_to_resume(directory, state, keys)
        if state.finished:
            _put_away(directory, not_in_use=not_in_use)
        return result
    allowed = Allowed(keys, overlays_may_break, not_in_use)
    return _with_session(
        path, "resume", observer, stop, lambda session: session.engine.advance, allowed
    )


def _put_away(directory: RunDirectory, *, not_in_use: bool) -> None:
    """Put away what a finished run has left beside its disks; not while somebody uses them."""
    plan = recorded_plan(directory)
    folders = [directory, *(RunDirectory(Path(extra.path)) for extra in plan.extra_disks)]
    # The run is over: nothing that fails here may make `resume` fail.
    with suppress(GrowdiskError, OSError), ExitStack() as disks:
        # With the lock nobody begins a run: a folder without a plan is then left over.
        for folder in folders if plan.way is None else ():
            file = RawFile.open(folder.image, writable=True, not_in_use=not_in_use)
            disks.enter_context(closing(file))
        if plan.way is not None:
            from growdisk.api.running import locked

            disks.enter_context(locked(directory))
        for folder in reversed(folders):  # as in Session.put_away
            folder.put_away()


def clear_up(image: Path, run: str) -> None:
    """Remove what later runs have left beside an image that was put back to before them.

    `run` is the one from before. Not while somebody uses the image, who may begin a run.
    """
    directory = RunDirectory.of(image)
    with suppress(ImageInUse), closing(RawFile.open(directory.image, writable=True)) as file:
        leading = directory.leading()
        # The record is of a run that the image, as it is now, has not seen.
        if leading.plan_file.exists() and leading.run() != run:
            # Nobody else knows that the mark is of a run that never began.
            if directory.never_began() and carried_at(directory.image) is not None:
                _forget(Qcow2Image.over(file, directory.image, writable=True), [])
            directory.forget()
        else:
            directory.put_away()


def rollback(
    image: str | PathLike[str],
    to: str | None = None,
    observer: Observer | None = None,
    stop: StopRequest | None = None,
    keys: tuple[bytes, ...] = (),
    *,
    overlays_may_break: bool = False,
    not_in_use: bool = False,
) -> Result:
    """Undo a run, newest step first, down to and including the step `to` (all of them if None)."""
    path = Path(image)

    def roll_back(session: AnySession) -> Callable[[], RunState]:
        # Some snapshots may be gone already: the run cannot be undone as a whole.
        if session.engine.state.committing:
            reason = (
                "all its steps are done and their snapshots are being removed: growdisk "
                "resume finishes that"
            )
            raise no_such_run(path, verb="roll back", reason=reason)
        refuse_unknown_step(path, [step.name for step in session.run.plan.steps], to)
        return lambda: session.engine.roll_back(to)

    allowed = Allowed(keys, overlays_may_break, not_in_use)
    return _with_session(path, "roll back", observer, stop, roll_back, allowed)


def refuse_unknown_step(path: Path, steps: Sequence[str], to: str | None) -> None:
    """no-such-step if `to` is none of the run's steps."""
    if to is not None and to not in steps:
        raise Refused.named(
            "no-such-step",
            "the run of {path} has no step '{step}'",
            "its steps are: {steps}",
            "{_hint}",
            {
                "path": path,
                "step": to,
                "steps": tuple(steps),
                "_hint": suggestion(to, steps, "name one of them, or leave --to out for all"),
            },
        )


def commit(
    image: str | PathLike[str],
    observer: Observer | None = None,
    keys: tuple[bytes, ...] = (),
    *,
    not_in_use: bool = False,
    as_it_is: bool = False,
) -> Result:
    """Accept the image as a run left it that is done, and forget the run's snapshots.

    `as_it_is`: also if some of its steps are not done, or are undone. What lies on the image sees
    what it saw.
    """
    path = Path(image)

    def accept(session: AnySession) -> Callable[[], RunState]:
        state = session.engine.state
        # With a step that is not done, the guest's files may not fit what is on the disk.
        left = [s.name for s in session.run.plan.steps if state.event_of(s.name) not in ENDED]
        if not (state.committing or as_it_is):
            refuse_left_steps(path, left)
        return session.engine.commit

    # An unfinished run may have changed overlays alone, which now become part of the image.
    allowed = Allowed(
        keys, overlays_may_break=True, not_in_use=not_in_use, shows_the_same=not as_it_is
    )
    return _with_session(path, "commit", observer, None, accept, allowed)


def refuse_left_steps(path: Path, left: Sequence[str]) -> None:
    """no-such-run if steps of the run that is to be accepted are not done."""
    if left:
        raise no_such_run(
            path,
            verb="commit",
            reason=f"step {left[0]} is not done: resume or roll back first (growdisk commit "
            "--force keeps the disk as it is now)",
        )


def _with_session(
    path: Path,
    verb: str,
    observer: Observer | None,
    stop: StopRequest | None,
    action: Action,
    allowed: Allowed,
) -> Result:
    directory = RunDirectory.of(path)
    refuse_carried(carried_at(path))
    # A further disk of a run was named: the run is the first disk's, and handles them all.
    if (leading := directory.leading()) is not directory:
        directory, path = leading, leading.image
    # A look without a lock: "there is no run" is the better answer if the image is in use.
    _refuse_without_run(path, verb, directory.state())
    plan = recorded_plan(directory)
    run = CurrentRun(
        path, plan, directory, observer or Silent(), stop or StopRequest(), Keyring(allowed.keys)
    )
    with _session(run, verb, allowed) as session:
        with ExitStack() as refused:
            refused.callback(session.snapshots.close)
            todo = action(session)
            refused.pop_all()  # from here on it is closed there
        return carry_out(session, todo)


@contextmanager
def _session(run: CurrentRun, verb: str, allowed: Allowed) -> Iterator[AnySession]:
    """The run that another process began: in its guest, or on the images if the guest is off."""
    with ExitStack() as stack:
        if run.plan.way is not None:
            from growdisk.api.running import reopened_guest

            # The image's lock is with QEMU then: the run's folder is locked instead.
            if (live := stack.enter_context(reopened_guest(run, verb))) is not None:
                yield live
                return
        disk = stack.enter_context(reopened(run, allowed))
        # Again, now that nobody else can end it.
        _refuse_without_run(run.path, verb, run.directory.state())
        yield session_of(run, disk, verb, allowed)


def _refuse_without_run(path: Path, verb: str, state: RunState) -> None:
    if state.status is RunStatus.NONE:
        raise no_such_run(path, verb=verb)
    # Of a finished run resume() has put away what is left; the others need its snapshots.
    if verb != "resume" and state.finished:
        reason = f"the last run is {state.status.value}, and its snapshots are gone"
        raise no_such_run(path, verb, reason)


def _nothing_to_resume(directory: RunDirectory, state: RunState, keys: tuple[bytes, ...]) -> Result:
    plan = recorded_plan(directory)
    # What the plan was to reach, unless the disk can be looked at.
    layout = plan.after
    if plan.way is None:  # an image in use is not looked into
        try:
            image, kind = directory.image, format_named(plan.before.image.format)
            layout = layout_of(facts_of_image(image, kind, plan.sector_size, keys))
        except KeyNeeded:
            pass
    reason = f"the last run is {state.status.value} already"
    if state.status is RunStatus.KEPT:
        reason = (
            "all steps are done, and the way back is kept (growdisk rollback takes it, "
            "growdisk commit forgets it)"
        )
    return replace(result_of(plan, state, "nochange", layout, layout), reason=reason)


# --- a run that an image only carries, without its folder -----------------------------------------
#
# Going back is possible as long as the snapshot from before the run's first step is there. Which
# other disks took part is not known, so neither way is taken without being asked for.


def commit_carried(
    path: Path, keys: tuple[bytes, ...] = (), *, not_in_use: bool = False, sector_size: int = 512
) -> Result:
    """Keep the image as it is, and remove the snapshots of all runs and their mark.

    `sector_size` is the disk's logical one, by which the layout in the Result is read.
    """

    def accept(carried: CarriedRun) -> tuple[str, list[str]]:
        return "", [snapshot.name for snapshot in carried.snapshots]

    allowed = Allowed(keys, not_in_use=not_in_use)
    return _ended(path, "commit", "changed", accept, allowed, sector_size)


def rollback_carried(
    path: Path,
    keys: tuple[bytes, ...] = (),
    *,
    overlays_may_break: bool = False,
    not_in_use: bool = False,
    sector_size: int = 512,
) -> Result:
    """Go back to before the latest run, and remove what the image carries of it.

    `sector_size`: as for commit_carried.
    """

    def roll_back(carried: CarriedRun) -> tuple[str, list[str]]:
        first = carried.first
        if first is None:
            reason = (
                "the snapshot from before the run is gone; growdisk commit --force keeps the "
                "image as it is"
            )
            raise _nothing_carried(path, verb="roll back", reason=reason)
        refuse_dependents(path, overlays_may_break=overlays_may_break)
        own = [snapshot.name for snapshot in carried.snapshots if snapshot.run == carried.run]
        return first.name, own

    allowed = Allowed(keys, not_in_use=not_in_use)
    return _ended(path, "roll back", "restored", roll_back, allowed, sector_size)


def _ended(
    path: Path,
    verb: str,
    outcome: Outcome,
    action: Callable[[CarriedRun], tuple[str, list[str]]],
    allowed: Allowed,
    sector_size: int,
) -> Result:
    """`action` names the snapshot to go back to, "" for none, and those that go away then."""
    with closing(
        Disk.open(real(path), probe_to_write(path), not_in_use=allowed.not_in_use, key=allowed.keys)
    ) as disk:
        carried = carried_by(disk.active, path)
        if carried is None or carried.is_recorded:
            reason = "its run is recorded beside it" if carried else "it carries no run of growdisk"
            raise _nothing_carried(path, verb=verb, reason=reason)
        (target, names), keyring = action(carried), Keyring(allowed.keys)
        # From here on nothing is refused.
        before = layout_now(disk, path, sector_size, keyring)
        repair(disk.file, disk.path, errors=False)  # what a crash left half-made: leaks, no more
        image = disk.base(writable=True)
        assert isinstance(image, Qcow2Image)
        # It writes through this view; the disk reads through its own until that is activated.
        if target:
            image.apply_snapshot(target)
        _forget(image, names)
        disk.activate(image)
        after = layout_now(disk, path, sector_size, keyring)
    return Result(outcome, carried.run or None, None, before, after)


def _forget(image: Qcow2Image, names: list[str]) -> None:
    """The latest first: as long as there is a snapshot, it can be rolled back to."""
    for name in reversed(names):
        image.delete_snapshot(name)
    # After the snapshots: as long as there is a mark, the image shows a run that is not over.
    image.set_run_mark(on=False)
    image.flush()


def _nothing_carried(path: Path, verb: str, reason: str) -> Refused:
    return Refused.named(
        "nothing-carried",
        "there is nothing to {verb} by force in {path}",
        "{reason}",
        "growdisk status {path} says how it stands",
        {"path": path, "verb": verb, "reason": reason},
    )
