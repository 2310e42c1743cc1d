"""A disk's layout as it is shown: the values of `show --json`, the drawings and plan.json.

Plain values only (no Path, no subclass), so that a plan can be written down and read back as it
was.
"""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import Content, LuksContent, PhysicalVolumeContent
from growdisk.partitions.growth import WORTH_A_BLOCKER
from growdisk.partitions.table import Partition, Role
from growdisk.planner.facts import Facts
from growdisk.planner.foreign import is_fixed, is_needed, whose
from growdisk.units import format_size


@dataclass(frozen=True)
class ImageLayout:
    path: str
    format: str
    virtual_size: int
    actual_size: int
    snapshots: tuple[str, ...] = ()
    backing: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableLayout:
    type: str | None
    id: str | None


@dataclass(frozen=True)
class ContentLayout:
    kind: str
    uuid: str
    label: str
    size: int | None
    used: int | None


@dataclass(frozen=True)
class PartitionLayout:
    """`number` 0 stands for the whole disk if there is no table."""

    number: int
    name: str
    start: int
    size: int
    role: str
    type: str
    bootable: bool
    content: ContentLayout | None

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True)
class VolumeLayout:
    """An opened container (kind "luks") or a logical volume (kind as LVM has it).

    `holder` is what it lies in: sda5, or "LUKS in sda5".
    """

    name: str
    holder: str
    kind: str
    size: int
    content: ContentLayout | None


@dataclass(frozen=True)
class FreeLayout:
    start: int
    size: int


@dataclass(frozen=True)
class BlockerLayout:
    """What stands after the partition that would grow, in words, and the options that solve it."""

    number: int
    name: str
    kind: str
    size: int
    why: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """A disk as it is shown, in bytes; `free` is between partitions and after the last one.

    `blockers` stand between what would grow and the end of the disk.
    """

    image: ImageLayout
    table: TableLayout
    partitions: tuple[PartitionLayout, ...]
    volumes: tuple[VolumeLayout, ...] = ()
    free: tuple[FreeLayout, ...] = ()
    blockers: tuple[BlockerLayout, ...] = ()


def table_words(kind: str | None) -> str:
    """A table's type as it is shown."""
    return {"mbr": "MBR", "gpt": "GPT"}.get(kind or "", "no partition table")


def layout_of(facts: Facts) -> Layout:
    """A disk as it is shown and drawn, from what inspect found. Sizes and places in bytes."""
    image, table = facts.image, facts.table
    return Layout(
        image=ImageLayout(
            str(image.path),
            image.format,
            image.virtual_size,
            image.actual_size,
            image.snapshots,
            image.backing,
        ),
        table=TableLayout(table.kind, table.disk_id) if table else TableLayout(None, None),
        partitions=tuple(_partition(facts, part) for part in table.partitions)
        if table
        else _whole(facts),
        volumes=tuple(
            v
            for n, content in sorted(facts.contents.items())
            for v in _volumes(facts.name_of(n), content)
        ),
        free=tuple(
            FreeLayout(free.start, free.length) for free in (table.free_ranges() if table else ())
        ),
        blockers=(
            # What belongs to others is listed with its reason already.
            *_others(facts),
            *(_blocker(facts, part) for part in facts.blockers() if not whose(facts, part)),
        ),
    )


def _partition(facts: Facts, part: Partition) -> PartitionLayout:
    return PartitionLayout(
        number=part.number,
        name=facts.name_of(part.number),
        start=part.start,
        size=part.size,
        role=part.role.value,
        type=part.type_code,
        bootable=part.bootable,
        content=_shown(facts.contents.get(part.number)),
    )


def _shown(content: Content | None) -> ContentLayout | None:
    if content is None:
        return None
    return ContentLayout(content.kind, content.uuid, content.label, content.size, content.used)


def _volumes(holder: str, content: Content | None) -> Iterator[VolumeLayout]:
    if isinstance(content, LuksContent) and content.unlocked:
        name = f"LUKS in {holder}"
        yield VolumeLayout(name, holder, "luks", content.size or 0, _shown(content.inside))
        yield from _volumes(name, content.inside)
    elif isinstance(content, PhysicalVolumeContent) and content.group is not None:
        group, inside = content.group, dict(content.volumes)
        for volume in group.visible:
            size, what = group.size_of(volume), inside.get(volume.name)
            yield VolumeLayout(
                f"{group.name}/{volume.name}", holder, volume.kind, size, _shown(what)
            )


def _blocker(facts: Facts, part: Partition) -> BlockerLayout:
    assert facts.table is not None and facts.main is not None
    name, kind = facts.name_of(part.number), facts.kind_of(part.number)
    room_after = any(
        free.start >= part.end and free.length >= WORTH_A_BLOCKER
        for free in facts.table.free_ranges()
    )
    goal = "the free space" if room_after else "the end of the disk"
    why = (
        f"{name}, {kind}, {format_size(part.size)}, stands between "
        f"{facts.name_of(facts.main.number)} and {goal}"
    )
    return BlockerLayout(part.number, name, kind, part.size, why, tuple(_options(facts, part)))


def _others(facts: Facts) -> Iterator[BlockerLayout]:
    """What belongs to others: the disk, partitions of it, and space that no partition has."""
    if facts.owner:
        why = f"the whole disk belongs to something larger: {facts.owner}"
        yield BlockerLayout(0, facts.name_of(0), facts.owner, facts.image.virtual_size, why)
    for part in facts.partitions:
        if whose_it_is := whose(facts, part):
            name, kind = facts.name_of(part.number), facts.kind_of(part.number)
            yield BlockerLayout(
                part.number,
                name,
                kind,
                part.size,
                f"{name} {whose_it_is}: growdisk does not touch it",
            )
    for claim in facts.table.claims if facts.table else ():
        size = claim.end - claim.start
        why = (
            f"{claim.what} speaks of {format_size(size)} from byte {claim.start} on: nothing "
            "grows into that"
        )
        yield BlockerLayout(0, facts.name_of(0), "claimed space", size, why)


def _options(facts: Facts, part: Partition) -> Iterator[str]:
    if part.number in facts.swaps:
        yield from ("--swap drop", "--swap move", "--swap file")
    elif part.role is not Role.EXTENDED:
        if not is_fixed(facts, part):
            yield f"--move {part.number}"
        if not is_needed(facts, part):
            yield f"--delete {part.number}"


def _whole(facts: Facts) -> tuple[PartitionLayout, ...]:
    """A file system on the whole disk is shown as partition 0."""
    content, size = facts.contents.get(0), facts.image.virtual_size
    if content is None:
        return ()
    name, shown = facts.name_of(0), _shown(content)
    return (PartitionLayout(0, name, 0, size, "whole", "", bootable=False, content=shown),)
