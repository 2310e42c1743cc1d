"""What other programs call: inspect, plan, expand, status, resume, rollback, commit, write_scripts, provision.

Refusals (nothing touched) are raised as GrowdiskError; once a run has begun, its Result says how it ended. Each name
is loaded when it is first used, so that `growdisk show` does not wait for what only a run needs. For that no file of
this room may have the name of a function.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from growdisk.api.calls import expand, image_of, inspect, plan
    from growdisk.api.provisioning.recipe import Output, Recipe
    from growdisk.api.provisioning.result import Provisioned, ProvisionReport
    from growdisk.api.provisioning.run import provision
    from growdisk.api.result import Result, StepReport
    from growdisk.api.run_status import StatusReport, status
    from growdisk.api.runs import commit, resume, rollback
    from growdisk.api.scripts import WrittenScripts, write_scripts

__all__ = [
    "Output",
    "ProvisionReport",
    "Provisioned",
    "Recipe",
    "Result",
    "StatusReport",
    "StepReport",
    "WrittenScripts",
    "commit",
    "expand",
    "image_of",
    "inspect",
    "plan",
    "provision",
    "resume",
    "rollback",
    "status",
    "write_scripts",
]


if not TYPE_CHECKING:  # to a type checker all names are there, and no others

    def __getattr__(name: str) -> object:
        """Load the file that has `name` (PEP 562)."""
        match name:
            case "expand" | "image_of" | "inspect" | "plan":
                file = "calls"
            case "Output" | "Recipe":
                file = "provisioning.recipe"
            case "ProvisionReport" | "Provisioned":
                file = "provisioning.result"
            case "provision":
                file = "provisioning.run"
            case "Result" | "StepReport":
                file = "result"
            case "StatusReport" | "status":
                file = "run_status"
            case "commit" | "resume" | "rollback":
                file = "runs"
            case "WrittenScripts" | "write_scripts":
                file = "scripts"
            case _:
                raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(f"{__name__}.{file}"), name)
        return value
