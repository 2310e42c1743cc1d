"""Errors of a run as a whole: what the engine makes of a step's failure."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from growdisk.errors import NeedsUser, OperationFailed, Refused
from growdisk.fast_dataclass import dataclass


@dataclass(eq=False)
class StepFailed(OperationFailed):
    """A step failed, and everything begun was restored."""

    WHAT: ClassVar[str] = "step {step} failed; everything is back as it was"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "{hint}"
    step: str
    reason: str
    hint: str


@dataclass(eq=False)
class RestoreFailed(NeedsUser):
    """A step failed, and at least one snapshot could not be restored."""

    WHAT: ClassVar[str] = "step {step} failed, and not everything could be restored"
    WHY: ClassVar[str] = "{reason}; restoring failed at: {not_restored}"
    DO: ClassVar[str] = "fix the cause, then run: growdisk rollback IMAGE"
    step: str
    reason: str
    not_restored: str


@dataclass(eq=False)
class CommitFailed(NeedsUser):
    """All steps are done, but the result could not be made final."""

    ID: ClassVar[str] = "settle-failed"
    WHAT: ClassVar[str] = "all steps are done, but the result could not be made final in the image"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "fix the cause (often a full disk on the host), then run: growdisk resume IMAGE"
    reason: str


@dataclass(eq=False)
class RunStopped(NeedsUser):
    """Not even the journal could be written, or the like: only another process can go on."""

    WHAT: ClassVar[str] = "the run stopped half-way"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "fix the cause (df -h shows full file systems), then run: growdisk rollback IMAGE"
    reason: str


@dataclass(eq=False)
class StoppedWithoutWayBack(NeedsUser):
    """A step failed, or was stopped, in a run that takes no snapshots: it stays where it is."""

    WHAT: ClassVar[str] = "step {step} failed, and without snapshots there is no way back"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "fix the cause, then go on with: growdisk resume IMAGE (or restore a backup)"
    step: str
    reason: str


@dataclass(eq=False)
class NothingToRestore(NeedsUser):
    WHAT: ClassVar[str] = "step {step} cannot be undone"
    WHY: ClassVar[str] = "the run takes no snapshots (--snapshots none)"
    DO: ClassVar[str] = "go on with: growdisk resume IMAGE, or restore a backup"
    step: str


@dataclass(eq=False)
class Interrupted(OperationFailed):
    """Raised at a safe point of a run that was asked to stop; ends as StoppedAndRestored."""

    WHAT: ClassVar[str] = "stopped by {signal}"
    signal: str


@dataclass(eq=False)
class StoppedAndRestored(OperationFailed):
    WHAT: ClassVar[str] = "stopped by {signal}; everything is back as it was"
    DO: ClassVar[str] = "run the same command again when you want to go on"
    signal: str


@dataclass(eq=False)
class JournalDamaged(Refused):
    WHAT: ClassVar[str] = "cannot read the journal {path}"
    WHY: ClassVar[str] = "line {line} is damaged"
    DO: ClassVar[str] = "keep the image and its .growdisk folder as they are, and look at the journal by hand"
    path: Path
    line: int
