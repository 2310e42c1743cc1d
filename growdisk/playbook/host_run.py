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
from growdisk.api.images.new_file import NewFile
from growdisk.api.provisioning.work_image import remove_left_over
from growdisk.api.recorded_runs import clear_up
from growdisk.block.raw import RawFile
from growdisk.errors import GrowdiskError, NeedsUser, Refused, shell_word
from growdisk.fast_dataclass import replace
from growdisk.planner.facts import Facts
from growdisk.playbook.checkpoints import PlaySnapshot, TaskCheckpoint, made_beside
from growdisk.playbook.expressions import TaskVariables
from growdisk.playbook.hosts import PlayContext
from growdisk.playbook.model import Task
from growdisk.playbook.options import path_of, truth_of
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
from growdisk.playbook.specs import TaskSpec
from growdisk.playbook.task_run import FinishedTask, TaskRun
from growdisk.workflow.stopping import StopRequest


class HostRun:
    """One host's run of a play; `journal` is None in check mode.

    `emit` gets every event; `run` names the run, for the snapshots of its images.
    """

    def __init__(
        self,
        context: PlayContext,
        facts: Mapping[str, object],
        journal: PlayJournal | None,
        run: str,
        emit: Callable[[Event], None],
        stop: StopRequest,
    ) -> None:
        self._context, self._facts, self._journal, self._run = context, dict(facts), journal, run
        self._emit, self._stop = emit, stop
        self._observer = _StepEvents(context.host.name, emit)
        self._reports: list[TaskReport] = []
        self._foreseen: dict[Path, Facts] = {}
        self._files = context.files(facts)
        self._on_failure = context.on_failure(facts, self._files)

    def run(self) -> HostReport:
        """To the end of the play, or until its images are restored."""
        if self._journal is not None:
            self._journal.begin()
            # It died while it restored the images. The decision stands: no task is begun again.
            if self._journal.is_restoring:
                return self._restored(self._journal.failure)
        for position, (number, task) in enumerate(self._context.tasks, start=1):
            done = self._run_task(position, number, task)
            if done.failed is not None:
                return self._failed(done.failed)
        changed = any(report.state == "changed" for report in self._reports)
        return self._ended("changed" if changed else "ok", 0, None)

    def undo(self) -> HostReport:
        """Take back what a play that was cut short did to its images."""
        assert self._journal is not None
        try:
            # Before the decision is recorded: a run that cannot be ended leaves the play as it was.
            for before in self._journal.unfinished_items():
                self._refuse_exchanged(before.image)
                self._end_run_on(before.image, before.run)
        except GrowdiskError as wrong:
            return self._not_restored("it was cut short", wrong)
        asked = {"what": "taken back, as asked", "why": "", "do": "", "code": 0}
        self._journal.record_restoring(asked)
        return self._restored(asked)

    def _run_task(self, position: int, number: int, task: Task) -> FinishedTask:
        scope = self._context.scope_of(task, self._facts, self._files)
        total = len(self._context.tasks)
        self._emit(TaskStarted(self._context.host.name, position, total, task.name))
        task_run = TaskRun(
            self._context.play.name,
            task,
            scope,
            # Tasks of growdisk, recorded.
            lambda task, options, item: self._perform_recorded(
                f"{number}.{item}", task, options, check=self._is_checked(task, scope)
            ),
            ignoring=self._context.play.ignore_errors,
            stopped=lambda: self._stop.requested,
        )
        journal = self._journal
        if journal is not None and (kept := journal.task_done(number)) is not None:
            done = kept
        else:
            done = self._run_unless_stopped(task_run)
            # A failed task has not ended: if the process dies now, resume does it again.
            if journal is not None and done.failed is None:
                journal.record_task(number, done)
        # Also for a task that ended before the resume: --json has the whole play.
        self._reports += done.reports
        for report in done.reports:
            self._emit(TaskEnded(self._context.host.name, report))
        self._facts |= {**done.facts, **({task.register: done.registered} if task.register else {})}
        return done

    def _run_unless_stopped(self, task_run: TaskRun) -> FinishedTask:
        try:
            self._stop.check()
        except GrowdiskError as error:
            return task_run.refused(error)
        return task_run.run()

    def _is_checked(self, task: Task, scope: TaskVariables) -> bool:
        """check_mode: what the task says goes before what its play says."""
        check_mode = self._context.play.check_mode if task.check_mode is None else task.check_mode
        return self._context.request.check or truth_of(scope.render(check_mode, task.place)) is True

    def _perform_recorded(
        self, key: str, task: Task, options: Mapping[str, object], *, check: bool
    ) -> TaskResult:
        spec, chosen, journal = task.spec, dict(options), self._journal
        assert spec is not None
        if self._on_failure == "none" and spec.option("snapshots") is not None:
            chosen.setdefault("snapshots", "none")
        if check or journal is None or not spec.writes:
            return self._performed(spec.name, chosen, check=check)
        image = _path(chosen, "image")
        journal.refuse_exchanged(
            image, "put that file back, or run the playbook again for this one"
        )
        # It is there if the process died in the middle of this very task.
        before = journal.item_before(key)
        if before is not None:
            outcome = before.finish(chosen, self._stop, self._observer)
            if outcome is not None:
                return outcome
        creates = _path(chosen, spec.creates)
        if self._on_failure == "play":
            if image is not None and image.exists():
                self._take_snapshot(image, journal)
            self._refuse_no_way_back(spec, chosen, image, creates)
        # A resumed task may find its file made: what counts is the record from before.
        made = creates if creates is not None and not creates.exists() else None
        before = before or TaskCheckpoint.of(image, made)
        # Before the first change: a resumed run reads here how the image was.
        journal.record_item(key, before)
        for number, beside in enumerate(made_beside(spec.name, chosen, before.made)):
            if not beside.exists():
                journal.record_item(f"{key}.{number}", TaskCheckpoint(None, made=beside))
        # Compacting an image puts another file in its place.
        self._pin(image, may_change=spec.name == "image")
        outcome = self._performed(spec.name, before.pinned(spec.name, chosen), check=False)
        self._pin(image)
        # On resume the task finds the file there and says ok: the play as a whole has made it.
        if before.made is not None and not outcome.failed:
            return replace(outcome, changed=True)
        return outcome

    def _take_snapshot(self, image: Path, journal: PlayJournal) -> None:
        """The play's snapshot, if it has none of this image yet."""
        if journal.needs_snapshot(image):
            self._snapshot_of(image).refuse_missing()
        # In the journal first: a snapshot that it does not name would never be removed.
        journal.record_snapshot(image)
        self._snapshot_of(image).take()

    def _pin(self, image: Path | None, *, may_change: bool = False) -> None:
        """Go on with this very file, or with what the play's snapshot puts in its place."""
        if image is not None and self._journal is not None:
            files = () if may_change else (image, self._snapshot_of(image).copy)
            self._journal.pin(image, *files)

    def _refuse_no_way_back(
        self, spec: TaskSpec, chosen: Mapping[str, object], image: Path | None, made: Path | None
    ) -> None:
        """What neither a snapshot of the play nor removing what it has made would bring back."""
        assert self._journal is not None
        lost, name = "", str(chosen.get("name"))
        match spec.name:
            case "snapshot" if image and chosen.get("state") == "absent":
                lost = f"snapshot {name}" if self._snapshot_of(image).is_after(name) else ""
            case "commit" | "rollback" if image and image.exists():
                status, before = api.status(image), self._journal.run_before(image)
                if status.next and before in (None, status.run):
                    lost = f"the way back of run {status.run}"
            case "provision" | "convert" if made and made.exists():
                replaces = spec.name == "provision" and truth_of(chosen.get("force"))
                if (
                    replaces or made.is_block_device()
                ) and made not in self._journal.created_files():
                    lost = f"what is in {made}"
            case "watch":
                lost = "how its disks were"
        if lost:
            raise Refused.named(
                "no-way-back",
                "{task} cannot be taken back with its play",
                "{lost} would be gone for good",
                "make a play of its own for it, with growdisk_on_failure: task",
                {"task": spec.qualified, "lost": lost},
            )

    def _performed(self, name: str, options: Mapping[str, object], *, check: bool) -> TaskResult:
        foreseen = self._foreseen if check else None
        return perform(
            name, options, check=check, observer=self._observer, stop=self._stop, foreseen=foreseen
        )

    def _snapshot_of(self, image: Path) -> PlaySnapshot:
        return PlaySnapshot(image, self._run, self._context.number)

    # --- the end --------------------------------------------------------------------------------

    def _failed(self, report: TaskReport) -> HostReport:
        error = report.error or {}
        if report.code == NeedsUser.exit_code:
            return self._ended("stuck", report.code, error)
        if self._journal is not None and self._on_failure == "play":
            self._journal.record_restoring(error)
            return self._restored(error)
        restored = (report.result or {}).get("result") == "restored"
        # In check mode "changed" is what would be.
        touched = self._journal is not None and any(r.state == "changed" for r in self._reports)
        code = _as_touched(report.code) if touched else report.code
        return self._ended("restored" if restored and not touched else "failed", code, error)

    def _restored(self, error: Mapping[str, object]) -> HostReport:
        """All images of the play as they were, newest first; what it made is gone."""
        assert self._journal is not None
        failures: list[Exception] = []
        touched, created = self._journal.images(), self._journal.created_files()
        for image in reversed(touched):
            try:
                # Each image for itself: one that fails must not keep the others as they are.
                self._restore_image(image, self._journal.run_before(image))
            except (GrowdiskError, OSError) as wrong:
                failures.append(wrong)
        for path in created:
            try:
                remove_made(path)
            except (GrowdiskError, OSError) as wrong:  # a guest was started on it
                failures.append(wrong)
        if failures:
            return self._not_restored(error.get("what"), failures[0])
        code = int(str(error.get("code", 4)))
        if touched or created:
            return self._ended("restored", _as_touched(code), error)
        # What is no image, such as a folder of scripts, is not taken back.
        changed = any(report.state == "changed" for report in self._reports)
        return self._ended("failed", _as_touched(code) if changed else code, error)

    def _not_restored(self, cause: object, wrong: Exception) -> HostReport:
        what, first = str(wrong), ""
        if isinstance(wrong, GrowdiskError):
            what, first = wrong.what, f"{wrong.what_to_do}; then "
        error = {
            "what": "the play could not be taken back",
            "why": f"{cause}; and going back failed: {what}",
            "do": f"{first}growdisk run PLAYBOOK --undo",
            "code": 5,
        }
        name, reports = self._context.host.name, tuple(self._reports)
        # Without an end in the journal: --undo still finds the play, and its snapshots.
        return HostReport(name, "stuck", 5, reports, self._facts, error)

    def _restore_image(self, image: Path, run: str | None) -> None:
        """As before the play; `run` is its last one from then, None if no task has begun on it."""
        assert self._journal is not None
        self._refuse_exchanged(image)
        if run is not None:
            self._end_run_on(image, run)
        # No run is open now: resume would have mixed the rest of one into the old image.
        snapshot = self._snapshot_of(image)
        if self._journal.needs_snapshot(image):
            snapshot.refuse_missing()
            self._journal.record_image_restoring(image)
        snapshot.restore()
        if run is not None:
            clear_up(image, run)

    def _refuse_exchanged(self, image: Path | None) -> None:
        assert self._journal is not None
        forget = f"rm -r {shell_word(self._journal.folder)}"
        hint = f"put that file back ({forget} ends the play without that)"
        self._journal.refuse_exchanged(image, hint)

    def _end_run_on(self, image: Path | None, run: str) -> None:
        """End the run that a task has begun on the image; `run` is its last one from before."""
        status = api.status(image) if image is not None and image.exists() else None
        # A run from before the play is none of the play's business, kept or unfinished.
        if image is None or status is None or status.run == run:
            return
        if "rollback" in status.next:
            result = api.rollback(image, None, self._observer, self._stop)
        elif "resume" in status.next:  # all is done, and its snapshots are being removed
            result = api.resume(image, self._observer, self._stop)
        else:
            return
        if result.error is not None:
            raise result.error

    def _ended(
        self, result: HostResult, code: int, error: Mapping[str, object] | None
    ) -> HostReport:
        report = HostReport(
            self._context.host.name, result, code, tuple(self._reports), self._facts, error
        )
        if self._journal is not None and result in ("ok", "changed"):
            # Decided first: --undo must not take the rest of the ways back for all of them.
            self._journal.record_settling(report)
            return settle(self._journal, report, self._run, self._context.number)
        if self._journal is not None and result != "stuck":  # that one can still be taken back
            self._journal.record_end(report)
        return report


class _StepEvents(Silent):
    """The engine's observer: the log has what is said (-v), the task's report how steps end."""

    def __init__(self, host: str, emit: Callable[[Event], None]) -> None:
        self._host, self._emit = host, emit

    def step_started(self, number: int, total: int, name: str, description: str) -> None:
        self._emit(StepStarted(self._host, name))


def settle(journal: PlayJournal, report: HostReport, run: str, play: int) -> HostReport:
    """Remove the ways back of a play that has ended well; may be called again after a crash."""
    for image in journal.images():
        PlaySnapshot(image, run, play).forget()
    for path in journal.created_files():
        NewFile(path).forget_second_name()
    journal.record_end(report)
    return report


def remove_made(path: Path) -> None:
    """What a task has made. ImageInUse while somebody has it open."""
    if not path.parent.is_dir():
        return
    remove_left_over(path)
    if path.exists():
        with closing(RawFile.open(path, writable=True)):
            path.unlink()


def _as_touched(code: int) -> int:
    """The code of a play that has touched something: 2 and 3 say that nothing was."""
    return 4 if code in (2, 3) else code


def _path(options: Mapping[str, object], name: str) -> Path | None:
    value = options.get(name) if name else None
    return path_of(value) if value else None
