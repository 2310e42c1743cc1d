"""Why an image cannot be provisioned. Nothing is left of an output that failed."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from growdisk.errors import OperationFailed, Refused
from growdisk.fast_dataclass import dataclass


@dataclass(eq=False)
class NotProvisioned(Refused):
    """Refused before anything was made."""

    WHAT: ClassVar[str] = "cannot provision {path}"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "{hint}"
    path: Path
    reason: str
    hint: str


@dataclass(eq=False)
class OutputExists(NotProvisioned):
    reason: str = "it exists already"
    hint: str = "choose another name, or say --force to put the new image in its place"


@dataclass(eq=False)
class ProvisioningFailed(OperationFailed):
    """Something went wrong while it was made."""

    WHAT: ClassVar[str] = "cannot provision {path}; nothing was left of it"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "{hint}"
    path: Path
    reason: str
    hint: str
