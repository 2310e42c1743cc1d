"""One play on one host: its tasks in order, each decision in the journal before it is acted on.

On resume, a task that had ended is not done again; one that had begun is continued:
what is half done in the image is finished by its own journal first. With growdisk_on_failure: play,
a failure takes back all of the play.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

from growdisk import api
from growdisk.api.current_run import Silent
from growdisk.api.provisioning.work_image import remove_left_over
from growdisk.api.recorded_runs import clear_up
from growdisk.block.raw import RawFile
from growdisk.errors import GrowdiskError, ImageInUse, NeedsUser
from growdisk.fast_dataclass import replace
from growdisk.planner.facts import Facts
from growdisk.playbook.checkpoints import PlaySnapshot, finished_before, state_before
from growdisk.playbook.expressions import TaskVariables
from growdisk.playbook.hosts import PlayContext
from growdisk.playbook.model import Task
from growdisk.playbook.options import truth_of
from growdisk.playbook.perform import TaskResult, perform
from growdisk.playbook.play_records import PlayJournal
from growdisk.playbook.reports import (
    Event,
    HostReport,
    HostResult,
    StepStarted,
    TaskEnded,
    TaskReport,
    TaskStarted,
)
from growdisk.playbook.specs import NAMESPACE, TASKS
from growdisk.playbook.task_run import Done, TaskRun
from growdisk.workflow.stopping import StopRequest

_CREATES = {"convert": "dest", "provision": "dest", "image": "image"}


class HostRun:
    """One host's run of a play; `journal` is None in check mode.

    `tell` gets every event; `run` names the run, for what lies beside images.
    """

    def __init__(
        self,
        setting: PlayContext,
        facts: Mapping[str, object],
        journal: PlayJournal | None,
        run: str,
        emit: Callable[[Event], None],
        stop: StopRequest,
    ) -> None:
        self._setting, self._facts, self._journal, self._run = setting, dict(facts), journal, run
        self._emit, self._stop = emit, stop
        self._reports: list[TaskReport] = []
        self._foreseen: dict[Path, Facts] = {}
        self._files = setting.files(facts)
        self._how_far = setting.how_far_back(setting.scope(facts))
        self._tasks = [
            (n, task) for n, task in enumerate(setting.play.tasks) if setting.request.takes(task)
        ]

    def run(self) -> HostReport:
        """To the end of the play, or back."""
        if self._journal is not None:
            self._journal.begin()
            # It died while it took the play back. The decision stands: no task is begun again.
            if self._journal.going_back:
                return self._gone_back(self._journal.failure)
        for position, (number, task) in enumerate(self._tasks, start=1):
            done = self._done(position, number, task)
            if done.failed is not None:
                return self._failed(done.failed)
        changed = any(report.state == "changed" for report in self._reports)
        return self._ended("changed" if changed else "ok", 0, None)

    def undo(self) -> HostReport:
        """Take back what a play that was cut short did to its images."""
        assert self._journal is not None
        try:
            # Before the decision is recorded: a run that cannot be ended leaves the play as it was,
            # and --undo can be tried again.
            for before in self._journal.half_done():
                self._end_run_on(before.image, before.run)
        except GrowdiskError as wrong:
            return self._not_taken_back("it was cut short", wrong)
        asked = {"what": "taken back, as asked", "why": "", "do": "", "code": 0}
        self._journal.goes_back(asked)
        return self._gone_back(asked)

    def _done(self, position: int, number: int, task: Task) -> Done:
        scope = self._setting.scope_of(task, self._facts, self._files)
        self._emit(TaskStarted(self._setting.host.name, position, len(self._tasks), task.name))
        task_run = TaskRun(
            self._setting.play.name,
            task,
            scope,
            self._own_task(number, scope),
            ignoring=self._setting.play.ignore_errors,
            stopped=lambda: self._stop.requested,
        )
        journal = self._journal
        if journal is not None and (kept := journal.task_done(number)) is not None:
            done = kept
        else:
            done = self._run_unless_stopped(task_run)
            # A failed task has not ended: if the process dies now, resume does it again.
            if journal is not None and done.failed is None:
                journal.task_ended(number, done)
        # Also for a task that ended before the resume: --json has the whole play.
        self._reports += done.reports
        for report in done.reports:
            self._emit(TaskEnded(self._setting.host.name, report))
        self._facts |= {**done.facts, **({task.register: done.registered} if task.register else {})}
        return done

    def _run_unless_stopped(self, task_run: TaskRun) -> Done:
        try:
            self._stop.check()
        except GrowdiskError as error:
            return task_run.refused(error)
        return task_run.run()

    def _own_task(
        self, number: int, scope: TaskVariables
    ) -> Callable[[Task, Mapping[str, object], str], TaskResult]:
        """Tasks of growdisk, recorded."""
        return lambda task, options, item: self._perform_recorded(
            f"{number}.{item}", task, options, check=self._only_looks(task, scope)
        )

    def _only_looks(self, task: Task, scope: TaskVariables) -> bool:
        """check_mode: what the task says goes before what its play says."""
        check_mode = self._setting.play.check_mode if task.check_mode is None else task.check_mode
        return self._setting.request.check or truth_of(scope.render(check_mode, task.place)) is True

    def _perform_recorded(
        self, key: str, task: Task, options: Mapping[str, object], *, check: bool
    ) -> TaskResult:
        name = task.action.removeprefix(f"{NAMESPACE}.")
        chosen = dict(options)
        if self._how_far == "none" and TASKS[name].option("snapshots") is not None:
            chosen.setdefault("snapshots", "none")
        journal = self._journal
        if check or journal is None or not TASKS[name].writes:
            return self._performed(name, chosen, check=check)
        # It is there if the process died in the middle of this very task.
        before = journal.item_begun(key)
        if before is not None:
            outcome = finished_before(before.image, before.run, chosen, self._stop, _Observer(self))
            if outcome is not None:
                return outcome
        image = _path(chosen, "image")
        self._make_way_back(image)
        creates = _path(chosen, _CREATES.get(name, ""))
        # A resumed task may find its file made: what counts is the record from before.
        made = creates if creates is not None and not creates.exists() else None
        before = before or state_before(image, made)
        # Before the first change: a resumed run reads here how the image was.
        journal.item_begins(key, before)
        outcome = self._performed(name, before.pinned(name, chosen), check=False)
        # On resume the task finds the file there and says ok: the play as a whole has made it.
        if before.made is not None and not outcome.failed:
            return replace(outcome, changed=True)
        return outcome

    def _performed(self, name: str, options: Mapping[str, object], *, check: bool) -> TaskResult:
        foreseen = self._foreseen if check else None
        return perform(
            name, options, check=check, observer=_Observer(self), stop=self._stop, foreseen=foreseen
        )

    def _make_way_back(self, image: Path | None) -> None:
        if self._how_far != "play" or image is None or not image.exists() or self._journal is None:
            return
        # In the journal first: a snapshot that it does not name would never be removed.
        self._journal.makes_way_back(image)
        self._snapshot_of(image).take()

    def _snapshot_of(self, image: Path) -> PlaySnapshot:
        return PlaySnapshot(image, self._run, self._setting.number)

    # --- the end --------------------------------------------------------------------------------

    def _failed(self, report: TaskReport) -> HostReport:
        error = report.error or {}
        if (
            self._journal is not None
            and self._how_far == "play"
            and report.code != NeedsUser.exit_code
        ):
            self._journal.goes_back(error)
            return self._gone_back(error)
        if report.code == NeedsUser.exit_code:
            return self._ended("stuck", report.code, error)
        restored = (report.result or {}).get("result") == "restored"
        touched = any(earlier.state == "changed" for earlier in self._reports)
        # Refused means that nothing is touched; tasks before this one have touched something.
        code = 4 if touched and report.code == 3 else report.code
        return self._ended("restored" if restored and not touched else "failed", code, error)

    def _gone_back(self, error: Mapping[str, object]) -> HostReport:
        """All images of the play as they were, newest first; what it made is gone."""
        assert self._journal is not None
        failures: list[Exception] = []
        touched = self._journal.ways_back()
        for image in reversed(touched):
            try:
                # Each image for itself: one that fails must not keep the others as they are.
                self._put_back(image, self._journal.run_before(image))
            except (GrowdiskError, OSError) as wrong:
                failures.append(wrong)
        for path in self._journal.made():
            try:
                remove_made(path)
            except ImageInUse as wrong:  # a guest was started on it
                failures.append(wrong)
        if failures:
            return self._not_taken_back(error.get("what"), failures[0])
        changed = bool(touched) or bool(self._journal.made())
        # Refused (3) means that nothing was touched; here something was, and has been restored (4).
        code = int(str(error.get("code", 4)))
        return self._ended(
            "restored" if changed else "failed", 4 if changed and code == 3 else code, error
        )

    def _not_taken_back(self, cause: object, wrong: Exception) -> HostReport:
        what = wrong.what if isinstance(wrong, GrowdiskError) else str(wrong)
        error = {
            "what": "the play could not be taken back",
            "why": f"{cause}; and going back failed: {what}",
            "do": "growdisk run PLAYBOOK --undo",
            "code": 5,
        }
        name, reports = self._setting.host.name, tuple(self._reports)
        # Without an end in the journal: --undo still finds the play, and its ways back.
        return HostReport(name, "stuck", 5, reports, self._facts, error)

    def _put_back(self, image: Path, run: str | None) -> None:
        """As before the play; `run` is its last one from then, None if no task has begun on it."""
        if run is not None:
            self._end_run_on(image, run)
        # No run is open now: resume would have mixed the rest of one into the old image.
        self._snapshot_of(image).restore()
        if run is not None:
            clear_up(image, run)

    def _end_run_on(self, image: Path | None, run: str) -> None:
        """End the run that a task has begun on the image; `run` is its last one from before."""
        status = api.status(image) if image is not None and image.exists() else None
        # A run from before the play is none of the play's business, kept or unfinished.
        if image is None or status is None or status.run == run:
            return
        if "rollback" in status.next:
            result = api.rollback(image, None, _Observer(self), self._stop)
        elif "resume" in status.next:  # all is done, and its snapshots are being removed
            result = api.resume(image, _Observer(self), self._stop)
        else:
            return
        if result.error is not None:
            raise result.error

    def _ended(
        self, result: HostResult, code: int, error: Mapping[str, object] | None
    ) -> HostReport:
        report = HostReport(
            self._setting.host.name, result, code, tuple(self._reports), self._facts, error
        )
        if self._journal is not None and result != "stuck":  # that one can still be taken back
            # Removed before the run has ended: after that, nobody looks for them.
            for image in self._journal.ways_back() if result in ("ok", "changed") else ():
                self._snapshot_of(image).forget()
            self._journal.ended(report)
        return report

    def step_started(self, name: str) -> None:
        self._emit(StepStarted(self._setting.host.name, name))


class _Observer(Silent):
    """The engine's observer: the log has what is said (-v), the task's report how steps end."""

    def __init__(self, run: HostRun) -> None:
        self._run = run

    def step_started(self, number: int, total: int, name: str, description: str) -> None:
        self._run.step_started(name)


def remove_made(path: Path) -> None:
    """What a task has made, as far as it can be removed. ImageInUse while somebody has it open."""
    try:
        remove_left_over(path)
        with closing(RawFile.open(path, writable=True)):
            path.unlink()
    except ImageInUse:
        raise
    except (GrowdiskError, OSError):
        return


def _path(options: Mapping[str, object], name: str) -> Path | None:
    value = options.get(name) if name else None
    return Path(str(value)).expanduser() if value else None
