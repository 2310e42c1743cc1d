"""A run as the api handles it, at rest or in a running guest: image, plan, participants."""

from __future__ import annotations

from pathlib import Path

from growdisk.fast_dataclass import dataclass, field
from growdisk.planner.plan import Plan
from growdisk.volumes.keyring import Keyring
from growdisk.workflow.engine import Observer
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.stopping import StopRequest


class Silent:
    """An observer that shows nothing."""

    def step_started(self, number: int, total: int, name: str, description: str) -> None: ...

    def step_said(self, line: str) -> None: ...

    def step_ended(self, name: str, state: str, seconds: float, detail: str) -> None: ...


@dataclass(frozen=True)
class CurrentRun:
    """`path` is the image as the user named it."""

    path: Path
    plan: Plan
    directory: RunDirectory
    observer: Observer = field(default_factory=Silent)
    stop: StopRequest = field(default_factory=StopRequest)
    keyring: Keyring = field(default_factory=Keyring)


@dataclass(frozen=True)
class Prepared:
    """`room`: how many bytes of the host the run will take at the least."""

    plan: Plan
    room: int = 0
