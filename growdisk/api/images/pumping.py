"""Guest bytes from one device to another: only what is not zeros, in large pieces, read ahead in a thread.

The thread alone touches the source and the caller alone the target; both spend their time in the system, where Python
does not stand in the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from growdisk.block.device import BlockDevice, Extent, ExtentKind
from growdisk.units import align_down, align_up, split_range

CHUNK = 2 << 20
_AHEAD = 4  # chunks

Progress = Callable[[int, int], None]  # bytes done, bytes in all
Chunk = tuple[int, bytes]  # guest offset and bytes
Piece = tuple[int, memoryview]


def nonzero_pieces(source: BlockDevice, granule: int, progress: Progress) -> Iterator[Piece]:
    """All that is not zeros, in whole granules (the last may be cut), in order. Progress counts guest bytes."""
    ranges = _aligned(source.extents(0, source.size), granule, source.size)
    chunks = ((start, source.read(start, end - start)) for start, end in _split(ranges, max(CHUNK, granule)))
    for start, data in _read_ahead(chunks):
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


def nonzero_runs(data: bytes, granule: int) -> Iterator[tuple[int, int]]:
    """The ranges of `data` that are not zeros, in whole granules."""
    zeros, length = bytes(granule), len(data)
    start: int | None = None
    for position in range(0, length, granule):
        is_zero = data.startswith(zeros, position) or (
            position + granule > length and not any(data[position:])  # the last one, cut
        )
        if is_zero and start is not None:
            yield start, position
            start = None
        elif not is_zero and start is None:
            start = position
    if start is not None:
        yield start, length


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


def _split(ranges: Iterable[tuple[int, int]], chunk: int) -> Iterator[tuple[int, int]]:
    for start, end in ranges:
        yield from split_range(start, end, chunk)


def _read_ahead(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    first = next(chunks, None)
    if first is None:
        return
    import threading  # the pools of concurrent.futures would load logging, 5 ms of a small image's conversion
    from queue import SimpleQueue

    ready: SimpleQueue[Chunk | BaseException | None] = SimpleQueue()
    room, ended = threading.Semaphore(_AHEAD), threading.Event()

    def read() -> None:
        try:
            for chunk in chunks:
                ready.put(chunk)
                room.acquire()
                if ended.is_set():
                    return
            ready.put(None)
        except BaseException as error:  # for who waits
            ready.put(error)

    reader = threading.Thread(target=read, name="read-ahead")
    reader.start()
    try:
        yield first
        while (found := ready.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found
            room.release()
    finally:
        ended.set()
        room.release()
        reader.join()
