"""What becomes of a request to grow a partition: a new table, nothing, or why it cannot be."""

from __future__ import annotations

from growdisk.fast_dataclass import dataclass
from growdisk.partitions.table import Partition, PartitionTable


@dataclass(frozen=True)
class Grown:
    """The planned table; `removed` as they were, `moved` as they will be, extended and logical too.

    `others` are further partitions that grow in the same plan.
    """

    table: PartitionTable
    target: Partition
    removed: tuple[Partition, ...] = ()
    moved: tuple[Partition, ...] = ()
    others: tuple[Partition, ...] = ()


@dataclass(frozen=True)
class NothingToDo:
    reason: str


@dataclass(frozen=True)
class NotPossible:
    """Why not; `blockers` would have to go, if that is it; `beyond_mbr`: no MBR has that."""

    reason: str
    hint: str
    blockers: tuple[Partition, ...] = ()
    beyond_mbr: bool = False


Growth = Grown | NothingToDo | NotPossible
