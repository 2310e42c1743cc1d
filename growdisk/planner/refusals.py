"""Refusals of the planner: all of them before anything has been touched."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from growdisk.errors import ImageDamaged, ImageUnsupported, Refused
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import (
    Content,
    LuksContent,
    NtfsContent,
    PhysicalVolumeContent,
    SwapContent,
)
from growdisk.partitions.table import Partition, PartitionTable
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal
from growdisk.units import Bytes, MiB

# What the guest keeps free at the least when the swap file is made.
_ROOM_BESIDE_SWAP_FILE = 64 * MiB


def refuse_unwritable(facts: Facts) -> None:
    """Refuse images that the engine only reads."""
    if facts.image.corrupt:
        raise ImageDamaged(facts.image.path, facts.image.format, "it is marked as corrupt")
    if facts.image.legacy_encryption:
        reason = "it is encrypted in the legacy AES form, which growdisk reads and never writes"
        hint = (
            "growdisk image convert --encrypt luks makes a copy that it can grow; it has not "
            "been changed"
        )
        raise ImageUnsupported(facts.image.path, reason=reason, hint=hint)


def refuse_volumes_without_lvm(facts: Facts, goal: Goal, growing: Collection[int]) -> None:
    """--lv names something that is not there, or does not grow; a closed container may have it."""
    if not goal.lv or any(map(_may_have_volumes, facts.all_within(*growing))):
        return
    reason, hint = "there is no LVM on this disk", "leave it out; growdisk show draws what is there"
    if any(map(_may_have_volumes, facts.all_within(*facts.contents))):
        names = " and ".join(facts.name_of(number) for number in growing)
        reason = f"what grows is {names}, which has no LVM"
        hint = "name the partition that has the volume as well: --partition N"
    raise option_unsupported(facts.image.path, "--lv", reason, hint)


def _may_have_volumes(content: Content) -> bool:
    closed = isinstance(content, LuksContent) and not content.unlocked
    return closed or isinstance(content, PhysicalVolumeContent)


def refuse_wrong_consent(
    facts: Facts, goal: Goal, table: PartitionTable, targets: Collection[int]
) -> None:
    """A number that does not exist is a slip of the hand, and so may be what it was meant for."""
    for option, number in [("--delete", n) for n in goal.delete] + [
        ("--move", n) for n in goal.move
    ]:
        if table.by_number(number) is None:
            present = tuple(facts.name_of(p.number) for p in table.partitions)
            raise partition_not_found(facts.image.path, str(number), present, option)
        if number in targets:
            reason, hint = f"it is named with {option} as well", "name what stands in its way there"
            raise CannotGrow(facts.image.path, number, reason=reason, hint=hint)
    if both := sorted(set(goal.delete) & set(goal.move)):
        reason = f"--delete {both[0]} is asked as well"
        raise cannot_move(facts.image.path, both[0], reason=reason, hint="decide for one of them")


def refuse_file_for_random_key(facts: Facts, swaps: Iterable[Partition]) -> None:
    for part in swaps:
        content = facts.contents[part.number]
        if isinstance(content, SwapContent) and content.random_key:
            raise option_unsupported(
                facts.image.path,
                option="--swap file",
                reason=f"{facts.name_of(part.number)} is encrypted with a random key, and a file "
                "would not be",
                hint="move it, with its names kept: --swap move; or give it up: --swap drop",
            )


def refuse_large_swap_file(facts: Facts, size: int, free: int) -> None:
    if size + _ROOM_BESIDE_SWAP_FILE > free:
        raise Refused.named(
            "swap-file-too-large",
            "there is no room in {path} for a swap file",
            "of the {free} free in the grown file system it would take {size} and leave next to "
            "nothing",
            "grow further, or use --swap move",
            {"path": facts.image.path, "size": Bytes(size), "free": Bytes(free)},
        )


_SHUT_DOWN = "start Windows and shut it down whole: shutdown /s /t 0"


def refuse_hibernated(facts: Facts) -> None:
    """By what lies in partitions and volumes."""
    for number in sorted(facts.contents):
        # Also in containers that were opened, and in logical volumes.
        for name, content in facts.leaves_of(number):
            if isinstance(content, SwapContent) and content.hibernated:
                reason = memory_in(f"the swap space of {name}", content.hibernated)
                raise hibernated(facts.image.path, number, content.hibernated, reason)
            if isinstance(content, NtfsContent) and content.hibernated:
                reason = (
                    f"Windows is hibernated in {name}, or was shut down with fast start-up, "
                    "which is half of that"
                )
                raise hibernated(facts.image.path, number, "hiberfil.sys", reason, _SHUT_DOWN)


def memory_in(place: str, signature: str) -> str:
    return f"its memory lies in {place} (signature {signature})"


def hibernated(
    path: Path,
    number: int,
    signature: str,
    reason: str,
    hint: str = "boot the guest and shut it down properly",
) -> Refused:
    """`number` is the partition's, 0 if it is a file in the guest."""
    return Refused.named(
        "hibernated",
        "the guest in {path} is hibernated",
        "{reason}",
        "{hint}, then run growdisk again",
        {"path": path, "number": number, "signature": signature, "reason": reason, "hint": hint},
    )


# --- the refusals themselves --------------------------------------------------------------------


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
        "LVM and LUKS; growdisk image resize makes an image larger, whatever is in it",
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
