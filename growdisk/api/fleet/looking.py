"""One image for the list: at rest by its superblocks, in use by what can be read without a lock.

Launches nothing. What goes wrong with it becomes part of its entry: one image never ends the list.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from growdisk.api.disk_facts import image_facts, inspect_device
from growdisk.api.fleet.room import file_systems, hindrances, idle_room, main_file_system, stretches
from growdisk.api.fleet.values import DiskEntry, State
from growdisk.api.run_status import status
from growdisk.block.device import BlockDevice
from growdisk.block.raw import RawFile
from growdisk.error_document import error_document
from growdisk.errors import GrowdiskError, ImageInUse, ImageNotReadable
from growdisk.fast_dataclass import replace
from growdisk.planner.facts import Facts
from growdisk.planner.layout import layout_of
from growdisk.qcow2.backing import open_backing
from growdisk.qcow2.header import read_header
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.probe import probe_format

_TOLD = ("none", "done", "undone")
# What a reader may stumble over if a guest writes while it reads without a lock.
_BROKEN = (OSError, ValueError, IndexError, struct.error)


def look_at_image(path: str, entry: DiskEntry | None = None) -> DiskEntry:
    """`entry` is what is known before: of a machine of libvirt, its name."""
    entry = entry or DiskEntry(path, path)
    try:
        with _opened(Path(path)) as (device, state):
            facts = inspect_device(device, image_facts(device, Path(path)), thorough=state == "off")
        # If libvirt has said that it runs, "in use" says less.
        return with_facts(
            replace(entry, state=entry.state if entry.state == "running" else state), facts
        )
    except GrowdiskError as error:
        return replace(entry, error=error_document(error))
    except _BROKEN as error:
        return replace(entry, error=_unreadable(path, str(error)))


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

    In use it is read without a lock: its guest may change it meanwhile, and a reader that held a
    lock would be in the way of a machine that is just started.
    """
    image_format = probe_format(path)
    try:
        device: BlockDevice = (
            Qcow2Image.open(path) if image_format == "qcow2" else RawFile.open_disk(path)
        )
        in_use = False
    except ImageInUse:
        device, in_use = _unlocked(path, image_format), True
    with closing(device):
        yield device, "in use" if in_use else "off"


def _unlocked(path: Path, image_format: str) -> BlockDevice:
    file = RawFile.open(path, lock=False)
    if image_format != "qcow2":
        return file
    try:
        header = read_header(file, path)
        # Only the topmost image is written to: those below are opened as ever.
        below = open_backing(path, header, (), lambda other, above: Qcow2Image.open(other))
        return Qcow2Image.over(file, path, writable=False, backing=below)
    except BaseException:
        file.close()
        raise


def _run_of(path: Path) -> str | None:
    try:
        state = status(path).state
    except GrowdiskError:  # an image in use, or that carries the marks of a run that cannot be read
        return None
    return None if state in _TOLD else state


def _unreadable(path: str, reason: str) -> dict[str, object]:
    return error_document(ImageNotReadable(Path(path), reason=reason))
