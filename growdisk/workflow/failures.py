"""Errors of a run as a whole: what the engine makes of a step's failure."""

from __future__ import annotations

from typing import ClassVar

from growdisk.errors import NeedsUser, OperationFailed
from growdisk.fast_dataclass import dataclass


def step_failed(step: str, reason: str, hint: str) -> OperationFailed:
    """And everything begun was restored."""
    return OperationFailed.named(
        "step-failed",
        "step {step} failed; everything is back as it was",
        "{reason}",
        "{hint}",
        {"step": step, "reason": reason, "hint": hint},
    )


@dataclass(eq=False)
class StoppedWithoutWayBack(NeedsUser):
    """A step failed, or was stopped, in a run that takes no snapshots: it stays where it is."""

    WHAT: ClassVar[str] = "step {step} failed, and without snapshots there is no way back"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = (
        "fix the cause, then go on with: growdisk resume IMAGE (or restore a backup)"
    )
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
    """Raised at a safe point of a run that was asked to stop; ends as stopped-and-restored."""

    WHAT: ClassVar[str] = "stopped by {signal}"
    signal: str


def stopped_and_restored(signal: str) -> OperationFailed:
    return OperationFailed.named(
        "stopped-and-restored",
        "stopped by {signal}; everything is back as it was",
        "",
        "run the same command again when you want to go on",
        {"signal": signal},
    )


def restore_failed(step: str, reason: str, not_restored: tuple[str, ...]) -> NeedsUser:
    """A step failed, and at least one snapshot could not be restored."""
    return NeedsUser.named(
        "restore-failed",
        "step {step} failed, and not everything could be restored",
        "{reason}; restoring failed at: {_failures}",
        "fix the cause, then run: growdisk rollback IMAGE",
        {
            "step": step,
            "reason": reason,
            "not_restored": not_restored,
            "_failures": "; ".join(not_restored),
        },
    )


def commit_failed(reason: str) -> NeedsUser:
    """All steps are done, but the result could not be made final."""
    return NeedsUser.named(
        "settle-failed",
        "all steps are done, but the result could not be made final in the image",
        "{reason}",
        "fix the cause (often a full disk on the host), then run: growdisk resume IMAGE",
        {"reason": reason},
    )
