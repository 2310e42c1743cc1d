"""One task on one host: condition, loop, action, and what the playbook makes of its outcome."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from growdisk.error_document import error_document
from growdisk.errors import GrowdiskError, Refused, UsageError
from growdisk.fast_dataclass import dataclass, replace
from growdisk.playbook.expressions import OMIT, TaskVariables
from growdisk.playbook.model import NOT_SHOWN, SHOW_IT, Task
from growdisk.playbook.options import truth_of
from growdisk.playbook.perform import TaskResult, failure
from growdisk.playbook.reports import State, TaskReport, severity

OwnTask = Callable[[Task, Mapping[str, object], str], TaskResult]
"""Does a task of growdisk's own: the task, its options filled in, and the item's number."""


@dataclass(frozen=True)
class FinishedTask:
    """`registered` is what the task's register gets, `facts` what it gives to all later tasks."""

    reports: tuple[TaskReport, ...]
    registered: Mapping[str, object]
    facts: Mapping[str, object]

    @property
    def failed(self) -> TaskReport | None:
        """The worst of its items that failed."""
        failed = (report for report in self.reports if report.state == "failed")
        return max(failed, key=lambda report: severity(report.code), default=None)


class TaskRun:
    """`own_task` does growdisk's own tasks; `ignoring`: what the play says about errors.

    If `stopped`, a loop ends.
    """

    def __init__(
        self,
        play: str,
        task: Task,
        scope: TaskVariables,
        own_task: OwnTask,
        *,
        ignoring: object,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._play, self._task, self._scope, self._own_task = play, task, scope, own_task
        self._stopped = stopped
        # What the task says goes before what its play says.
        self._ignoring = ignoring if task.ignore_errors is None else task.ignore_errors

    def run(self) -> FinishedTask:
        if self._task.loop is None:
            report, registered = self._item(self._scope, None, "0")
            return FinishedTask((report,), registered, _facts_in(registered))
        try:
            # All items first: an expression that fails fails the task before any item is done.
            items = list(self._items())
        except GrowdiskError as error:
            return self.refused(error)
        ended: list[tuple[TaskReport, dict[str, object]]] = []
        for number, (scope, label) in enumerate(items):
            ended.append(self._item(scope, label, str(number)))
            # As with Ansible an item that fails does not end the loop; one that was stopped does.
            if self._stopped() and ended[-1][0].error is not None:
                break
        facts = {name: value for _, result in ended for name, value in _facts_in(result).items()}
        return FinishedTask(
            tuple(report for report, _ in ended),
            _all_of([registered for _, registered in ended]),
            facts,
        )

    def refused(self, error: GrowdiskError) -> FinishedTask:
        """It is not even begun."""
        report, registered = self._concluded(self._scope, failure(error), None, 0.0)
        return FinishedTask((report,), registered, {})

    def _items(self) -> Iterator[tuple[TaskVariables, str]]:
        task, control = self._task, self._task.loop_control
        items = self._scope.render(task.loop, task.place)
        if not isinstance(items, Sequence) or isinstance(items, str):
            raise UsageError(f"{task.place}: loop is not a list but {items!r}", "loop: [1, 2, 3]")
        for number, item in enumerate(items):
            values = {
                control.loop_var: item,
                **({control.index_var: number} if control.index_var else {}),
            }
            scope = self._scope.with_final(values)
            yield scope, str(scope.render(control.label, task.place) if control.label else item)

    def _item(
        self, scope: TaskVariables, label: str | None, number: str
    ) -> tuple[TaskReport, dict[str, object]]:
        started = time.monotonic()
        try:
            if not scope.are_true(self._task.when, self._task.place):
                message = f"skipped: only when {' and '.join(self._task.when)}"
                skipped = {"changed": False, "failed": False, "skipped": True, "msg": message}
                return self._report("skipped", TaskResult(False, message), label, 0.0), skipped
            outcome = self._carried_out(scope, number)
        except GrowdiskError as error:
            outcome = failure(error)
        return self._concluded(scope, outcome, label, time.monotonic() - started)

    def _carried_out(self, scope: TaskVariables, number: str) -> TaskResult:
        task = self._task
        if task.spec is None:
            return _ACTIONS[task.action.rsplit(".", 1)[-1]](task, scope)
        given = {n: scope.render(value, task.place_of(n)) for n, value in task.options.items()}
        return self._own_task(
            task, {name: value for name, value in given.items() if value is not OMIT}, number
        )

    def _concluded(
        self, scope: TaskVariables, outcome: TaskResult, label: str | None, seconds: float
    ) -> tuple[TaskReport, dict[str, object]]:
        """The end as the playbook sees it: failed_when, changed_when, ignore_errors."""
        result = {
            **outcome.result,
            "changed": outcome.changed,
            "failed": outcome.failed,
            "skipped": False,
        }
        # debug has a msg of its own.
        result.setdefault("msg", outcome.message)
        error, changed = outcome.error, outcome.changed
        # failed_when and changed_when see this very result, as `register` names it, and its facts.
        seen = scope.with_final(
            {**_facts_in(result), **({self._task.register: result} if self._task.register else {})}
        )
        try:
            if self._task.failed_when is not None:
                error = self._judged(seen, error)
            if self._task.changed_when is not None:
                changed = seen.are_true(self._task.changed_when, self._task.place)
        # A condition that cannot be evaluated fails the task, whatever came before.
        except GrowdiskError as wrong:
            error = wrong
        result |= {"changed": changed, "failed": error is not None}
        state: State = "changed" if changed else "ok"
        if error is not None:
            state = (
                "ignored" if truth_of(scope.render(self._ignoring, self._task.place)) else "failed"
            )
        message = str(error) if error else outcome.message
        judged = replace(outcome, message=message, error=error)
        return self._report(state, judged, label, seconds), result

    def _judged(self, scope: TaskVariables, error: GrowdiskError | None) -> GrowdiskError | None:
        conditions = self._task.failed_when or ()
        # failed_when alone decides: it also turns a failure into a success.
        if not scope.are_true(conditions, self._task.place):
            return None
        # A task that failed by itself keeps its own error.
        return error or fail_task(f"failed_when: {' and '.join(conditions)}")

    def _report(
        self, state: State, outcome: TaskResult, label: str | None, seconds: float
    ) -> TaskReport:
        error = outcome.error
        report = TaskReport(
            self._play,
            str(self._name()),
            self._task.action,
            state,
            outcome.message,
            seconds,
            label,
            dict(outcome.result) if outcome.result else None,
            outcome.diff,
            error_document(error) if error else None,
            error.exit_code if error else 0,
        )
        return _without_values(report) if self._task.no_log else report

    def _name(self) -> object:
        try:
            return self._scope.render(self._task.name, self._task.place)
        except GrowdiskError:
            return self._task.name  # a name alone must not fail a task


def _without_values(report: TaskReport) -> TaskReport:
    """A report of a task with no_log: how it ended, and nothing that may hold a value of it."""
    error = report.error
    restored = error is not None and (report.result or {}).get("result") == "restored"
    words = {"what": f"task '{report.task}' failed", "why": NOT_SHOWN, "do": SHOW_IT, "data": {}}
    return replace(
        report,
        message=NOT_SHOWN,
        item=None if report.item is None else NOT_SHOWN,
        # Needed for the host's own end: whether its disk is as it was.
        result={"result": "restored"} if restored else None,
        diff=None,
        error=error and {**error, **words},
    )


def _all_of(results: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """What register gets of a loop."""
    return {
        "results": [dict(result) for result in results],
        "changed": any(r.get("changed") for r in results),
        "failed": any(r.get("failed") for r in results),
        "msg": "All items completed",
        "skipped": bool(results) and all(r.get("skipped") for r in results),
    }


def _facts_in(registered: Mapping[str, object]) -> Mapping[str, object]:
    facts = registered.get("ansible_facts")
    return facts if isinstance(facts, Mapping) else {}


# Ansible's own tasks that playbooks need between growdisk's: debug, assert, fail, set_fact.


def fail_task(reason: str) -> Refused:
    """fail, assert, or failed_when: the playbook's own word."""
    return Refused.named("told-to-fail", "{reason}", "", "", {"reason": reason})


def _debug(task: Task, scope: TaskVariables) -> TaskResult:
    if "var" in task.options:
        name = str(task.options["var"])
        value = scope.value(name, task.place_of("var"))
        return TaskResult(changed=False, message=f"{name}: {_shown(value)}", result={name: value})
    message = scope.render(task.options.get("msg", "Hello world!"), task.place_of("msg"))
    return TaskResult(changed=False, message=_shown(message), result={"msg": message})


def _assert(task: Task, scope: TaskVariables) -> TaskResult:
    that = task.options.get("that", [])
    for condition in that if isinstance(that, list) else [that]:
        text = str(condition).lower() if isinstance(condition, bool) else str(condition)
        if not scope.are_true([text], task.place_of("that")):
            template = task.options.get("fail_msg", task.options.get("msg", "Assertion failed"))
            message = str(scope.render(template, task.place))
            return failure(
                fail_task(f"{message} ({text})"), {"assertion": text, "evaluated_to": False}
            )
    template = task.options.get("success_msg", "All assertions passed")
    return TaskResult(changed=False, message=str(scope.render(template, task.place)))


def _fail(task: Task, scope: TaskVariables) -> TaskResult:
    template = task.options.get("msg", "Failed as requested from task")
    return failure(fail_task(_shown(scope.render(template, task.place_of("msg")))), {})


def _set_fact(task: Task, scope: TaskVariables) -> TaskResult:
    given = {name: value for name, value in task.options.items() if name != "cacheable"}
    facts = {name: scope.render(value, task.place_of(name)) for name, value in given.items()}
    return TaskResult(changed=False, message=", ".join(facts), result={"ansible_facts": facts})


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


_ACTIONS: Mapping[str, Callable[[Task, TaskVariables], TaskResult]] = {
    "debug": _debug,
    "assert": _assert,
    "fail": _fail,
    "set_fact": _set_fact,
}
