"""How full a disk's file systems are, and how much space is unused, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.api.fleet.values import FileSystemUse, Hindrance, Stretch
from growdisk.filesystems.content import BtrfsContent, Content, LuksContent, PhysicalVolumeContent
from growdisk.partitions.table import Role
from growdisk.planner.facts import Facts
from growdisk.planner.layout import Layout
from growdisk.units import MiB

_LEAST = MiB  # alignment and the end of a table leave less


def file_systems(facts: Facts) -> tuple[FileSystemUse, ...]:
    """All whose superblock says how full they are."""
    return tuple(use for name, content in facts.leaves.items() if (use := _use(name, content)))


def main_file_system(facts: Facts, found: tuple[FileSystemUse, ...]) -> FileSystemUse | None:
    """The one that would grow: of the main partition, the largest in it."""
    number = facts.main.number if facts.main else 0
    own = {name for name, _ in facts.leaves_of(number)}
    return max((use for use in found if use.name in own), key=lambda use: use.size, default=None)


def _use(name: str, content: Content) -> FileSystemUse | None:
    if content.used is None or not content.size:
        return None
    used = min(content.used + content.held, content.size)
    return FileSystemUse(
        name, content.kind, content.size, used, reserved=content.reserved, overhead=content.overhead
    )


def idle_room(facts: Facts) -> int:
    """Unused bytes: unpartitioned, or in a layer that does not fill what is around it."""
    if facts.table is None:
        return sum(_idle(facts.contents[0], facts.image.virtual_size)) if 0 in facts.contents else 0
    free = sum(unused.length for unused in facts.table.free_ranges() if unused.length >= _LEAST)
    parts = (part for part in facts.table.partitions if part.role is not Role.EXTENDED)
    return free + sum(
        size for part in parts for size in _idle(facts.contents.get(part.number), part.size)
    )


def _idle(content: Content | None, around: int) -> Iterator[int]:
    match content:
        case LuksContent():
            yield from _idle(content.inside, content.size or 0)
        case PhysicalVolumeContent() if content.group is not None:
            group, inside = content.group, dict(content.volumes)
            # Room after the physical volume; extents of it that no volume has; room within each
            # volume.
            yield _gap(around, group.end_of_extents)
            yield max(group.own_volume.pe_count - group.used_extents, 0) * group.extent_size
            for volume in group.visible:
                yield from _idle(inside.get(volume.name), group.size_of(volume))
        case BtrfsContent():
            yield _gap(around, content.device_size)
        case Content(size=int(size)) if content.growable:
            yield _gap(around, size)


def _gap(around: int, covered: int) -> int:
    gap = around - covered
    return gap if gap >= _LEAST else 0


def hindrances(facts: Facts, layout: Layout) -> Iterator[Hindrance]:
    """What stands after the main partition or belongs to others, or that nothing can grow."""
    # What is in an extended partition says more than that does.
    named = [b for b in layout.blockers if b.kind != "extended partition"] or list(layout.blockers)
    yield from (
        Hindrance(hindrance.name, hindrance.kind, hindrance.why, hindrance.options)
        for hindrance in named
    )
    whole = facts.contents.get(0)
    if facts.main is None and not (whole and whole.growable) and not layout.blockers:
        yield Hindrance("", "unknown", "nothing that growdisk can grow is recognised on it")
    main = facts.contents.get(facts.main.number if facts.main else 0)
    if isinstance(main, LuksContent) and not main.unlocked:
        name = facts.name_of(facts.main.number if facts.main else 0)
        yield Hindrance(name, "luks", f"{name} is encrypted", ("--key-file FILE",))
    elif unfit := getattr(main, "unfit", ""):
        yield Hindrance(facts.name_of(facts.main.number if facts.main else 0), "unfit", unfit)


def stretches(layout: Layout) -> tuple[Stretch, ...]:
    """The disk from left to right."""
    parts = [
        Stretch(
            part.name,
            part.start,
            part.size,
            part.content.kind if part.content else "",
            part.content.used if part.content else None,
        )
        for part in layout.partitions
        if part.role != "extended"
    ]
    free = [Stretch("", unused.start, unused.size, "free") for unused in layout.free]
    return tuple(sorted((*parts, *free), key=lambda stretch: stretch.start))
