"""Refusals of the planner: all of them before anything has been touched."""

from __future__ import annotations

from pathlib import Path

from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass
from growdisk.units import Bytes


@dataclass(eq=False)
class CannotGrow(Refused):
    """`number` 0 is the whole disk."""

    WHAT = "cannot grow {subject}"
    WHY = "{reason}"
    DO = "{hint}"
    path: Path
    number: int
    reason: str
    hint: str

    @property
    def subject(self) -> str:
        return (
            f"partition {self.number} of {self.path}" if self.number else f"what is on {self.path}"
        )


def cannot_move(path: Path, number: int, reason: str, hint: str) -> Refused:
    return Refused.named(
        "cannot-move",
        "cannot move partition {number} of {path}",
        "{reason}",
        "{hint}",
        {"path": path, "number": number, "reason": reason, "hint": hint},
    )


def belongs_to_others(path: Path, number: int, reason: str, hint: str) -> Refused:
    """`number` 0 is the whole disk."""
    subject = f"partition {number} of {path}" if number else f"the disk {path}"
    return Refused.named(
        "belongs-to-others",
        "growdisk does not touch {_subject}",
        "{reason}",
        "{hint}",
        {"path": path, "number": number, "reason": reason, "hint": hint, "_subject": subject},
    )


def nothing_to_grow(path: Path, reason: str) -> Refused:
    return Refused.named(
        "nothing-to-grow",
        "there is nothing in {path} that growdisk could grow",
        "{reason}",
        "growdisk show {path} draws what is there; growdisk grows ext, XFS, btrfs, NTFS, F2FS, "
        "LVM and LUKS",
        {"path": path, "reason": reason},
    )


def partition_not_found(
    path: Path, wanted: str, present: tuple[str, ...], option: str = "--partition"
) -> Refused:
    return Refused.named(
        "partition-not-found",
        "there is no partition {wanted} in {path}",
        "its partitions are: {present}",
        "name one of them with {option}, or leave it out",
        {"path": path, "wanted": wanted, "present": present, "option": option},
    )


def would_shrink(path: Path, old: int, new: int, subject: str = "") -> Refused:
    """Asked for is less than there is: of a disk, or (`subject`) of a partition."""
    kind = "partition" if subject else "disk"
    return Refused.named(
        "would-shrink",
        "{_larger} is larger than that already",
        "it has {old}, asked for is {new}, and growdisk never shrinks a {_kind}",
        "write +SIZE to grow by an amount",
        {
            "path": path,
            "old": Bytes(old),
            "new": Bytes(new),
            "subject": subject,
            "_kind": kind,
            "_larger": subject or path,
        },
    )


def device_cannot_grow(path: Path, reason: str, hint: str) -> Refused:
    return Refused.named(
        "device-cannot-grow",
        "cannot make {path} larger",
        "{reason}",
        "{hint}; then run growdisk expand {path} without SIZE, which takes up the new room",
        {"path": path, "reason": reason, "hint": hint},
    )


def option_unsupported(path: Path, option: str, reason: str, hint: str) -> Refused:
    return Refused.named(
        "option-unsupported",
        "cannot use {option} with {path}",
        "{reason}",
        "{hint}",
        {"path": path, "option": option, "reason": reason, "hint": hint},
    )
