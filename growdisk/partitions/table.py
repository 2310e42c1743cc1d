"""Partition tables as values: what an MBR or a GPT says in half-open bytes, and free space.

Sectors and inclusive ends stay in the readers and writers of this package. A table knows the size
of its disk, so that a plan can be made for a disk that has not been grown yet:
`table.with_disk_size(40 * GiB)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Literal

from growdisk.fast_dataclass import dataclass, field, replace
from growdisk.units import ByteRange, MiB, align_down, align_up

TableKind = Literal["mbr", "gpt"]
MBR_MAX_SECTORS = 1 << 32  # an MBR counts sectors in 32 bits
GPT_ENTRY_SIZE = 128
EFI_SYSTEM = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
WINDOWS_RECOVERY = "DE94BBA4-06D1-4D40-A16A-BFD50179D6AC"
_READ_ONLY = 1 << 60
_BLOCK = 4096
FIRST_DISK = "sda"  # as a guest with one SCSI-like disk names it, and every appliance
# GRUB's core.img: the boot sector knows where it lies
BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"


class Role(Enum):
    """How a partition hangs in its table. GPT knows primary ones only."""

    PRIMARY = "primary"
    EXTENDED = "extended"
    LOGICAL = "logical"


@dataclass(frozen=True)
class Partition:
    """One entry of a table: bytes [start, end).

    `type_code` is as sfdisk prints it: lower-case hex in an MBR ("83", "5", "f"), an upper-case
    GUID in a GPT; `guid` is the GPT partition's own, in lower case as PARTUUID shows it;
    `attributes` are the 64 bits of a GPT entry.
    """

    number: int
    start: int
    end: int
    role: Role = Role.PRIMARY
    type_code: str = "83"
    bootable: bool = False
    name: str = ""
    guid: str | None = None
    attributes: int = 0

    @property
    def range(self) -> ByteRange:
        return ByteRange(self.start, self.end)

    @property
    def size(self) -> int:
        return self.end - self.start

    @property
    def read_only(self) -> bool:
        """Whether a GPT entry says so, by the bit that Windows and systemd use alike.

        UEFI leaves its meaning to the type.
        """
        return bool(self.attributes & _READ_ONLY)

    def moved_by(self, distance: int) -> Partition:
        return replace(self, start=self.start + distance, end=self.end + distance)

    def grown_to(self, limit: int) -> Partition:
        """It up to the last whole MiB before `limit`."""
        end = align_down(limit, MiB)
        # It may start anywhere, but LUKS2 opens it only while it is whole blocks long.
        is_whole = self.role is not Role.EXTENDED and self.size % _BLOCK == 0
        return replace(self, end=end - (end - self.start) % _BLOCK if is_whole else end)


@dataclass(frozen=True)
class Claim:
    """Bytes [start, end) of no partition of the table that are somebody's; `what` says whose.

    `mirrors`: an MBR beside the GPT names them, and with them maybe a partition of the GPT, which
    must then stay as it is. `number` is that of the MBR's entry, 0 if there is none.
    """

    start: int
    end: int
    what: str
    number: int = 0
    mirrors: bool = False

    @property
    def range(self) -> ByteRange:
        return ByteRange(self.start, self.end)


@dataclass(frozen=True)
class PartitionTable:
    """A table and the disk that it is on; `partitions` are ordered by number.

    `disk_id` is the MBR's signature ("0x1234abcd") or the GPT's disk GUID in upper case, as sfdisk
    prints them. `damage` names a damaged copy that the reader could do without (a GPT keeps two).
    `claims` is space that is not free though no partition has it. Neither counts in comparisons.
    """

    kind: TableKind
    disk_id: str
    sector_size: int
    disk_size: int
    partitions: tuple[Partition, ...]
    gpt_entries: int = 128
    damage: str = field(default="", compare=False)
    claims: tuple[Claim, ...] = field(default=(), compare=False)

    def partuuid(self, part: Partition) -> str:
        """As a kernel has it: a GPT's own, or made from the disk's id and the number."""
        return part.guid or f"{self.disk_id.removeprefix('0x')}-{part.number:02x}"

    def by_number(self, number: int) -> Partition | None:
        return next((p for p in self.partitions if p.number == number), None)

    @property
    def extended(self) -> Partition | None:
        return next((p for p in self.partitions if p.role is Role.EXTENDED), None)

    @property
    def logicals(self) -> tuple[Partition, ...]:
        return tuple(p for p in self.partitions if p.role is Role.LOGICAL)

    @property
    def usable_end(self) -> int:
        """Where the last partition may end: 1 MiB aligned, and before a GPT's backup.

        An MBR's limit of 2 TiB is not in it: a plan that would need more has to say so.
        """
        return max(0, align_down(self.last_end, MiB))

    @property
    def last_end(self) -> int:
        """The same, not aligned."""
        backup = 0
        if self.kind == "gpt":
            # The backup's header and its entries.
            backup = self.sector_size + align_up(
                self.gpt_entries * GPT_ENTRY_SIZE, self.sector_size
            )
        return align_down(self.disk_size, self.sector_size) - backup

    def free_ranges(self) -> tuple[ByteRange, ...]:
        """Free space in whole MiB, in order.

        The gap before the first MiB belongs to boot loaders and is not free.
        """
        # `cursor` is the end of all that was seen so far: ranges in it may overlap or be empty.
        free, cursor = [], MiB
        # An empty range at the end closes the last gap.
        end_of_disk = ByteRange(self.usable_end, self.usable_end)
        for taken in [*sorted(self._taken()), end_of_disk]:
            start, end = align_up(cursor, MiB), align_down(min(taken.start, self.usable_end), MiB)
            if start < end:
                free.append(ByteRange(start, end))
            cursor = max(cursor, taken.end)
        return tuple(free)

    def with_disk_size(self, disk_size: int) -> PartitionTable:
        return replace(self, disk_size=disk_size)

    def with_partitions(self, partitions: Iterable[Partition]) -> PartitionTable:
        return replace(self, partitions=tuple(sorted(partitions, key=lambda p: p.number)))

    def replaced(self, *changed: Partition) -> PartitionTable:
        """The same table with these partitions instead of those with the same numbers."""
        return self.with_partitions([*self.without(p.number for p in changed).partitions, *changed])

    def without(self, numbers: Iterable[int]) -> PartitionTable:
        gone = set(numbers)
        return self.with_partitions(p for p in self.partitions if p.number not in gone)

    def _taken(self) -> Iterator[ByteRange]:
        for part in self.partitions:
            if part.role is Role.PRIMARY:
                yield part.range
        yield from (claim.range for claim in self.claims)
        if (extended := self.extended) is not None:
            # Its borders cut the free space in two; each logical partition needs a sector before it
            # for its EBR.
            yield ByteRange(extended.start, extended.start + self.sector_size)
            yield ByteRange(extended.end, extended.end)
            for part in self.logicals:
                yield ByteRange(
                    part.start - self.sector_size, min(part.end + self.sector_size, extended.end)
                )
