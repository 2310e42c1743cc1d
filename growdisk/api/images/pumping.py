"""Guest bytes from one device to another: only what is not zeros."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from growdisk.api.images.fetching import CHUNK, fetched
from growdisk.block.device import BlockDevice, Extent, ExtentKind
from growdisk.units import align_down, align_up, split_range

_SOME = 64  # bytes

Progress = Callable[[int, int], None]  # bytes done, bytes in all
Piece = tuple[int, memoryview]  # good until the next is asked for


def nonzero_pieces(source: BlockDevice, granule: int, progress: Progress) -> Iterator[Piece]:
    """All that is not zeros, in whole granules (the last may be cut), in order. Progress counts guest bytes."""
    ranges = _aligned(source.extents(0, source.size), granule, source.size)
    for start, data in fetched(source, ranges, max(CHUNK, granule)):
        for first, last in nonzero_runs(data, granule):
            yield start + first, memoryview(data)[first:last]
        progress(start + len(data), source.size)
    progress(source.size, source.size)


def write_pieces(target: BlockDevice, pieces: Iterable[Piece], zeros_until: int = 0) -> None:
    """Write the pieces. A target that is not empty gets zeros between them, and behind the last until `zeros_until`."""
    position = 0
    for offset, data in pieces:
        if zeros_until and position < offset:
            target.write_zeros(position, offset - position)
        target.write(offset, data)
        position = offset + len(data)
    if position < zeros_until:
        target.write_zeros(position, zeros_until - position)


def clusters(pieces: Iterable[Piece], cluster_size: int, size: int) -> Iterator[tuple[int, bytes]]:
    """The pieces cut into clusters; the last one is filled up with zeros to the end of a disk of `size` bytes."""
    for offset, data in pieces:
        for start, end in split_range(offset, offset + len(data), cluster_size):
            cluster = bytes(data[start - offset : end - offset])
            yield start, cluster.ljust(min(cluster_size, size - start), b"\0")


def nonzero_runs(data: bytes | bytearray, granule: int) -> Iterator[tuple[int, int]]:
    """The ranges of `data` that are not zeros, in whole granules (of 8 bytes or a multiple of that)."""
    position = 0
    for start in _zero_granules(data, granule):
        if position < start:
            yield position, start
        position = start + granule
    if position < len(data):
        yield position, len(data)


def is_zero(data: bytearray) -> bool:
    """Whether there is nothing but zeros; that there is something else is nearly always seen at once."""
    return not any(data[:_SOME]) and data == bytes(len(data))


def _zero_granules(data: bytes | bytearray, granule: int) -> Iterator[int]:
    """Where granules of zeros begin. The first word of each tells nearly always, and all of these are had at once."""
    zeros, whole = bytes(granule), align_down(len(data), granule)
    first_words = memoryview(data)[:whole].cast("Q")[:: granule // 8].tolist()
    if 0 in first_words:
        for index, word in enumerate(first_words):
            if not word and data.startswith(zeros, index * granule):
                yield index * granule
    if whole < len(data) and not any(memoryview(data)[whole:]):  # the last one, cut
        yield whole


def _aligned(extents: Iterable[Extent], granule: int, size: int) -> Iterator[tuple[int, int]]:
    """The data extents widened to whole granules; those that then touch are one."""
    first = last = 0
    for extent in extents:
        if extent.kind is not ExtentKind.DATA:
            continue
        start, end = align_down(extent.start, granule), min(align_up(extent.end, granule), size)
        if start > last:
            if first < last:
                yield first, last
            first = start
        last = end
    if first < last:
        yield first, last
