"""The files that an image names, backing file and data file, read without judging the image.

This reads files of all kinds in a folder, most of which are not images. So nothing is refused
here: a file that cannot be read names nothing, and an image with features that growdisk does not
know still names its backing file. A name is turned into every path that it may mean to QEMU,
because a path too many is harmless: it is only compared with a file that is known. qcow (versions
1 to 3), QED and the descriptor of a VMDK are read; other formats lie on their own kind only.
Follows QEMU's docs/interop/qcow2 and docs/interop/qed_spec, and VMware's Virtual Disk Format 1.1.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from collections.abc import Iterator

Identity = tuple[int, int]
"""Device and inode: the same for all names of a file.

A block device is its number, whatever nodes it has.
"""

_PREFIX = 4096
_MAX_NAME, _MAX_CLUSTER = 1023, 2 << 20
_QCOW, _QED = b"QFI\xfb", b"QED\0"
_BACKING = struct.Struct(">QI")  # of qcow: offset and length of the backing file's name, at byte 8
_QED_BACKING = struct.Struct("<II")  # the same of QED, at byte 56
_EXTENSION = struct.Struct(">II")
_DATA_FILE = b"DATA"
# Of a VMDK whose descriptor is a file of its own: a part of the disk, often a raw image.
_DESCRIPTOR = b"# Disk DescriptorFile"
_PART = rb'(?m)^(?:RW|RDONLY|NOACCESS)\s+\d+\s+\w+\s+"([^"\r\n]+)"'
_PROTOCOL = rb"[A-Za-z][A-Za-z0-9+.-]*:"


def identity(path: str | bytes) -> Identity | None:
    """Which file a path leads to, links followed; None if there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 (bytes)
    except (OSError, ValueError):
        return None
    if stat.S_ISBLK(status.st_mode):
        # No file system has the number -1, so a device is never taken for a file.
        return -1, status.st_rdev
    return status.st_dev, status.st_ino


def named_files(path: str) -> dict[Identity, str]:
    """The files that the image at `path` lies on or keeps its data in, with their paths.

    Other files name none.
    """
    try:  # O_NONBLOCK: a pipe must not be waited for
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return {}
    try:
        names = list(_names(fd))
        places = [place for name in names for place in _places(os.fsencode(path), name)]
    except (OSError, ValueError, struct.error):
        return {}
    finally:
        os.close(fd)
    found = ((identity(place), os.fsdecode(place)) for place in places)
    return {named: place for named, place in found if named is not None}


def _names(fd: int) -> Iterator[bytes]:
    start = os.pread(fd, _PREFIX, 0)
    if start.startswith(_DESCRIPTOR):
        yield from re.findall(_PART, start)
    elif start[:4] == _QED:
        yield from _name_at(fd, *_QED_BACKING.unpack_from(start, 56))
    elif start[:4] == _QCOW:
        offset, length = _BACKING.unpack_from(start, 8)
        yield from _name_at(fd, offset, length)
        # Version 1 has no header extensions.
        if int.from_bytes(start[4:8], "big") >= 2:
            yield from _data_files(start, offset)


def _name_at(fd: int, offset: int, length: int) -> Iterator[bytes]:
    if 0 < offset <= _MAX_CLUSTER and 0 < length <= _MAX_NAME:
        yield os.pread(fd, length, offset)


def _data_files(start: bytes, backing_offset: int) -> Iterator[bytes]:
    """All names of data files: readers differ on which counts if there are several."""
    version_2 = int.from_bytes(start[4:8], "big") == 2
    # The length of version 2; from version 3 on the header says its own.
    position = 72 if version_2 else int.from_bytes(start[100:104], "big")
    # Extensions end where the backing file's name begins.
    end = min(backing_offset or len(start), len(start))
    while position + _EXTENSION.size <= end:
        kind, length = _EXTENSION.unpack_from(start, position)
        if not kind:
            return
        position += _EXTENSION.size
        if kind == int.from_bytes(_DATA_FILE, "big"):
            yield start[position : position + length]
        # What pads them to 8 bytes is not counted in the length.
        position += -(-length // 8) * 8


def _places(image: bytes, name: bytes) -> Iterator[bytes]:
    """Where such a file may lie: relative to the image's folder, by whichever name."""
    folders = dict.fromkeys((os.path.dirname(image), os.path.dirname(os.path.realpath(image))))  # noqa: PTH120
    for spelling in filter(None, _spellings(name.split(b"\0")[0])):
        yield from (os.path.join(folder, spelling) for folder in folders)  # noqa: PTH118


def _spellings(name: bytes) -> Iterator[bytes]:
    """A name as it is, and without what may be a protocol: file:, host_device:, blkdebug:CONFIG:"""
    if name.startswith(b"json:"):
        for file_name in _in_json(name.removeprefix(b"json:")):
            yield from _spellings(file_name)
        return
    yield name
    if re.match(_PROTOCOL, name):
        # blkdebug:CONFIG:FILE has two colons; nbd:// and file:// have slashes after theirs.
        bare = name.partition(b":")[2]
        yield from (bare, name.rpartition(b":")[2], _unquoted(bare.removeprefix(b"//")))


def _unquoted(name: bytes) -> bytes:
    """`%20` in a URL."""
    if b"%" not in name:
        return name
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(name)


def _in_json(text: bytes) -> Iterator[bytes]:
    """Every file name in a JSON description of block devices: {"file": {"filename": ...}}."""
    import json

    try:
        # Not by recursion: how deep it goes, a foreign file decides.
        waiting: list[object] = [json.loads(text)]
    except (ValueError, RecursionError):
        return
    while waiting:
        match waiting.pop():
            case dict() as nodes:
                waiting += nodes.values()
                named = (
                    value
                    for key, value in nodes.items()
                    # QEMU takes "file.filename" as it takes a "filename" in "file".
                    if str(key).rpartition(".")[2] == "filename"
                )
                yield from (os.fsencode(value) for value in named if isinstance(value, str))
            case list() as items:
                waiting += items
