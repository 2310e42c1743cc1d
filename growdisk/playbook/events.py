"""What the process of a host tells the one that waits for it."""

from __future__ import annotations

from growdisk.fast_dataclass import dataclass
from growdisk.playbook.reports import HostReport, TaskReport


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
