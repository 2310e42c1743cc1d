"""Errors of steps and snapshot stores."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from growdisk.errors import NeedsUser, OperationFailed, Refused
from growdisk.fast_dataclass import dataclass


@dataclass(eq=False)
class SnapshotMissing(NeedsUser):
    WHAT: ClassVar[str] = "cannot go back: the snapshot {name} of {path} is gone"
    WHY: ClassVar[str] = "somebody else removed it"
    DO: ClassVar[str] = "go on with growdisk resume, or accept the image as it is with growdisk commit"
    name: str
    path: Path


@dataclass(eq=False)
class VerifyFailed(OperationFailed):
    """verify found something else than the step promised."""

    ID: ClassVar[str] = "promise-broken"
    WHAT: ClassVar[str] = "{step} did not give what was planned"
    WHY: ClassVar[str] = "{found} instead of {expected}"
    DO: ClassVar[str] = "report this: it should not happen; the image is restored"
    step: str
    found: str
    expected: str


@dataclass(eq=False)
class TableChanged(Refused):
    WHAT: ClassVar[str] = "the partition table is not the one that was planned for"
    WHY: ClassVar[str] = "found {found}"
    DO: ClassVar[str] = "roll back (growdisk rollback IMAGE), then make a new plan"
    found: str


@dataclass(eq=False)
class FilesystemChanged(Refused):
    WHAT: ClassVar[str] = "the file system on partition {number} is not the one that was planned for"
    WHY: ClassVar[str] = "found {found}"
    DO: ClassVar[str] = "roll back (growdisk rollback IMAGE), then make a new plan"
    number: int
    found: str


@dataclass(eq=False)
class FilesystemBroken(OperationFailed):
    WHAT: ClassVar[str] = "the file system on partition {number} has errors that could not be mended"
    WHY: ClassVar[str] = 'e2fsck could not mend it, and its own words were: "{report}"'
    DO: ClassVar[str] = "mend it from inside or with a rescue system (e2fsck -f), then run growdisk again"
    number: int
    report: str


@dataclass(eq=False)
class HostWriteFailed(OperationFailed):
    WHAT: ClassVar[str] = "writing to {path} failed while {activity}"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "free some space on the host (df -h) and run the same command again"
    path: Path
    activity: str
    reason: str


@dataclass(eq=False)
class NoGuestSystem(Refused):
    WHAT: ClassVar[str] = "there is no guest system on {system} to give a swap file to"
    WHY: ClassVar[str] = "it has no /etc/fstab"
    DO: ClassVar[str] = "use --swap drop or --swap move"
    system: str


@dataclass(eq=False)
class ImageChanged(Refused):
    WHAT: ClassVar[str] = "{path} is not as growdisk left it"
    WHY: ClassVar[str] = "somebody has written to it since run {run} stopped; going on would destroy that"
    DO: ClassVar[str] = "to accept the image as it is now, remove {folder} (and the snapshots growdisk-{run}-*)"
    path: Path
    folder: Path
    run: str


@dataclass(eq=False)
class DeviceNotReadable(Refused):
    ID: ClassVar[str] = "place-closed"
    WHAT: ClassVar[str] = "cannot read {place}"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "give the passphrase again (--key-file FILE), or roll back (growdisk rollback IMAGE)"
    place: str
    reason: str


@dataclass(eq=False)
class VolumesChanged(Refused):
    WHAT: ClassVar[str] = "{volume} is not what was planned for"
    WHY: ClassVar[str] = "found {found} in its place"
    DO: ClassVar[str] = "roll back (growdisk rollback IMAGE), then make a new plan"
    volume: str
    found: str
