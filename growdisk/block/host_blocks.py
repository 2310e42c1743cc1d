"""A file on the host: where it has data, where blocks, and blocks for what is to be written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator

from growdisk.block.device import Extent, ExtentKind
from growdisk.block.fiemap import allocated_extents
from growdisk.units import align_up

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from growdisk.block.raw import RawFile

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
        blocks = [(each.start, each.end) for each in found if each.kind is ExtentKind.DATA]
    for first, last in (*blocks, (end, end)):
        if start < min(first, end):
            yield start, min(first, end)
        start = max(start, last)


def claim(file: RawFile, ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Reserve blocks for all of these before the first is written, or, with OSError, none.

    Returns where there were none, as (offset, length).
    """
    taken: list[tuple[int, int]] = []
    try:
        for first, last in (hole for each in ranges for hole in file.unallocated(*each)):
            taken.append((first, last - first))
            file.reserve(*taken[-1])
    except OSError:
        for hole in taken:
            file.discard(*hole)
        raise
    return taken


def possible_size(size: int) -> int:
    """The size of a file. One that no disk has is told as any other that is too large."""
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
