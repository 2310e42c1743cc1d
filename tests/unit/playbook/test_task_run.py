"""What the playbook makes of a task's outcome."""

from __future__ import annotations

from growdisk.host.yaml_reader import YamlPosition
from growdisk.playbook.expressions import TaskVariables
from growdisk.playbook.model import Task
from growdisk.playbook.task_result import TaskResult, failure
from growdisk.playbook.task_run import TaskRun, fail_task

PLACE = YamlPosition("play.yml", 1, 1)


def task(action: str = "growdisk.disk.expand", **words: object) -> Task:
    return Task("Grow", action, {}, PLACE, {}, {}, **words)  # type: ignore[arg-type]


def run_of(task: Task, outcome: TaskResult, *, ignoring: object = False) -> TaskRun:
    return TaskRun("play", task, TaskVariables([], {}), lambda *_: outcome, ignoring=ignoring)


def test_no_log_leaves_that_the_disk_was_restored() -> None:
    outcome = failure(fail_task("mellon"), {"result": "restored", "image": "mellon"})
    report = run_of(task(no_log=True), outcome).run().failed
    assert report is not None
    assert report.result == {"result": "restored"}
    assert "mellon" not in str(report.as_json())
