"""One image for the list: at rest by its superblocks, in use by what can be read without a lock.

Launches nothing. What goes wrong with it becomes part of its entry: one image never ends the list.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from growdisk.api.disk_facts import image_facts, inspect_device, opened_image
from growdisk.api.fleet.values import DiskEntry, FileSystemUse, Hindrance, State, Stretch
from growdisk.api.result import status
from growdisk.block.device import BlockDevice
from growdisk.error_document import error_document
from growdisk.errors import GrowdiskError, ImageInUse, ImageNotReadable
from growdisk.fast_dataclass import replace
from growdisk.filesystems.content import BtrfsContent, Content, LuksContent, PhysicalVolumeContent
from growdisk.partitions.table import Role
from growdisk.planner.facts import Facts
from growdisk.planner.layout import Layout, layout_of
from growdisk.qcow2.probe import probe_format
from growdisk.units import MiB

_TOLD = ("none", "done", "undone")
# What a reader may stumble over if a guest writes while it reads without a lock.
_BROKEN = (OSError, ValueError, IndexError, struct.error)


def look_at_image(entry: DiskEntry) -> DiskEntry:
    """`entry` is what is known before: of a machine of libvirt, its name."""
    path = Path(entry.path)
    try:
        with _opened(path) as (device, state):
            facts = inspect_device(device, image_facts(device, path), thorough=state == "off")
        # If libvirt has said that it runs, "in use" says less.
        return with_facts(
            replace(entry, state=entry.state if entry.state == "running" else state), facts
        )
    except GrowdiskError as error:
        return replace(entry, error=error_document(error))
    except _BROKEN as error:
        return replace(entry, error=error_document(ImageNotReadable(path, str(error))))


def with_facts(entry: DiskEntry, facts: Facts) -> DiskEntry:
    layout, found = layout_of(facts), file_systems(facts)
    image = facts.image
    return replace(
        entry,
        format=image.format,
        virtual_size=image.virtual_size,
        actual_size=image.actual_size,
        table=layout.table.type,
        file_systems=found,
        root=main_file_system(facts, found),
        idle=idle_room(facts),
        hinders=tuple(hindrances(facts, layout)),
        stretches=stretches(layout),
        run=_run_of(image.path),
        snapshots=image.snapshots,
        backing=image.backing,
    )


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BlockDevice, State]]:
    """The disk, and whether it is off or in use.

    In use, no lock is taken: it would be in the way of a machine that is just started.
    """
    image_format = probe_format(path)
    state: State = "off"
    try:
        device = opened_image(path, image_format)
    except ImageInUse:
        device, state = opened_image(path, image_format, lock=False), "in use"
    with closing(device):
        yield device, state


def _run_of(path: Path) -> str | None:
    try:
        state = status(path).state
    except GrowdiskError:  # an image in use, or that carries the marks of a run that cannot be read
        return None
    return None if state in _TOLD else state


# --- how full its file systems are, how much space is unused, layer by layer ----------------------


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
    """Unused bytes: unpartitioned, or in a layer that does not fill what it lies in."""
    if facts.table is None:
        return sum(_idle(facts.contents[0], facts.image.virtual_size)) if 0 in facts.contents else 0
    free = sum(unused.length for unused in facts.table.free_ranges() if unused.length >= _LEAST)
    parts = (part for part in facts.table.partitions if part.role is not Role.EXTENDED)
    return free + sum(size for p in parts for size in _idle(facts.contents.get(p.number), p.size))


def _idle(content: Content | None, available: int) -> Iterator[int]:
    match content:
        case LuksContent():
            yield from _idle(content.inside, content.size or 0)
        case PhysicalVolumeContent() if content.group is not None:
            group, inside = content.group, dict(content.volumes)
            # After the physical volume; extents that no volume has; within each volume.
            yield _gap(available, group.end_of_extents)
            yield max(group.own_volume.pe_count - group.used_extents, 0) * group.extent_size
            for volume in group.visible:
                yield from _idle(inside.get(volume.name), group.size_of(volume))
        case BtrfsContent():
            yield _gap(available, content.device_size)
        case Content(size=int(size)) if content.growable:
            yield _gap(available, size)


def _gap(available: int, covered: int) -> int:
    gap = available - covered
    return gap if gap >= _LEAST else 0


def hindrances(facts: Facts, layout: Layout) -> Iterator[Hindrance]:
    """What stands after the main partition or belongs to others, or that nothing can grow."""
    # What is in an extended partition says more than that does.
    named = [b for b in layout.blockers if b.kind != "extended partition"] or list(layout.blockers)
    yield from (Hindrance(one.name, one.kind, one.why, one.options) for one in named)
    whole = facts.contents.get(0)
    if facts.main is None and not (whole and whole.growable) and not layout.blockers:
        yield Hindrance("", "unknown", "nothing that growdisk can grow is recognised on it")
    number = facts.main.number if facts.main else 0
    main, name = facts.contents.get(number), facts.name_of(number)
    if isinstance(main, LuksContent) and not main.unlocked:
        yield Hindrance(name, "luks", f"{name} is encrypted", ("--key-file FILE",))
    elif unfit := getattr(main, "unfit", ""):
        yield Hindrance(name, "unfit", unfit)


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
