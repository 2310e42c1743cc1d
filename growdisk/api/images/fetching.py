"""Ranges of a device fetched one by one into buffers that are used again and again.

What the host has as it is, is read when its turn comes; where that is not in order, the host is told before. What has
to be decompressed is done by threads meanwhile, a few pieces ahead. Large new buffers for each piece would cost the
kernel as much as the copying itself; small ones stay in the processor's cache.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import tee

from growdisk.block.device import BlockDevice, Part
from growdisk.block.parts import fill, parts_of
from growdisk.block.raw import RawFile
from growdisk.units import split_range

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

CHUNK = 1 << 20
_BUFFERS_KEPT = 2
Fetched = tuple[int, bytearray]  # guest offset and bytes
Ranges = Iterable[tuple[int, int]]


def fetched(device: BlockDevice | None, ranges: Ranges, chunk: int = CHUNK) -> Generator[Fetched, None, None]:
    """The bytes of the ranges, in pieces of at most `chunk`; each is good until the next is asked for."""
    processors = len(os.sched_getaffinity(0))
    with _fetcher(processors) as fetcher:
        waiting: deque[_Piece] = deque()
        for start, end in ranges:
            for first, last in split_range(start, end, chunk):
                waiting.append(fetcher.begin(list(parts_of(device, first, last))))
                if len(waiting) > 2 * processors:
                    yield from fetcher.finish(waiting.popleft())
        while waiting:
            yield from fetcher.finish(waiting.popleft())


def fetched_both(
    one: BlockDevice | None, other: BlockDevice | None, ranges: Ranges, chunk: int = CHUNK
) -> Iterator[tuple[int, bytearray, bytearray]]:
    """The same pieces of two devices."""
    first, second = tee(ranges)
    with closing(fetched(one, first, chunk)) as mine, closing(fetched(other, second, chunk)) as theirs:
        for (start, found), (_, beside) in zip(mine, theirs, strict=True):
            yield start, found, beside


class _Piece:
    """Parts on their way into a buffer: the slow ones in a thread, all others when the piece is finished."""

    def __init__(self, parts: list[Part]) -> None:
        self.parts, self.start = parts, parts[0].start
        self.buffer: bytearray | None = None
        self.slow: Future[None] | None = None

    @property
    def length(self) -> int:
        return self.parts[-1].end - self.start


class _Fetcher:
    def __init__(self, processors: int) -> None:
        self._processors = processors
        self._free: list[bytearray] = []
        self._next: tuple[BlockDevice | None, int] = None, 0
        self.pool: ThreadPoolExecutor | None = None  # loads logging, 5 ms: not for small images without need

    def begin(self, parts: list[Part]) -> _Piece:
        piece = _Piece(parts)
        slow = [part for part in parts if part.is_slow]
        if slow:
            piece.buffer = self._buffer(piece.length)
            piece.slow = self._threads().submit(fill, slow, piece.start, memoryview(piece.buffer))
        for part in parts:
            if part.place is not None:
                self._announce(*part.place, part.end - part.start)
        return piece

    def _announce(self, file: BlockDevice, offset: int, length: int) -> None:
        """Where reading jumps: what stands behind one another the host reads ahead by itself."""
        if (file, offset) != self._next and isinstance(file, RawFile):
            file.will_need(offset, length)
        self._next = file, offset + length

    def finish(self, piece: _Piece) -> Iterator[Fetched]:
        buffer = piece.buffer or self._buffer(piece.length)
        fill([part for part in piece.parts if not part.is_slow], piece.start, memoryview(buffer))
        if piece.slow is not None:
            piece.slow.result()
        yield piece.start, buffer
        if len(self._free) < _BUFFERS_KEPT * self._processors:
            self._free.append(buffer)

    def _buffer(self, length: int) -> bytearray:
        """One of just this length: nearly all have the same."""
        while self._free:
            if len(buffer := self._free.pop()) == length:
                return buffer
        return bytearray(length)

    def _threads(self) -> ThreadPoolExecutor:
        if self.pool is None:
            from concurrent.futures import ThreadPoolExecutor

            self.pool = ThreadPoolExecutor(self._processors, "fetch")
        return self.pool


@contextmanager
def _fetcher(processors: int) -> Iterator[_Fetcher]:
    fetcher = _Fetcher(processors)
    try:
        yield fetcher
    finally:
        if fetcher.pool is not None:
            fetcher.pool.shutdown(cancel_futures=True)
