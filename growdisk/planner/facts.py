"""What inspection saw of a disk: image, table, and what the superblocks say of each partition."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import (
    Content,
    ForeignContent,
    LuksContent,
    PhysicalVolumeContent,
    SwapContent,
)
from growdisk.filesystems.volume_group import VolumeGroup
from growdisk.partitions.blocks import blockers
from growdisk.partitions.table import FIRST_DISK, Partition, PartitionTable, Role
from growdisk.storage.values import Storage


@dataclass(frozen=True)
class ImageFacts:
    """The image file, sizes in bytes.

    `version` is the qcow2 version, None for raw; `corrupt`: it is marked so. `legacy_encryption`:
    of the form that is only read. `tables`: bytes of the tables that say where its clusters lie.
    `padding`: bytes that the last sector of a raw image has beyond the end of its file. `storage`:
    what a block device lies on, if that was asked for.
    """

    path: Path
    format: str
    virtual_size: int
    actual_size: int
    snapshots: tuple[str, ...] = ()
    backing: tuple[str, ...] = ()
    version: int | None = None
    refcount_bits: int = 0
    corrupt: bool = False
    tables: int = 0
    legacy_encryption: bool = False
    padding: int = 0
    cluster_size: int | None = None
    storage: Storage | None = None


@dataclass(frozen=True)
class Facts:
    """What is known of a disk; `contents` maps partition numbers to what was recognised there.

    Number 0 is the whole disk if there is no table. `boot_code`: a boot loader has its first part
    in sector 0. `owner`: what the whole disk belongs to, although it has a table: an array of
    disks, a dynamic disk of Windows ("" for most). `disk`: which of the guest's disks it is.
    `other_table`: a table that growdisk does not read, in words. `homes`: the partitions that a
    guest's system, or its /boot, lies in, as far as they were looked for. `loaders_in`: those that
    GRUB in a boot sector goes on in, by the number of a sector. `lilo`: it, or zipl, is in one.
    """

    image: ImageFacts
    table: PartitionTable | None
    contents: dict[int, Content]
    boot_code: bool = False
    owner: str = ""
    disk: str = FIRST_DISK
    other_table: str = ""
    homes: tuple[int, ...] = ()
    loaders_in: tuple[int, ...] = ()
    lilo: bool = False

    def name_of(self, number: int) -> str:
        """As the guest names it: sda1; sda for the whole disk."""
        return f"{self.disk}{number or ''}"

    def is_known_by_sectors(self, number: int) -> bool:
        """Whether a boot loader finds files in the partition by the disk's sectors."""
        # Its map lies in /boot, and has the sectors of kernels and initrds.
        may_have_map = number in (self.homes or {*self.contents} - {*self.swaps})
        return number in self.loaders_in or (self.lilo and may_have_map)

    def kind_of(self, number: int) -> str:
        content = self.contents.get(number)
        if content is not None:
            return content.kind
        part = self.table.by_number(number) if self.table else None
        return "extended partition" if part and part.role is Role.EXTENDED else "unknown content"

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """None, if there is no table."""
        return self.table.partitions if self.table else ()

    @property
    def swaps(self) -> tuple[int, ...]:
        """Numbers of the partitions that hold swap space."""
        return tuple(sorted(n for n, c in self.contents.items() if isinstance(c, SwapContent)))

    def all_within(self, *numbers: int) -> Iterator[Content]:
        """What stands in these partitions, and in that."""
        for number in numbers:
            if content := self.contents.get(number):
                yield from content.all_within()

    def groups_on(self, *numbers: int) -> list[VolumeGroup]:
        """Volume groups that reach onto these partitions (all), as far as they can be read."""
        within = self.all_within(*(numbers or self.contents))
        return [c.group for c in within if isinstance(c, PhysicalVolumeContent) and c.group]

    def content_with(self, uuid: str, number: int) -> Content | None:
        """What has the UUID in a partition, wherever it is in there."""
        return next((c for c in self.all_within(number) if c.uuid == uuid), None)

    def leaves_of(self, number: int) -> Iterator[tuple[str, Content]]:
        """What stands innermost in a partition, by name: sda1, vg0/root."""
        yield from _innermost(self.name_of(number), self.contents.get(number))

    @property
    def leaves(self) -> dict[str, Content]:
        """The same of the whole disk."""
        return dict(each for number in sorted(self.contents) for each in self.leaves_of(number))

    @property
    def candidates(self) -> tuple[Partition, ...]:
        """Partitions whose content can grow, in the order in which they lie on the disk."""
        growable = [
            p
            for p in self.partitions
            if (content := self.contents.get(p.number)) and content.growable
        ]
        return tuple(sorted(growable, key=lambda p: p.start))

    @property
    def main(self) -> Partition | None:
        """The partition that is meant if none is named: the largest, a root rather than its /boot.

        Of two alike the later one has less in its way; all of one volume group are alike.
        """
        largest = max(self.candidates, key=lambda p: (p.size, p.start), default=None)
        groups = {group.uuid for group in self.groups_on(largest.number)} if largest else set()
        alike = (
            part
            for part in reversed(self.candidates)
            if any(group.uuid in groups for group in self.groups_on(part.number))
        )
        return next(alike, largest)

    @property
    def members(self) -> tuple[Partition, ...]:
        """Partitions that are part of something larger."""
        return tuple(
            p
            for p in self.partitions
            if isinstance(c := self.contents.get(p.number), ForeignContent) and c.member
        )

    def blockers(self) -> tuple[Partition, ...]:
        """What lies after the main partition, in order."""
        if self.table is None or self.main is None:
            return ()
        return blockers(self.table, self.main.number)


def _innermost(name: str, content: Content | None) -> Iterator[tuple[str, Content]]:
    match content:
        case LuksContent() if content.inside is not None:
            yield from _innermost(name, content.inside)
        # A group that could not be read is shown as what it is: the physical volume.
        case PhysicalVolumeContent() if content.group is not None:
            for volume, inside in content.volumes:
                yield from _innermost(f"{content.group.name}/{volume}", inside)
        case Content():
            yield name, content
