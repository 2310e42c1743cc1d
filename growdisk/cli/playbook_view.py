"""A playbook's run as it is shown: a live table on a terminal, else a line a host; a summary."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from growdisk.cli.output import CommandOutput, printable
from growdisk.fast_dataclass import dataclass, replace
from growdisk.playbook.reports import (
    Event,
    HostEnded,
    HostReport,
    State,
    StepStarted,
    TaskEnded,
    TaskReport,
    TaskStarted,
)
from growdisk.playbook.run import Listener, PlaybookResult

if TYPE_CHECKING:
    from growdisk.cli.rich_lines import MovingTable

_HEADINGS = ("host", "state", "task", "", "time")
_RESULTS = ("changed", "ok", "failed", "restored", "stuck")
_DEBUG = "ansible.builtin.debug"


@dataclass(frozen=True)
class _HostRow:
    state: str = "waiting"
    task: str = ""
    step: str = ""
    began: float = 0.0
    seconds: float = 0.0

    def cells(self, host: str) -> tuple[str, ...]:
        seconds = time.monotonic() - self.began if self.state == "running" else self.seconds
        return (
            printable(host),
            self.state,
            printable(self.task),
            self.step,
            f"{seconds:5.1f} s" if seconds else "",
        )


class PlaybookView:
    """A context manager for as long as something may move."""

    def __init__(self, output: CommandOutput, *, verbose: bool, check: bool, diff: bool) -> None:
        self._output, self._verbose, self._check, self._diff = output, verbose, check, diff
        self._table: MovingTable | None = None
        self._rows: dict[str, _HostRow] = {}
        self.listener = Listener(self._begins, self._hear, self._show)

    def __enter__(self) -> PlaybookView:
        return self

    def __exit__(self, *_: object) -> None:
        if self._table is not None:
            # The last state of each host, before the table is taken away.
            self._show()
            self._table.__exit__()

    def summed_up(self, ended: PlaybookResult) -> int:
        """The end of it: returns the exit code."""
        output = self._output
        output.document(_document(ended, check=self._check))
        for host in ended.hosts:
            output.lines(self._host_lines(host))
        for host in ended.hosts:
            if host.code and host.error:
                output.failure(host.host, host.error)
        output.lines([_summary(ended, check=self._check)])
        return ended.code

    # --- while it runs --------------------------------------------------------------------------

    def _begins(self, hosts: list[str]) -> None:
        self._rows = {host: _HostRow() for host in hosts}
        table = self._output.moving_table(_HEADINGS)
        if table is not None:
            self._table = table.__enter__()

    def _hear(self, event: Event) -> None:
        row = self._rows.get(event.host, _HostRow())
        match event:
            case TaskStarted(host, number, total, name):
                # The host's clock starts with its first task, and runs through all plays.
                began = row.began or time.monotonic()
                row = replace(
                    row, state="running", task=f"{number}/{total} {name}", step="", began=began
                )
            case StepStarted(host, name):
                row = replace(row, step=name)
            case TaskEnded(host, report):
                if self._verbose:
                    self._say(f"{host}: {_task_line(report)}")
            case HostEnded(host, ended):
                # 0: it ended without beginning a task, refused or as it had ended before.
                seconds = time.monotonic() - row.began if row.began else 0.0
                row = replace(row, state=ended.result, step="", seconds=seconds)
        self._rows[event.host] = row
        if self._table is not None:
            self._show()

    def _say(self, line: str) -> None:
        if self._table is not None:
            self._table.say(line)
        else:
            self._output.note(line)

    def _show(self) -> None:
        if self._table is not None:
            self._table.show([row.cells(host) for host, row in self._rows.items()])

    # --- afterwards -----------------------------------------------------------------------------

    def _host_lines(self, host: HostReport) -> Iterator[str]:
        """A line for the host, and what was to be shown: the plan, debug's output, disks drawn."""
        counts = [f"{host.count('changed')} changed", f"{host.count('ok')} ok"]
        for state in ("failed", "ignored", "skipped"):
            if number := host.count(state):
                counts.append(f"{number} {state}")
        seconds = sum(task.seconds for task in host.tasks)
        yield f"{printable(host.host)}: {host.result}, {', '.join(counts)}, {seconds:.1f} s"
        for task in host.tasks:
            # What was taken back is given up no more.
            lost = (task.result or {}).get("given_up") if host.result != "restored" else None
            yield from self._task(task, lost if isinstance(lost, list | tuple) else ())

    def _task(self, task: TaskReport, gone: Sequence[str]) -> Iterator[str]:
        # What debug prints and what is given up is always wanted; only check mode has a plan.
        if task.action == _DEBUG:
            yield f"  {task.task}: {printable(task.message)}"
        elif self._check:
            yield f"  {_task_line(task)}"
            yield from _planned(task.result or {})
            yield from (f"    would be given up: {line}" for line in gone)
        else:
            yield from (f"  {printable(task.task)}: given up: {line}" for line in gone)
        if self._diff and task.diff is not None:
            yield f"  {printable(task.task)}:"
            yield from _difference(task.diff.before, task.diff.after)


def _task_line(task: TaskReport) -> str:
    item = f" ({printable(task.item)})" if task.item is not None else ""
    first = (task.message.splitlines() or [""])[0]
    # the state, in the task's own words
    prefix = "" if first.startswith(("would be done: ", f"{task.state}: ")) else f"{task.state}: "
    return f"{printable(task.task)}{item}: {prefix}{printable(first)}"


def _planned(result: Mapping[str, object]) -> Iterator[str]:
    steps = result.get("steps")
    for step in steps if isinstance(steps, list) else ():
        yield f"    {step['name']:<19} {step['detail']}"


def _difference(before: str, after: str) -> Iterator[str]:
    for line in difflib.unified_diff(
        before.splitlines(), after.splitlines(), "before", "after", n=9, lineterm=""
    ):
        yield f"    {printable(line)}"


def _counts(ended: PlaybookResult) -> dict[str, int]:
    return {result: sum(host.result == result for host in ended.hosts) for result in _RESULTS}


def _summary(ended: PlaybookResult, *, check: bool) -> str:
    if not ended.hosts:
        return "no host: nothing to do"
    words = ", ".join(
        f"{number} {result}"
        for result, number in _counts(ended).items()
        if number or result != "stuck"
    )
    stopped = "; stopped before all were begun" if ended.stopped else ""
    checked = " (only looked at: nothing has been changed)" if check else ""
    return (
        f"{len(ended.hosts)} host{'s' if len(ended.hosts) > 1 else ''}: {words}{stopped}{checked}"
    )


def _document(ended: PlaybookResult, *, check: bool) -> dict[str, object]:
    return {
        "result": _word(ended),
        "code": ended.code,
        "check": check,
        "summary": _counts(ended),
        "stopped": ended.stopped,
        "hosts": [_host(host) for host in ended.hosts],
    }


def _word(ended: PlaybookResult) -> str:
    # The worst of all hosts speaks for the run.
    results = {host.result for host in ended.hosts}
    worse_first = ("stuck", "failed", "restored", "changed")
    return next((word for word in worse_first if word in results), "nochange")


def _host(host: HostReport) -> dict[str, object]:
    states: tuple[State, ...] = ("changed", "ok", "failed", "ignored", "skipped")
    return {
        "host": host.host,
        "result": host.result,
        "code": host.code,
        **{state: host.count(state) for state in states},
        "tasks": [task.as_json() for task in host.tasks],
        **({"error": dict(host.error)} if host.error else {}),
    }
