"""What the planner refuses for the sake of the data, whatever the table would allow; before anything is touched."""

from __future__ import annotations

from growdisk.errors import ImageDamaged
from growdisk.filesystems.content import ExtContent, SwapContent
from growdisk.partitions.table import Partition, PartitionTable
from growdisk.planner.facts import Facts
from growdisk.planner.failures import CannotGrow, Hibernated, PartitionNotFound, SwapFileTooLarge
from growdisk.planner.goal import Goal
from growdisk.units import MiB, format_size

_ROOM_BESIDE_SWAP_FILE = 64 * MiB


def refuse_corrupt(facts: Facts) -> None:
    if facts.image.corrupt:
        raise ImageDamaged(facts.image.path, format=facts.image.format, reason="it is marked as corrupt")


def refuse_hibernated(facts: Facts) -> None:
    for number in facts.swaps:
        content = facts.contents[number]
        if isinstance(content, SwapContent) and content.hibernated:
            raise Hibernated(facts.image.path, number=number, signature=content.hibernated)


def refuse_wrong_consent(facts: Facts, goal: Goal, table: PartitionTable, target: Partition) -> None:
    """A number that does not exist is a slip of the hand, and so may be what it was meant for."""
    for number in goal.delete:
        if table.by_number(number) is None:
            present = ", ".join(facts.name_of(p.number) for p in table.partitions)
            raise PartitionNotFound(facts.image.path, wanted=str(number), present=present, option="--delete")
        if number == target.number:
            reason, hint = "it is named with --delete as well", "name what stands in its way there"
            raise CannotGrow(facts.image.path, number, reason=reason, hint=hint)


def refuse_cut_off(facts: Facts, target: Partition, content: ExtContent) -> None:
    if (content.size or 0) > target.size:
        missing = format_size((content.size or 0) - target.size)
        raise CannotGrow(
            facts.image.path, target.number, reason=f"its file system is larger than it: {missing} are missing",
            hint="was the partition or the image cut off? Grow to at least the old size, or restore a backup",
        )  # fmt: skip


def refuse_large_swap_file(facts: Facts, size: int, free: int) -> None:
    if size + _ROOM_BESIDE_SWAP_FILE > free:
        raise SwapFileTooLarge(facts.image.path, size=format_size(size), free=format_size(free))
