"""Refusals of the planner: all of them before anything has been touched."""

from __future__ import annotations

from typing import ClassVar

from growdisk.errors import LayoutError
from growdisk.fast_dataclass import dataclass


@dataclass(eq=False)
class CannotGrow(LayoutError):
    """`number` 0 is the whole disk."""

    WHAT: ClassVar[str] = "cannot grow {subject}"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "{hint}"
    number: int
    reason: str
    hint: str

    @property
    def subject(self) -> str:
        return f"partition {self.number} of {self.path}" if self.number else f"what is on {self.path}"


@dataclass(eq=False)
class CannotMove(LayoutError):
    WHAT: ClassVar[str] = "cannot move partition {number} of {path}"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "{hint}"
    number: int
    reason: str
    hint: str


@dataclass(eq=False)
class BelongsToOthers(LayoutError):
    """`number` 0 is the whole disk."""

    WHAT: ClassVar[str] = "growdisk does not touch {subject}"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "{hint}"
    number: int
    reason: str
    hint: str

    @property
    def subject(self) -> str:
        return f"partition {self.number} of {self.path}" if self.number else f"the disk {self.path}"


@dataclass(eq=False)
class NothingToGrow(LayoutError):
    WHAT: ClassVar[str] = "there is nothing in {path} that growdisk could grow"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = (
        "growdisk show {path} draws what is there; growdisk grows ext, XFS, btrfs, NTFS, F2FS, LVM and LUKS"
    )
    reason: str


@dataclass(eq=False)
class PartitionNotFound(LayoutError):
    WHAT: ClassVar[str] = "there is no partition {wanted} in {path}"
    WHY: ClassVar[str] = "its partitions are: {present}"
    DO: ClassVar[str] = "name one of them with {option}, or leave it out"
    wanted: str
    present: str
    option: str = "--partition"


@dataclass(eq=False)
class WouldShrink(LayoutError):
    """Asked for is less than there is: of a disk, or (`subject`) of a partition."""

    WHY: ClassVar[str] = "it has {old}, asked for is {new}, and growdisk never shrinks a {kind}"
    DO: ClassVar[str] = "write +SIZE to grow by an amount"
    old: str
    new: str
    subject: str = ""

    @property
    def kind(self) -> str:
        return "partition" if self.subject else "disk"

    @property
    def what(self) -> str:
        return f"{self.subject or self.path} is larger than that already"


@dataclass(eq=False)
class DeviceCannotGrow(LayoutError):
    WHAT: ClassVar[str] = "cannot make {path} larger"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "{hint}; then run growdisk expand {path} without SIZE, which takes up the new room"
    reason: str
    hint: str


@dataclass(eq=False)
class Hibernated(LayoutError):
    WHAT: ClassVar[str] = "the guest in {path} is hibernated"
    WHY: ClassVar[str] = "its memory lies in the swap space of sda{number} (signature {signature})"
    DO: ClassVar[str] = "boot the guest and shut it down properly, then run growdisk again"
    number: int
    signature: str


@dataclass(eq=False)
class SwapFileTooLarge(LayoutError):
    WHAT: ClassVar[str] = "there is no room in {path} for a swap file"
    WHY: ClassVar[str] = "of the {free} free in the grown file system it would take {size} and leave next to nothing"
    DO: ClassVar[str] = "grow further, or use --swap move"
    size: str
    free: str


@dataclass(eq=False)
class OptionUnsupported(LayoutError):
    WHAT: ClassVar[str] = "cannot use {option} with {path}"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "{hint}"
    option: str
    reason: str
    hint: str
