"""What readers and writers of tables share: a table with its sectors, checks of it, refusals.

`PartitionTable` itself knows no sectors; LocatedTable is the only value that does.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

from growdisk.block.device import BlockDevice
from growdisk.errors import FOR_TABLE_TOOLS, OperationFailed, Refused, TableDamaged
from growdisk.fast_dataclass import dataclass
from growdisk.partitions.table import Partition, PartitionTable
from growdisk.units import ByteRange


@dataclass(frozen=True)
class LocatedTable:
    """A table and where it is: `ranges` are all its sectors.

    `entries` (of an MBR) are the offsets of the entries by the partitions' numbers.
    """

    table: PartitionTable
    ranges: tuple[ByteRange, ...]
    entries: Mapping[int, int] = MappingProxyType({})


def check_no_overlap(path: Path, partitions: list[Partition]) -> None:
    """Raise TableDamaged if two of these partitions share a byte."""
    ordered = sorted(partitions, key=lambda p: p.start)
    for earlier, later in pairwise(ordered):
        if earlier.range.overlaps(later.range):
            raise TableDamaged(
                path, reason=f"partitions {earlier.number} and {later.number} overlap"
            )


def check_inside(path: Path, partitions: list[Partition], area: ByteRange, area_name: str) -> None:
    """Raise TableDamaged if a partition leaves the area that it must lie in."""
    for part in partitions:
        if not area.contains(part.range):
            hint = (
                "was the image cut off? Restore its size, or repair the table with fdisk "
                f"({FOR_TABLE_TOOLS})"
            )
            if part.start == 0:
                hint = (
                    f"isohybrid images have such an entry; remove it with fdisk ({FOR_TABLE_TOOLS})"
                )
            raise TableDamaged(
                path,
                reason=f"partition {part.number} (bytes {part.start} to {part.end}) lies outside "
                f"{area_name} (bytes {area.start} to {area.end})",
                hint=hint,
            )


@dataclass(frozen=True)
class SectorChange:
    """One whole sector of a table with its new content."""

    offset: int
    data: bytes

    def differs_from(self, device: BlockDevice) -> bool:
        """Whether the device has something else there, or nothing yet."""
        end = self.offset + len(self.data)
        return end > device.size or device.read(self.offset, len(self.data)) != self.data


def table_unsupported(path: Path, reason: str, hint: str) -> Refused:
    return Refused.named(
        "table-unsupported",
        "cannot work on the partition table of {path}",
        "{reason}",
        "{hint}; growdisk has not changed it",
        {"path": path, "reason": reason, "hint": hint},
    )


def table_rewrite_failed(path: Path, reason: str) -> OperationFailed:
    return OperationFailed.named(
        "table-rewrite-failed",
        "cannot write the new partition table of {path}",
        "{reason}",
        "check that parted and sfdisk can read the image's table; it has not been changed",
        {"path": path, "reason": reason},
    )
