"""What the playbook makes of a task's outcome."""

from __future__ import annotations

import pytest

from growdisk.errors import NeedsUser
from growdisk.host.yaml_reader import YamlPosition
from growdisk.playbook.expressions import TaskVariables
from growdisk.playbook.model import Task
from growdisk.playbook.perform import TaskResult, failure
from growdisk.playbook.task_run import TaskRun, fail_task

PLACE = YamlPosition("play.yml", 1, 1)


def task(action: str = "growdisk.disk.expand", **words: object) -> Task:
    return Task("Grow", action, {}, PLACE, {}, {}, **words)  # type: ignore[arg-type]


def run_of(task: Task, outcome: TaskResult, *, ignoring: object = False) -> TaskRun:
    return TaskRun("play", task, TaskVariables([], {}), lambda *_: outcome, ignoring=ignoring)


@pytest.mark.parametrize(
    ("play", "own", "state"),
    [(True, None, "ignored"), (True, False, "failed"), (False, True, "ignored"),
        (False, None, "failed"), (True, "{{ 1 > 2 }}", "failed")],
)  # fmt: skip
def test_what_a_task_says_of_errors_goes_before_what_its_play_says(
    play: bool, own: object, state: str
) -> None:
    run = run_of(task(ignore_errors=own), failure(fail_task("no")), ignoring=play)
    (report,) = run.run().reports
    assert report.state == state


def test_of_the_items_of_a_loop_the_worst_failure_speaks() -> None:
    """A disk that needs somebody (5) is not hidden by one that was refused before it (3)."""
    stuck = NeedsUser.named("stuck", "it is stuck", "", "", {})
    outcomes = iter([failure(fail_task("no")), failure(stuck), failure(fail_task("no"))])
    run = TaskRun(
        "play",
        task(loop=[1, 2, 3]),
        TaskVariables([], {}),
        lambda *_: next(outcomes),
        ignoring=False,
    )
    report = run.run().failed
    assert report is not None and (report.item, report.code) == ("2", 5)


def test_no_log_leaves_that_the_disk_was_restored() -> None:
    outcome = failure(fail_task("mellon"), {"result": "restored", "image": "mellon"})
    report = run_of(task(no_log=True), outcome).run().failed
    assert report is not None
    assert report.result == {"result": "restored"}
    assert "mellon" not in str(report.as_json())
