"""New, empty images, with the options of qemu-img create.

The format of a backing file is always recorded: found by a probe once, here, where its owner is
looking, and never again by those who open the image.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import cast, get_args

from growdisk.api.guard import refuse_run_below
from growdisk.api.images.new_file import NewFile
from growdisk.api.images.opening import (
    format_of,
    is_device,
    open_guest_content,
    refuse_without_room,
    report_create_errors,
)
from growdisk.api.images.resizing import TAKING_ROOM, extend_raw, refuse_raw_preallocation
from growdisk.block.raw import RawFile
from growdisk.errors import ImageUnsupported, UsageError, bad_value
from growdisk.qcow2.create import create, data_file_of
from growdisk.qcow2.create_options import CreateOptions, Preallocation
from growdisk.qcow2.named_files import as_local, backing_path, real, stored_name
from growdisk.qcow2.probe import ImageFormat
from growdisk.units import align_up

_SECTOR = 512


def create_qcow2(
    path: Path,
    size: int | None,
    options: CreateOptions,
    backing: str | None = None,
    backing_format: ImageFormat | None = None,
    key: bytes | None = None,
    luks: bytes = b"",
) -> int:
    """A new qcow2 image; `size` None: that of its backing file.

    Returns its size, in whole sectors. Durable. A relative name of `backing` counts from the
    image's directory. `key`: encrypt with LUKS; `luks`: with this encryption header of another
    image.
    """
    if backing is None and backing_format is not None:
        raise UsageError("a backing format needs a backing file", hint="name it, too, with -b FILE")
    if backing is not None:
        backing = stored_name(path, backing)
        backing_format, length = _examine(path, backing, backing_format)
        size = length if size is None else size
    if size is None:
        raise UsageError("an image without a backing file needs a SIZE", "write 40G for 40 GiB")
    size = align_up(size, _SECTOR)
    problem = options.problem(size, backed=backing is not None)
    if problem is not None:
        raise ImageUnsupported(path, problem, "choose other options; nothing was written")
    # Anything else takes next to nothing: numbers would not explain a full host.
    takes = size if options.preallocation in TAKING_ROOM else 0
    data_file = place_of_data(path, options)
    with (
        report_create_errors(path, (lambda: takes) if takes else None),
        NewFile(path, data_file=data_file) as new,
    ):
        refuse_full_host(path, size, options)
        create(
            new.temporary,
            size,
            options,
            backing=backing,
            backing_format=backing_format,
            key=key,
            luks=luks,
            synced_later=True,
            data_place=new.data_place,
        )
        new.publish()
    return size


def refuse_full_host(path: Path, size: int, options: CreateOptions) -> None:
    """no-room-for-image where the room of a whole new disk is to be taken and is not there."""
    if options.preallocation in TAKING_ROOM:
        refuse_without_room(path, place_of_data(path, options) or path, size)


def place_of_data(path: Path, options: CreateOptions) -> Path | None:
    """Where the external data file of a new image is to be; None if it has none."""
    return data_file_of(path, options.data_file) if options.data_file else None


def create_raw(path: Path, size: int, preallocation: Preallocation) -> int:
    """A new raw image: a hole (off), reserved blocks (falloc) or written zeros (full).

    Returns its size. Durable.
    """
    size = align_up(size, _SECTOR)
    refuse_raw_preallocation(path, preallocation)
    if is_device(path):
        reason = "a block device is a raw image already, as large as it is"
        raise ImageUnsupported(path, reason, "blkdiscard -z empties it; nothing was written")
    with report_create_errors(path, lambda: size), NewFile(path) as new:
        if preallocation in TAKING_ROOM:
            refuse_without_room(path, path, size)
        with closing(RawFile.create(new.temporary)) as file:
            extend_raw(file, size, preallocation)
        new.publish()
    return size


def create_overlay(
    base: Path, path: Path, base_format: ImageFormat | None = None, luks: bytes = b""
) -> int:
    """An empty image on top of `base`, of its size.

    The name in it leads from its own directory to the base.
    """
    # Only the folders: if the base is a link, the overlay names the link, as its owner did.
    place = real(base.parent) / base.name
    name = str(base) if base.is_absolute() else as_local(os.path.relpath(place, real(path.parent)))
    return create_qcow2(path, None, CreateOptions(), name, base_format, luks=luks)


def raw_preallocation(options: str) -> Preallocation:
    """What `-o` of a raw image may say."""
    chosen: Preallocation = "off"
    for word in filter(None, options.split(",")):
        name, _, value = word.partition("=")
        if name != "preallocation" or value not in get_args(Preallocation):
            problem = f"'{word}' is not an option of a raw image"
            raise bad_value(problem, "-o", word, "write preallocation=off, falloc or full")
        chosen = cast("Preallocation", value)
    return chosen


def _examine(path: Path, name: str, backing_format: ImageFormat | None) -> tuple[ImageFormat, int]:
    """Format and size of a backing file to be; its own chain must be sound."""
    if not name:
        raise UsageError("the name of a backing file cannot be empty", hint="leave -b out")
    place = backing_path(path, name)
    backing_format = format_of(place, backing_format, writing=True)
    refuse_run_below(place)
    with open_guest_content(place, backing_format) as device:
        return backing_format, align_up(device.size, _SECTOR)
