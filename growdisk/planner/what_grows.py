"""What grows: the partitions that are named, or the one that people mean when they name none."""

from __future__ import annotations

import re
from collections.abc import Mapping

from growdisk.filesystems.content import AmbiguousContent, FixedContent, ForeignContent
from growdisk.partitions.shares import Rest, Share
from growdisk.partitions.table import Partition, PartitionTable, Role
from growdisk.planner.facts import Facts
from growdisk.planner.foreign import content_in_words
from growdisk.planner.goal import Goal
from growdisk.planner.refusals import (
    CannotGrow,
    nothing_to_grow,
    option_unsupported,
    partition_not_found,
    would_shrink,
)
from growdisk.units import SizeSpec

# Only the number counts: what the disk is called depends on the guest and its controller.
_NAME = r"(?:/dev/)?(?:[svh]d[a-z]|xvd[a-z]|nvme\d+n\d+p|mmcblk\d+p)?(?P<number>\d{1,9})"


def is_whole_disk(facts: Facts) -> bool:
    """A file system that can grow, on a disk without a partition table."""
    content = facts.contents.get(0)
    return facts.table is None and content is not None and content.growable is not None


def choose_shares(facts: Facts, goal: Goal) -> tuple[PartitionTable, dict[int, Share]]:
    """The table, and what each partition that is to grow shall have."""
    if not goal.grow:
        table, part = choose_partition(facts, goal.partition)
        return table, {part.number: Rest()}
    if goal.partition != "auto":
        reason = "--grow names what grows"
        raise option_unsupported(facts.image.path, "--partition", reason, "leave it out")
    shares: dict[int, Share] = {}
    for request in goal.grow:
        table, part = choose_partition(facts, request.partition, option="--grow")
        if part.number in shares:
            reason = f"{facts.name_of(part.number)} is named twice"
            raise option_unsupported(facts.image.path, "--grow", reason, "name each partition once")
        share = request.share
        if isinstance(share, SizeSpec) and not share.relative and share.bytes < part.size:
            name = facts.name_of(part.number)
            raise would_shrink(facts.image.path, part.size, share.bytes, subject=name)
        shares[part.number] = share
    return table, shares


def grown_of(table: PartitionTable, shares: Mapping[int, Share]) -> list[Partition]:
    """The partitions with a share as they lie on the disk: steps name all but the first."""
    return sorted((p for p in table.partitions if p.number in shares), key=lambda p: p.start)


def choose_partition(
    facts: Facts, wanted: str, option: str = "--partition"
) -> tuple[PartitionTable, Partition]:
    """The table and the partition that is to grow.

    `wanted`: "auto", a number, or a name such as /dev/sda1.
    """
    path = facts.image.path
    if facts.table is None or not facts.table.partitions:
        raise nothing_to_grow(path, reason=_nothing(facts))
    if wanted == "auto":
        if facts.main is None:
            raise nothing_to_grow(path, reason=_nothing(facts))
        return facts.table, facts.main
    match = re.fullmatch(_NAME, wanted)
    part = facts.table.by_number(int(match["number"])) if match else None
    if part is None:
        present = tuple(facts.name_of(p.number) for p in facts.table.partitions)
        raise partition_not_found(path, wanted=wanted, present=present, option=option)
    # A partition of unknown content may be named: then it alone grows, and nothing in it.
    is_unknown = part.role is not Role.EXTENDED and part.number not in facts.contents
    if part not in facts.candidates and not is_unknown:
        raise _unfit(facts, part)
    return facts.table, part


def refuse_table_options(facts: Facts, goal: Goal) -> None:
    partition = goal.partition != "auto"
    given = {
        "--partition": partition,
        "--grow": goal.grow,
        "--move": goal.move,
        "--delete": goal.delete,
    }
    for option, value in given.items():
        if value:
            reason = "it has no partition table: the file system is on the whole disk"
            raise option_unsupported(facts.image.path, option, reason, "leave it out")


def _unfit(facts: Facts, part: Partition) -> CannotGrow:
    if part.role is Role.EXTENDED:
        reason, hint = "it is the extended partition, which only holds others", "name one of those"
    else:
        reason = f"it holds {_words(facts, part.number)}"
        hint = "growdisk grows ext, XFS, btrfs, NTFS, F2FS, LVM and LUKS"
        if isinstance(facts.contents.get(part.number), FixedContent):
            reason += (
                ", which growdisk cannot grow: its tables of a fixed size lie in front of its files"
            )
            hint = "copy its files away, make a new one in a larger partition, and copy them back"
    return CannotGrow(facts.image.path, part.number, reason=reason, hint=hint)


def _nothing(facts: Facts) -> str:
    if facts.other_table:
        return f"it has {facts.other_table}"
    if facts.table is None:
        # An installer's image is often named by mistake.
        if facts.kind_of(0) == "iso9660":
            return (
                "it is an image of a CD or DVD (ISO 9660), which never grows; name the disk "
                "that was installed from it"
            )
        if 0 in facts.contents:
            return f"it has no partition table: the whole disk is {_words(facts, 0)}"
        return "nothing is recognised"
    kinds = sorted(
        {_words(facts, p.number) for p in facts.table.partitions if p.role is not Role.EXTENDED}
    )
    return f"its partitions hold {', '.join(kinds)}" if kinds else "its partition table is empty"


def _words(facts: Facts, number: int) -> str:
    """What a partition holds, as people call it."""
    content = facts.contents.get(number)
    if isinstance(content, ForeignContent):
        return content_in_words(content)
    if isinstance(content, AmbiguousContent):
        return f"the signatures of {' and '.join(content.candidates)} at once"
    kind = facts.kind_of(number)
    return {"crypto_LUKS": "LUKS (encrypted)", "LVM2_member": "LVM"}.get(kind, kind)
