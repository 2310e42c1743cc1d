"""growdisk for Python programs: inspect, plan, expand, status, resume, rollback, commit and more.

    from growdisk import api

    result = api.expand("guest.qcow2", "+10G")
    if result.error:
        raise result.error
    print(result.result, result.after.image.virtual_size)

Provision makes images, write_scripts a guest's scripts. Images are named by str or os.PathLike,
sizes as on the command line ("+10G", "40G"). A Goal says more than a size; a LiveRequest names a
guest that may be running. Refused is raised if nothing was touched; once a run has begun, its
Result says how it ended. All sizes and offsets are in bytes.

What this module lists (`dir(api)`) is public and stays; all other modules of growdisk may change.
Each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from growdisk.api.disks import image_of, inspect
    from growdisk.api.live_request import LiveRequest
    from growdisk.api.overlays import Overlay, overlays_on
    from growdisk.api.provisioning.recipe import Output, Recipe
    from growdisk.api.provisioning.recipe_file import RecipeFile, load_recipe
    from growdisk.api.provisioning.result import Provisioned, ProvisionReport, provision_document
    from growdisk.api.provisioning.run import provision
    from growdisk.api.recorded_runs import (
        commit,
        commit_carried,
        resume,
        rollback,
        rollback_carried,
    )
    from growdisk.api.result import Result, StatusReport, StepReport, status
    from growdisk.api.runs import expand, plan
    from growdisk.api.scripts import WrittenScripts, write_scripts
    from growdisk.api.served_disks import served
    from growdisk.errors import GrowdiskError, NeedsUser, OperationFailed, Refused, UsageError
    from growdisk.planner.facts import Facts
    from growdisk.planner.goal import Goal, Grow, OtherDisk, RunOptions
    from growdisk.planner.layout import Layout, layout_of
    from growdisk.qcow2.named_files import trusting_references
    from growdisk.units import SizeSpec, parse_size
    from growdisk.workflow.engine import Observer
    from growdisk.workflow.stopping import StopRequest

__all__ = [
    "Facts", "Goal", "Grow", "GrowdiskError", "Layout", "LiveRequest", "NeedsUser", "Observer",
    "OperationFailed", "OtherDisk", "Output", "Overlay", "ProvisionReport", "Provisioned",
    "Recipe", "RecipeFile", "Refused", "Result", "RunOptions", "SizeSpec", "StatusReport",
    "StepReport", "StopRequest", "UsageError", "WrittenScripts", "commit", "commit_carried",
    "expand", "image_of", "inspect", "layout_of", "load_recipe", "overlays_on", "parse_size",
    "plan", "provision", "provision_document", "resume", "rollback", "rollback_carried", "served",
    "status", "trusting_references", "write_scripts",
]  # fmt: skip

# No file of this folder may have the name of a function: importing it would hide the function.
_MODULES = {
    "growdisk.api.disks": ("image_of", "inspect"),
    "growdisk.api.live_request": ("LiveRequest",),
    "growdisk.api.overlays": ("Overlay", "overlays_on"),
    "growdisk.api.provisioning.recipe": ("Output", "Recipe"),
    "growdisk.api.provisioning.recipe_file": ("RecipeFile", "load_recipe"),
    "growdisk.api.provisioning.result": ("ProvisionReport", "Provisioned", "provision_document"),
    "growdisk.api.provisioning.run": ("provision",),
    "growdisk.api.result": ("Result", "StatusReport", "StepReport", "status"),
    "growdisk.api.recorded_runs": (
        "commit",
        "commit_carried",
        "resume",
        "rollback",
        "rollback_carried",
    ),
    "growdisk.api.runs": ("expand", "plan"),
    "growdisk.api.scripts": ("WrittenScripts", "write_scripts"),
    "growdisk.api.served_disks": ("served",),
    "growdisk.errors": ("GrowdiskError", "NeedsUser", "OperationFailed", "Refused", "UsageError"),
    "growdisk.planner.facts": ("Facts",),
    "growdisk.planner.goal": ("Goal", "Grow", "OtherDisk", "RunOptions"),
    "growdisk.planner.layout": ("Layout", "layout_of"),
    "growdisk.qcow2.named_files": ("trusting_references",),
    "growdisk.units": ("SizeSpec", "parse_size"),
    "growdisk.workflow.engine": ("Observer",),
    "growdisk.workflow.stopping": ("StopRequest",),
}


def __dir__() -> list[str]:
    return sorted(__all__)


if not TYPE_CHECKING:  # to a type checker all names are there, and no others

    def __getattr__(name: str) -> object:
        """Load the module that has `name` (PEP 562)."""
        for module, names in _MODULES.items():
            if name in names:
                value: object = getattr(import_module(module), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
