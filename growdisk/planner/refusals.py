"""What the planner refuses for the sake of the data, before anything is touched.

It does so even if the table would allow it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from growdisk.errors import ImageDamaged, ImageUnsupported, Refused
from growdisk.filesystems.content import ExtContent, LuksContent, PhysicalVolumeContent, SwapContent
from growdisk.partitions.table import BIOS_BOOT, Partition, PartitionTable
from growdisk.planner.facts import Facts
from growdisk.planner.failures import (
    CannotGrow,
    cannot_move,
    option_unsupported,
    partition_not_found,
)
from growdisk.planner.goal import Goal
from growdisk.units import Bytes, MiB, format_size

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


def refuse_moved_boot_loader(facts: Facts, moved: Iterable[Partition]) -> None:
    for part in moved:
        if part.type_code == BIOS_BOOT:
            raise cannot_move(
                facts.image.path,
                part.number,
                reason="it is the BIOS boot partition, and the boot sector knows where on the "
                "disk it lies",
                hint="leave it where it is: the guest would not start any more",
            )
        # The disk signature and the start of the partition are how Windows knows its volume on an
        # MBR disk.
        is_mbr = facts.table is not None and facts.table.kind == "mbr"
        if is_mbr and part.bootable and facts.kind_of(part.number) == "ntfs":
            raise cannot_move(
                facts.image.path,
                part.number,
                reason="Windows starts from it, and knows it by its place on an MBR disk",
                hint="leave it where it is: Windows would not start any more",
            )


def refuse_truncated_filesystem(facts: Facts, target: Partition, content: ExtContent) -> None:
    if (content.size or 0) > target.size:
        missing = format_size((content.size or 0) - target.size)
        raise CannotGrow(
            facts.image.path,
            target.number,
            reason=f"its file system is larger than it: {missing} are missing",
            hint="was the partition or the image cut off? Grow to at least the old size, or "
            "restore a backup",
        )


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
