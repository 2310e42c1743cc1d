"""What other programs call: inspect, plan, expand, status, resume, rollback, commit.

Refusals (nothing touched) are raised as GrowdiskError; once a run has begun, its Result says how it ended. Each name
is loaded when it is first used, so that `growdisk show` does not wait for what only a run needs. For that no file of
this room may have the name of a function.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from growdisk.api.disks import inspect
    from growdisk.api.planning import plan
    from growdisk.api.result import Result, StepReport
    from growdisk.api.run_status import StatusReport, status
    from growdisk.api.runs import commit, expand, resume, rollback

__all__ = [
    "Result",
    "StatusReport",
    "StepReport",
    "commit",
    "expand",
    "inspect",
    "plan",
    "resume",
    "rollback",
    "status",
]


if not TYPE_CHECKING:  # to a type checker all names are there, and no others

    def __getattr__(name: str) -> object:
        """Load the file that has `name` (PEP 562)."""
        match name:
            case "inspect":
                file = "disks"
            case "plan":
                file = "planning"
            case "Result" | "StepReport":
                file = "result"
            case "StatusReport" | "status":
                file = "run_status"
            case "commit" | "expand" | "resume" | "rollback":
                file = "runs"
            case _:
                raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(f"{__name__}.{file}"), name)
        return value
