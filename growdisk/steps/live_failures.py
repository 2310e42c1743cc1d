"""Errors of steps that work on a running guest."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from growdisk.errors import NeedsUser, OperationFailed, Refused
from growdisk.fast_dataclass import dataclass


@dataclass(eq=False)
class GuestRefused(Refused):
    """A guest-side script looked, and changed nothing."""

    WHAT: ClassVar[str] = "the guest says no to {phase}: {said}"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "{hint}"
    phase: str
    said: str
    reason: str
    hint: str


@dataclass(eq=False)
class PhaseFailed(OperationFailed):
    WHAT: ClassVar[str] = "{phase} failed inside the guest: {said}"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "{hint}"
    phase: str
    said: str
    reason: str
    hint: str


@dataclass(eq=False)
class PhaseStuck(NeedsUser):
    WHAT: ClassVar[str] = "{phase} got stuck inside the guest: {said}"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "{hint}"
    phase: str
    said: str
    reason: str
    hint: str


@dataclass(eq=False)
class GuestMustRestart(OperationFailed):
    WHAT: ClassVar[str] = "the guest's kernel keeps the old partition table until the guest restarts"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "run the same command with --allow-reboot, or grow the disk while the guest is off"
    reason: str


@dataclass(eq=False)
class GuestDidNotReturn(OperationFailed):
    WHAT: ClassVar[str] = "the guest did not come back within {seconds:.0f} s"
    WHY: ClassVar[str] = "{reason} (through {way})"
    DO: ClassVar[str] = "look at its console"
    way: str
    seconds: float
    reason: str


@dataclass(eq=False)
class GuestDoesNotSee(OperationFailed):
    WHAT: ClassVar[str] = "the guest does not see that {device} has grown"
    WHY: ClassVar[str] = "QEMU has {expected} bytes, the guest's kernel {found}"
    DO: ClassVar[str] = "{hint}"
    device: str
    expected: int
    found: int
    hint: str = "grow the disk while the guest is off"


@dataclass(eq=False)
class OverlaysNeedRest(NeedsUser):
    """Overlays can only be thrown away while nobody writes to them."""

    WHAT: ClassVar[str] = "a running guest cannot go back to before its overlays"
    WHY: ClassVar[str] = "it writes to {overlay}; what it has in memory belongs to that"
    DO: ClassVar[str] = "growdisk resume {path} goes on; or shut the guest down and run growdisk rollback {path}"
    path: Path
    overlay: str


@dataclass(eq=False)
class MachineGone(NeedsUser):
    WHAT: ClassVar[str] = "step {step} was cut short: the machine went away"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "start the guest and run growdisk resume {path}; or growdisk rollback {path}, while it is off"
    path: Path
    step: str
    reason: str


@dataclass(eq=False)
class StoppedOnOverlays(NeedsUser):
    WHAT: ClassVar[str] = "step {step} failed; the guest runs on, on its overlays"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = (
        "fix the cause, then growdisk resume {path}; or shut the guest down (do not restart it from the image) and "
        "run growdisk rollback {path}"
    )
    path: Path
    step: str
    reason: str


@dataclass(eq=False)
class WrongImage(NeedsUser):
    WHAT: ClassVar[str] = "the guest was started from {file}, and this run has its newest data in {expected}"
    WHY: ClassVar[str] = "what was written during the run lies in overlays, which that start went past"
    DO: ClassVar[str] = (
        "shut the guest down; growdisk commit {path} then brings the overlays into the image (if nothing that matters "
        "was written since), growdisk rollback {path} drops them"
    )
    path: Path
    file: str
    expected: str
