"""What other programs call: inspect, plan, expand, status, resume, rollback, commit, write_scripts, provision.

Refusals (nothing touched) are raised as GrowdiskError; once a run has begun, its Result says how it ended. Each name
is loaded when it is first used, so that `growdisk show` does not wait for what only a run needs. For that no file of
this room may have the name of a function.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from growdisk.api.calls import expand, image_of, inspect, plan
    from growdisk.api.provisioning.document import provision_document
    from growdisk.api.provisioning.recipe import Output, Recipe
    from growdisk.api.provisioning.recipe_file import RecipeFile, load_recipe
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
    "RecipeFile",
    "Result",
    "StatusReport",
    "StepReport",
    "WrittenScripts",
    "commit",
    "expand",
    "image_of",
    "inspect",
    "load_recipe",
    "plan",
    "provision",
    "provision_document",
    "resume",
    "rollback",
    "status",
    "write_scripts",
]


_FILES = {
    "calls": ("expand", "image_of", "inspect", "plan"),
    "provisioning.recipe": ("Output", "Recipe"),
    "provisioning.recipe_file": ("RecipeFile", "load_recipe"),
    "provisioning.document": ("provision_document",),
    "provisioning.result": ("ProvisionReport", "Provisioned"),
    "provisioning.run": ("provision",),
    "result": ("Result", "StepReport"),
    "run_status": ("StatusReport", "status"),
    "runs": ("commit", "resume", "rollback"),
    "scripts": ("WrittenScripts", "write_scripts"),
}

if not TYPE_CHECKING:  # to a type checker all names are there, and no others

    def __getattr__(name: str) -> object:
        """Load the file that has `name` (PEP 562)."""
        for file, names in _FILES.items():
            if name in names:
                value: object = getattr(import_module(f"{__name__}.{file}"), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
