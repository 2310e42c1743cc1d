"""What the planner refuses for the sake of the data, before anything is touched.

It does so even if the table would allow it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from growdisk.errors import ImageDamaged, ImageUnsupported, Refused
from growdisk.filesystems.content import (
    LuksContent,
    NtfsContent,
    PhysicalVolumeContent,
    SwapContent,
)
from growdisk.filesystems.swap import PAGE
from growdisk.partitions.table import Partition, PartitionTable
from growdisk.planner.facts import Facts
from growdisk.planner.failures import (
    CannotGrow,
    cannot_move,
    option_unsupported,
    partition_not_found,
)
from growdisk.planner.goal import Goal
from growdisk.units import Bytes, MiB

# What the guest keeps free at the least when the swap file is made.
_ROOM_BESIDE_SWAP_FILE = 64 * MiB


def refuse_unwritable(facts: Facts) -> None:
    """Refuse images that the engine only reads."""
    if facts.image.corrupt:
        raise ImageDamaged(
            facts.image.path, format=facts.image.format, reason="it is marked as corrupt"
        )
    if facts.image.legacy_encryption:
        reason = "it is encrypted in the legacy AES form, which growdisk reads and never writes"
        hint = (
            "growdisk image convert --encrypt luks makes a copy that it can grow; it has not "
            "been changed"
        )
        raise ImageUnsupported(facts.image.path, reason=reason, hint=hint)


def refuse_volumes_without_lvm(facts: Facts, goal: Goal) -> None:
    """--lv names something that is not there; a closed container may have it."""
    if goal.lv and not any(
        isinstance(c, PhysicalVolumeContent | LuksContent) for c in facts.contents.values()
    ):
        hint = "leave it out; growdisk show draws what is there"
        raise option_unsupported(
            facts.image.path, option="--lv", reason="there is no LVM on this disk", hint=hint
        )


def refuse_wrong_consent(
    facts: Facts, goal: Goal, table: PartitionTable, targets: Collection[int]
) -> None:
    """A number that does not exist is a slip of the hand, and so may be what it was meant for."""
    for option, number in [("--delete", n) for n in goal.delete] + [
        ("--move", n) for n in goal.move
    ]:
        if table.by_number(number) is None:
            present = tuple(facts.name_of(p.number) for p in table.partitions)
            raise partition_not_found(
                facts.image.path, wanted=str(number), present=present, option=option
            )
        if number in targets:
            reason, hint = f"it is named with {option} as well", "name what stands in its way there"
            raise CannotGrow(facts.image.path, number, reason=reason, hint=hint)
    if both := sorted(set(goal.delete) & set(goal.move)):
        reason = f"--delete {both[0]} is asked as well"
        raise cannot_move(facts.image.path, both[0], reason=reason, hint="decide for one of them")


def refuse_unlike_file(facts: Facts, swaps: Iterable[Partition]) -> None:
    """Refuse --swap file if a file would not be what the guest had."""
    for part in swaps:
        content = facts.contents[part.number]
        if not isinstance(content, SwapContent) or (
            not content.random_key and content.page == PAGE
        ):
            continue
        is_like = (
            "encrypted with a random key, and a file would not be"
            if content.random_key
            else f"for a machine with pages of {content.page} bytes, and a file would be for {PAGE}"
        )
        raise option_unsupported(
            facts.image.path,
            option="--swap file",
            reason=f"{facts.name_of(part.number)} is {is_like}",
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
