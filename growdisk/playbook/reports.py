"""How tasks and hosts ended: values for other processes, the summary and --json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from growdisk.fast_dataclass import asdict, dataclass
from growdisk.playbook.perform import Diff

State = Literal["ok", "changed", "failed", "ignored", "skipped"]
HostResult = Literal["ok", "changed", "failed", "restored", "stuck"]

# From the best to the worst: what needs somebody is worse than what is as before; a bug is worst.
_SEVERITY = (0, 2, 3, 4, 130, 5, 1)


@dataclass(frozen=True)
class TaskReport:
    """One task on one host, or one item of its loop.

    `error` is what --json shows of an error, `code` its exit code.
    """

    play: str
    task: str
    action: str
    state: State
    message: str
    seconds: float = 0.0
    item: str | None = None
    result: Mapping[str, object] | None = None
    diff: Diff | None = None
    error: Mapping[str, object] | None = None
    code: int = 0

    def as_json(self) -> dict[str, object]:
        fields = asdict(self) | {"seconds": round(self.seconds, 3)}
        return {key: value for key, value in fields.items() if key != "code" and value is not None}


@dataclass(frozen=True)
class HostReport:
    """One host of one play. `facts` are what its tasks registered and set, for the later plays."""

    host: str
    result: HostResult
    code: int
    tasks: tuple[TaskReport, ...]
    facts: Mapping[str, object]
    error: Mapping[str, object] | None = None

    def count(self, state: State) -> int:
        return sum(task.state == state for task in self.tasks)


def merge_reports(host: str, reports: Sequence[HostReport]) -> HostReport:
    """All that a host went through, play by play, as one report."""
    # A host that failed in a play is in no later one; when plays are undone, each may have failed.
    last = next((report for report in reversed(reports) if report.code), reports[-1])
    changed = any(report.result == "changed" for report in reports)
    result: HostResult = last.result if last.code or not changed else "changed"
    tasks = tuple(task for report in reports for task in report.tasks)
    return HostReport(host, result, last.code, tasks, reports[-1].facts, last.error)


def worst(codes: Sequence[int]) -> int:
    """The exit code of them all."""
    return max(codes, key=severity, default=0)


def severity(code: int) -> int:
    # A code that is not listed is taken for the worst.
    return _SEVERITY.index(code) if code in _SEVERITY else len(_SEVERITY)


# What the process of a host reports to the one that waits for it.


@dataclass(frozen=True)
class TaskStarted:
    host: str
    number: int
    total: int
    name: str


@dataclass(frozen=True)
class StepStarted:
    """A step of the task's own run."""

    host: str
    name: str


@dataclass(frozen=True)
class TaskEnded:
    host: str
    report: TaskReport


@dataclass(frozen=True)
class HostEnded:
    host: str
    report: HostReport


Event = TaskStarted | StepStarted | TaskEnded | HostEnded
