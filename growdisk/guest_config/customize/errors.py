"""Why a guest cannot be changed as asked."""

from __future__ import annotations

from typing import ClassVar

from growdisk.errors import OperationFailed, Refused
from growdisk.fast_dataclass import dataclass


@dataclass(eq=False)
class CannotCustomize(Refused):
    """The guest is not such that this could be done."""

    WHAT: ClassVar[str] = "cannot {action} in the guest"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "{hint}"
    action: str
    reason: str
    hint: str


@dataclass(eq=False)
class CommandFailed(OperationFailed):
    WHAT: ClassVar[str] = "a command inside the guest failed: {command}"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "mend the command; it runs as root in the guest's own tree, without a network"
    command: str
    reason: str
