"""A run as the api handles it, at rest or in a running guest: image, plan, participants."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.fast_dataclass import dataclass, field
from growdisk.planner.plan import Plan, decode_plan
from growdisk.volumes.keyring import Keyring
from growdisk.workflow.journal import record_unreadable
from growdisk.workflow.run_directory import RunDirectory
from growdisk.workflow.stopping import StopRequest

if TYPE_CHECKING:
    from growdisk.workflow.engine import Observer


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


def new_run_name() -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"


def recorded_plan(directory: RunDirectory) -> Plan:
    """That of the run which is recorded there. record-unreadable if it is not one."""
    try:
        return decode_plan(directory.plan_text())
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"it is not a plan of a run: {error}"
        raise record_unreadable(directory.plan_file, reason) from error
