"""Errors of steps and snapshot stores."""

from __future__ import annotations

from pathlib import Path

from growdisk.errors import NeedsUser, OperationFailed, Refused
from growdisk.fast_dataclass import dataclass

_GO_ON = "go on with growdisk resume, or accept the image as it is with growdisk commit --force"


def snapshot_missing(name: str, path: Path, hint: str = _GO_ON) -> NeedsUser:
    return NeedsUser.named(
        "snapshot-missing",
        "cannot go back: the snapshot {name} of {path} is gone",
        "somebody else removed it",
        "{hint}",
        {"name": name, "path": path, "hint": hint},
    )


def verify_failed(step: str, found: str, expected: str) -> OperationFailed:
    """verify found something else than the step promised."""
    return OperationFailed.named(
        "promise-broken",
        "{step} did not give what was planned",
        "{found} instead of {expected}",
        "report this: it should not happen; the image is restored",
        {"step": step, "found": found, "expected": expected},
    )


@dataclass(eq=False)
class DeviceNotReadable(Refused):
    ID = "place-closed"
    WHAT = "cannot read {place}"
    WHY = "{reason}"
    DO = "give the passphrase again (--key-file FILE), or roll back (growdisk rollback IMAGE)"
    place: str
    reason: str


def volumes_changed(volume: str, found: str) -> Refused:
    return Refused.named(
        "volumes-changed",
        "{volume} is not what was planned for",
        "found {found} in its place",
        "roll back (growdisk rollback IMAGE), then make a new plan",
        {"volume": volume, "found": found},
    )


def overlays_need_rest(path: Path, overlay: str) -> NeedsUser:
    """Overlays can only be thrown away while nobody writes to them."""
    return NeedsUser.named(
        "overlays-need-rest",
        "a running guest cannot go back to before its overlays",
        "it writes to {overlay}; what it has in memory belongs to that",
        "growdisk resume {path} goes on; or shut the guest down and run growdisk rollback {path}",
        {"path": path, "overlay": overlay},
    )
