"""pump(): ranges of devices, read piece by piece into buffers that are used again and again.

What has to be decompressed and what the host has as it is can be fetched by any thread; everything
else one at a time. Where the pieces do not stand in order in the host's file, the host is told some
ahead. Large new buffers for each piece would cost the kernel as much as the copying itself; small
ones stay in the processor's cache.
"""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from growdisk.api.images.in_order import in_order
from growdisk.block.device import BlockDevice, Part, fill, parts_of, read_into
from growdisk.block.direct_io import aligned
from growdisk.block.raw import RawFile
from growdisk.units import split_range

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")

CHUNK = 1 << 20
WRITTEN_CHUNK = COMPARED_CHUNK = 2 << 20
_AHEAD = 4  # pieces that the host hears of before they are fetched
Devices = Sequence[BlockDevice | None]
Ranges = Iterable[tuple[int, int]]
Piece = list[list[Part]]  # the same range of each device


def pump(
    devices: Devices,
    ranges: Ranges,
    work: Callable[..., T],
    use: Callable[[T], int],
    progress: Callable[[int], None] = lambda _: None,
    *,
    chunk: int = CHUNK,
    jobs: int = 0,
    apart: bool = True,
    written: bool = False,
    unless_alike: bool = False,
) -> None:
    """Read the ranges from each device in pieces of at most `chunk`, for `work(start, buffer...)`.

    That may run in any thread. What it returns is given to `use`, in order; the buffers are good
    until that returns. The rest is as in in_order(); `apart`: using does not change the
    devices; `written`: what is in the buffers is written to the disk, past the host's cache if
    possible. `unless_alike`: of two devices, pieces known to be the same in both are skipped.
    """
    fetcher = _Fetcher(aligned if written else bytearray)

    def working(piece: Piece) -> Callable[[], int]:
        # Nothing to work on or to use: only how far it reaches is reported.
        if unless_alike and fetcher.are_alike(piece):
            return lambda: piece[0][-1].end
        buffers = [fetcher.fetched(parts) for parts in piece]
        found = work(piece[0][0].start, *buffers)

        # `use` has the buffers until it returns. Only then another piece may have them.
        def using() -> int:
            reached = use(found)
            fetcher.give_back(buffers)
            return reached

        return using

    pieces = fetcher.taken(devices, ranges, chunk)
    in_order(
        pieces, working, lambda using: using(), progress, desk=fetcher.desk, apart=apart, jobs=jobs
    )


class _Fetcher:
    def __init__(self, new_buffer: Callable[[int], bytearray]) -> None:
        self._new_buffer = new_buffer
        self.desk = allocate_lock()
        self._free: list[bytearray] = []
        self._comparers: list[Comparer] = []
        # by device: where its next piece is expected
        self._next: dict[int, tuple[BlockDevice, int]] = {}

    def taken(self, devices: Devices, ranges: Ranges, chunk: int) -> Iterator[Piece]:
        """Each piece looked up, some time after the host has been told of it."""
        waiting: deque[Piece] = deque()
        for start, end in ranges:
            for first, last in split_range(start, end, chunk):
                # Looked up here, by one thread at a time: tables are cached, and the cache is not
                # shared safely.
                piece = [list(parts_of(device, first, last)) for device in devices]
                for number, parts in enumerate(piece):
                    self._announce(number, parts)
                waiting.append(piece)
                if len(waiting) > _AHEAD:
                    yield waiting.popleft()
        yield from waiting

    def _announce(self, number: int, parts: list[Part]) -> None:
        """Where reading jumps: what stands after one another the host reads ahead by itself."""
        for part in parts:
            if part.place is not None:
                file, offset = part.place
                # The place is where the last one of this device ended: the host reads ahead without
                # being told.
                if self._next.get(number) != part.place and isinstance(file, RawFile):
                    file.will_need(offset, part.end - part.start)
                self._next[number] = file, offset + part.end - part.start

    def fetched(self, parts: list[Part]) -> bytearray:
        start, buffer = parts[0].start, self._buffer(parts[-1].end - parts[0].start)
        # Any thread may fetch what it takes a processor to unpack, what a host file has as it is,
        # and zeros. All else reads through a device that is not safe for threads: under the desk.
        apart = [
            part for part in parts if part.is_slow or part.place is not None or part.fill is None
        ]
        fill(apart, start, memoryview(buffer))
        if len(apart) < len(parts):
            with self.desk:
                fill([part for part in parts if part not in apart], start, memoryview(buffer))
        return buffer

    def are_alike(self, piece: Piece) -> bool:
        """Whether two devices are seen to have the same there."""
        try:
            comparer = self._comparers.pop()
        except IndexError:  # the first of this thread
            comparer = Comparer()
        alike = comparer.are_alike(*piece)
        # Back for any thread: list.pop() and append() are whole in CPython.
        self._comparers.append(comparer)
        return alike

    def give_back(self, buffers: list[bytearray]) -> None:
        self._free += buffers  # there are never more than pieces on their way

    def _buffer(self, length: int) -> bytearray:
        """One of just this length: nearly all have the same."""
        try:
            # One of another length is dropped: it is left from a shorter piece.
            while len(buffer := self._free.pop()) != length:
                pass
        except IndexError:  # another thread may have taken the last
            return self._new_buffer(length)
        return buffer


# Whether two devices have the same bytes somewhere, told in steps.
#
# A step is as long as one thread can read and compare without waiting much for another: with
# shorter ones the threads do little but hand the interpreter to each other.

_STEP = 1 << 20
_ZEROS = bytes(_STEP)


class Comparer:
    """For one thread at a time, which keeps the memory of each step."""

    def __init__(self) -> None:
        self._buffers = bytearray(_STEP), bytearray(_STEP)

    def are_alike(self, one: list[Part], other: list[Part]) -> bool:
        """Whether a range is alike; False as well if it cannot be read in steps: fetch it then."""
        # Something is compressed, or read through a device.
        if not all(part.place is not None or part.fill is None for part in (*one, *other)):
            return False
        start, mine, theirs = one[0].start, iter(one), iter(other)
        a, b = next(mine), next(theirs)
        while True:
            # [start, end) lies in one part of each, and is a step at most.
            end = min(a.end, b.end, start + _STEP)
            if _bytes(a, start, end, self._buffers[0]) != _bytes(b, start, end, self._buffers[1]):
                return False
            if end == one[-1].end:
                return True
            a = next(mine) if a.end == end else a
            b = next(theirs) if b.end == end else b
            start = end


def _bytes(part: Part, start: int, end: int, buffer: bytearray) -> bytearray | bytes:
    """[start, end) of a part, in the buffer if that has just this length."""
    if part.place is None:
        return _ZEROS if end - start == _STEP else bytes(end - start)
    if end - start < _STEP:
        buffer = bytearray(end - start)
    device, offset = part.place
    read_into(device, offset + start - part.start, memoryview(buffer))
    return buffer
