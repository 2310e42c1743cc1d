"""A file on the host: where it has data, where blocks, and whether more is available."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from growdisk.block.device import Extent, ExtentKind, HostFile
from growdisk.units import align_up

#: As for QEMU: what lies at the end can be rounded up, and has a number for the kernel.
MAX_LENGTH = (1 << 63) - (1 << 30)


def extents(fd: int, offset: int, end: int, *, unit: int) -> Iterator[Extent]:
    """Data and holes of [offset, end); data reach to the next multiple of `unit`."""
    while offset < end:
        data = _seek(fd, offset, os.SEEK_DATA, end)
        if data > offset:
            yield Extent(offset, data, ExtentKind.ZERO)
        if data < end:
            hole = min(align_up(_seek(fd, data, os.SEEK_HOLE, end), unit), end)
            yield Extent(data, hole, ExtentKind.DATA)
            data = hole
        offset = data


def unallocated(fd: int, start: int, end: int, *, unit: int) -> Iterator[tuple[int, int]]:
    """Where [start, end) has no blocks of the host.

    What is allocated and never written reads as a hole too.
    """
    if start >= end:
        return
    try:
        blocks = list(allocated_extents(fd, start, end - start))
    except OSError:  # a file system that does not tell: what reads as a hole is one
        found = extents(fd, start, end, unit=unit)
        blocks = [(extent.start, extent.end) for extent in found if extent.kind is ExtentKind.DATA]
    # The gaps between blocks; the last pair stands for the gap before the end.
    for first, last in (*blocks, (end, end)):
        if start < min(first, end):
            yield start, min(first, end)
        start = max(start, last)


def reserve_ranges(file: HostFile, ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Reserve blocks for all of these before the first is written, or, with OSError, none.

    Returns where there were none, as (offset, length).
    """
    taken: list[tuple[int, int]] = []
    try:
        for first, last in (hole for wanted in ranges for hole in file.unallocated(*wanted)):
            taken.append((first, last - first))
            file.reserve(*taken[-1])
    except OSError:
        # Given back, or a refusal would have filled the host.
        for hole in taken:
            file.discard(*hole)
        raise
    return taken


def possible_size(size: int) -> int:
    """The size of a file. One that no disk has is refused as any other that is too large."""
    if size > MAX_LENGTH:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return size


def _seek(fd: int, offset: int, whence: int, end: int) -> int:
    """The offset of the next data or hole, at most `end`; without support it is data everywhere."""
    try:
        return min(os.lseek(fd, offset, whence), end)
    except OSError as error:
        if error.errno == errno.ENXIO:  # only a hole until the end of the file
            return end
        return offset if whence == os.SEEK_DATA else end


# Which blocks of the host a file has, also those allocated but never written, which reading cannot
# tell from holes. Spec: Linux include/uapi/linux/fiemap.h.

_FIEMAP = 0xC020660B  # _IOWR('f', 11, struct fiemap)
# FIEMAP_FLAG_SYNC: what is still in memory alone has no blocks before it is written out.
_SYNC, _LAST = 1, 1
_AT_ONCE = 256
_HEADER = struct.Struct("=QQIIII")  # start, length, flags, mapped, count, reserved
_EXTENT = struct.Struct("=QQQ16xI12x")  # logical, physical, length, flags


def allocated_extents(fd: int, offset: int, length: int) -> Iterator[tuple[int, int]]:
    """Those of [offset, offset+length), as [start, end); the first and last may reach beyond.

    OSError if unknown.
    """
    end = offset + length
    while offset < end:
        room = bytearray(
            _HEADER.pack(offset, end - offset, _SYNC, 0, _AT_ONCE, 0)
            + bytes(_AT_ONCE * _EXTENT.size)
        )
        fcntl.ioctl(fd, _FIEMAP, room)
        mapped = _HEADER.unpack_from(room)[3]
        flags = _LAST  # without any extent too
        for index in range(mapped):
            logical, _, extent_length, flags = _EXTENT.unpack_from(
                room, _HEADER.size + index * _EXTENT.size
            )
            # If the buffer was too small, the next call goes on after the last extent.
            offset = logical + extent_length
            yield logical, offset
        if flags & _LAST:
            return


def free_room(place: Path) -> int:
    """Bytes that this process can still write in a folder; unlimited if unknown (FUSE)."""
    space = os.statvfs(place)
    if not space.f_blocks:
        return sys.maxsize
    # f_bfree includes the blocks that a file system keeps for root.
    return (space.f_bavail if os.geteuid() else space.f_bfree) * space.f_frsize
