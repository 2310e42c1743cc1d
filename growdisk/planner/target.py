"""Which partition grows: the one that is named, or the one that people mean when they name none."""

from __future__ import annotations

import re

from growdisk.filesystems.content import AmbiguousContent
from growdisk.partitions.table import Partition, PartitionTable, Role
from growdisk.planner.facts import Facts
from growdisk.planner.failures import CannotGrow, NothingToGrow, PartitionNotFound

_NAME = re.compile(r"(?:/dev/)?(?:[svh]d[a-z]|xvd[a-z]|nvme\d+n\d+p|mmcblk\d+p)?(?P<number>\d+)")


def choose_target(facts: Facts, wanted: str) -> tuple[PartitionTable, Partition]:
    """The table and the partition that is to grow. `wanted`: "auto", a number, or a name such as /dev/sda1."""
    path = facts.image.path
    if facts.table is None or not facts.table.partitions:
        raise NothingToGrow(path, reason=_nothing(facts))
    if wanted == "auto":
        return facts.table, _largest(facts)
    match = _NAME.fullmatch(wanted)
    part = facts.table.by_number(int(match["number"])) if match else None
    if part is None:
        present = ", ".join(facts.name_of(p.number) for p in facts.table.partitions)
        raise PartitionNotFound(path, wanted=wanted, present=present)
    if part not in facts.candidates:
        raise _unfit(facts, part)
    return facts.table, part


def _unfit(facts: Facts, part: Partition) -> CannotGrow:
    if part.role is Role.EXTENDED:
        reason, hint = "it is the extended partition, which only holds others", "name one of those"
    else:
        reason, hint = f"it holds {_words(facts, part.number)}", "growdisk grows ext2, ext3 and ext4"
    return CannotGrow(facts.image.path, part.number, reason=reason, hint=hint)


def _largest(facts: Facts) -> Partition:
    """A root file system is larger than a /boot beside it; of two alike the later one has less in its way."""
    if not facts.candidates:
        raise NothingToGrow(facts.image.path, reason=_nothing(facts))
    return max(facts.candidates, key=lambda p: (p.size, p.start))


def _nothing(facts: Facts) -> str:
    if facts.table is None:
        found = 0 in facts.contents
        return f"it has no partition table: the whole disk is {_words(facts, 0)}" if found else "nothing is recognised"
    kinds = sorted({_words(facts, p.number) for p in facts.table.partitions if p.role is not Role.EXTENDED})
    return f"its partitions hold {', '.join(kinds)}" if kinds else "its partition table is empty"


def _words(facts: Facts, number: int) -> str:
    """What a partition holds, as people call it."""
    content = facts.contents.get(number)
    if isinstance(content, AmbiguousContent):
        return f"the signatures of {' and '.join(content.candidates)} at once"
    kind = facts.kind_of(number)
    return {"crypto_LUKS": "LUKS (encrypted)", "LVM2_member": "LVM"}.get(kind, kind)
