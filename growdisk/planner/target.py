"""Which partition grows: the one that is named, or the one that people mean when they name none."""

from __future__ import annotations

import re

from growdisk.partitions.table import Partition, PartitionTable
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
        hint = "growdisk grows ext2, ext3 and ext4; growdisk show draws what is there"
        raise CannotGrow(path, part.number, reason=f"it holds {facts.kind_of(part.number)}", hint=hint)
    return facts.table, part


def _largest(facts: Facts) -> Partition:
    """A root file system is larger than a /boot beside it; of two alike the later one has less in its way."""
    if not facts.candidates:
        raise NothingToGrow(facts.image.path, reason=_nothing(facts))
    return max(facts.candidates, key=lambda p: (p.size, p.start))


def _nothing(facts: Facts) -> str:
    if facts.table is None:
        whole = facts.contents.get(0)
        return f"the whole disk is one {whole.kind}, without a partition table" if whole else "no partition table found"
    kinds = sorted({facts.kind_of(p.number) for p in facts.table.partitions})
    return f"its partitions hold {', '.join(kinds)}" if kinds else "its partition table is empty"
