"""pump(): ranges of devices, read piece by piece by several threads, used in their order.

What has to be decompressed, and what the host has as it is, can be fetched by any thread;
everything else one at a time. If the pieces do not stand in order in the host's file, the host is
asked for some ahead. Buffers are used again and again: large new ones for each piece would cost the
kernel as much as the copying itself. Small ones stay in the processor's cache.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain, islice
from threading import Thread

from growdisk.block.device import BlockDevice, Part, fill, parts_of, read_into
from growdisk.block.direct_io import aligned
from growdisk.block.raw import RawFile
from growdisk.units import split_range

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from _thread import LockType
    from typing import Any, TypeVar

    from growdisk.block.device import Extent
    from growdisk.qcow2.mapping import GuestRun

    P = TypeVar("P", Extent, Part, GuestRun)
    Q = TypeVar("Q", Extent, Part, GuestRun)
    T = TypeVar("T")

CHUNK = 1 << 20
WRITTEN_CHUNK = COMPARED_CHUNK = 2 << 20
_AHEAD = 4  # pieces that the host is asked for before they are fetched
_COMPARED = 1 << 20  # bytes at a time: with less, threads do little but wait for the interpreter
_ZEROS = bytes(_COMPARED)
Devices = Sequence[BlockDevice | None]
Ranges = Iterable[tuple[int, int]]
Piece = list[list[Part]]  # the same range of each device
_FEW = 8  # pieces for which no thread is started
_THREADS_AT_MOST = 24  # so that with its buffers all of it stays below 150 MiB
_EARLY = 4  # pieces that may be done before their turn
_PATIENCE = 0.1  # seconds between two looks at how far it is


def pump(
    devices: Devices,
    ranges: Ranges,
    work: Callable[..., T],
    use: Callable[[T], int],
    progress: Callable[[int], None] = lambda _: None,
    *,
    chunk: int = CHUNK,
    jobs: int = 0,
    independent: bool = True,
    written: bool = False,
    unless_alike: bool = False,
) -> None:
    """Read the ranges from each device in pieces of at most `chunk`, for `work(start, buffer...)`.

    That may run in any thread. What it returns is given to `use`, in order; the buffers are good
    until that returns. The rest is as in in_order(); `independent`: using does not
    change the devices; `written`: what is in the buffers is written to the disk, perhaps past the
    host's cache. `unless_alike`: of two devices, pieces known to be the same in both are skipped.
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
        pieces,
        working,
        lambda using: using(),
        progress,
        lock=fetcher.lock,
        independent=independent,
        jobs=jobs,
    )


class _Fetcher:
    def __init__(self, new_buffer: Callable[[int], bytearray]) -> None:
        self._new_buffer = new_buffer
        self.lock = allocate_lock()
        self._free: list[bytearray] = []
        self._compared: list[tuple[bytearray, bytearray]] = []
        # by device: where its next piece is expected
        self._next: dict[int, tuple[BlockDevice, int]] = {}

    def taken(self, devices: Devices, ranges: Ranges, chunk: int) -> Iterator[Piece]:
        """Each piece looked up, some time after the host was asked for it."""
        waiting: deque[Piece] = deque()
        for start, end in ranges:
            for first, last in split_range(start, end, chunk):
                # Looked up here, one thread at a time: the cache of tables is not shared safely.
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
                # The place is where the last one of this device ended: the host reads ahead itself.
                if self._next.get(number) != part.place and isinstance(file, RawFile):
                    file.will_need(offset, part.end - part.start)
                self._next[number] = file, offset + part.end - part.start

    def fetched(self, parts: list[Part]) -> bytearray:
        start, buffer = parts[0].start, self._buffer(parts[-1].end - parts[0].start)
        # Any thread may fetch what it takes a processor to unpack, what a host file has as it is,
        # and zeros. All else reads through a device that is not safe for threads: under the lock.
        apart = [p for p in parts if p.is_slow or p.place is not None or p.fill is None]
        fill(apart, start, memoryview(buffer))
        if len(apart) < len(parts):
            with self.lock:
                fill([part for part in parts if part not in apart], start, memoryview(buffer))
        return buffer

    def are_alike(self, piece: Piece) -> bool:
        """Whether two devices are seen to have the same there."""
        try:
            buffers = self._compared.pop()
        except IndexError:  # the first of this thread
            buffers = bytearray(_COMPARED), bytearray(_COMPARED)
        alike = are_alike(piece[0], piece[1], buffers)
        # Back for any thread: list.pop() and append() are whole in CPython.
        self._compared.append(buffers)
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


def are_alike(one: list[Part], other: list[Part], buffers: tuple[bytearray, bytearray]) -> bool:
    """Whether a range is alike in two devices, read in steps into `buffers`.

    False as well if it cannot be read in steps: fetch it then.
    """
    # Something is compressed, or read through a device.
    if not all(part.place is not None or part.fill is None for part in (*one, *other)):
        return False
    return all(
        _bytes(a, first, last, buffers[0]) == _bytes(b, first, last, buffers[1])
        for start, end, a, b in side_by_side(one, other, one[0].start)
        for first, last in split_range(start, end, _COMPARED)
    )


def _bytes(part: Part, start: int, end: int, buffer: bytearray) -> bytearray | bytes:
    """[start, end) of a part, in the buffer if that has just this length."""
    if part.place is None:
        return _ZEROS if end - start == _COMPARED else bytes(end - start)
    if end - start < _COMPARED:
        buffer = bytearray(end - start)
    device, offset = part.place
    read_into(device, offset + start - part.start, memoryview(buffer))
    return buffer


def side_by_side(
    one: Iterable[P], other: Iterable[Q], start: int
) -> Iterator[tuple[int, int, P, Q]]:
    """[start, end) that lie in one piece of each of two lists, and these two pieces."""
    mine, theirs = iter(one), iter(other)
    a, b = next(mine, None), next(theirs, None)
    while a is not None and b is not None:
        end = min(a.end, b.end)
        yield start, end, a, b
        a = next(mine, None) if a.end == end else a
        b = next(theirs, None) if b.end == end else b
        start = end


# --- pieces worked on by several threads, and used in their order ---------------------------------
#
#     take (one at a time, in order) ─▶ work (side by side) ─▶ use (one at a time, in order)
#
# No thread waits for another as long as there is room: what is done before its turn is put down,
# and the thread that finishes what it waits for uses it too. Who asks for all this only waits: an
# interruption (Ctrl-C) meets it there, never in the middle of a piece.


class StopEarly(Exception):
    """Raised by `use`: what follows is not wanted."""


def in_order(
    pieces: Iterable[Any],
    work: Callable[[Any], Any],
    use: Callable[[Any], int],
    progress: Callable[[int], None],
    *,
    lock: LockType | None = None,
    independent: bool = True,
    jobs: int = 0,
) -> None:
    """Take each piece, work on it, and use the result in order; `use` returns how far it reaches.

    `progress` gets that, from the calling thread. `lock` is held while a piece is taken; `work` may
    take it for a while. It is held for `use` too, unless these have nothing in common
    (`independent`). `jobs`: threads; 0: some more than processors, as each waits for the disk at
    times. The first failure in order is raised, and nothing after it is used.
    """
    remaining, jobs = iter(pieces), jobs or _usual_jobs()
    # With one job nothing is taken here: the loop below then has every piece in `remaining`.
    first = list(islice(remaining, _FEW)) if jobs > 1 else []
    try:
        # So few are done sooner than threads have started.
        if len(first) < _FEW:
            for piece in chain(first, remaining):
                progress(use(work(piece)))
        else:
            _serve(
                _Pipeline(
                    chain(first, remaining),
                    work,
                    use,
                    lock or allocate_lock(),
                    independent=independent,
                ),
                jobs,
                progress,
            )
    except StopEarly:
        return


def _usual_jobs() -> int:
    processors = len(os.sched_getaffinity(0))
    return min(processors + processors // 2, _THREADS_AT_MOST) if processors > 1 else 1


def _serve(pipeline: _Pipeline, jobs: int, progress: Callable[[int], None]) -> None:
    threads = [Thread(target=pipeline.serve, name="piece", daemon=True) for _ in range(jobs)]
    # One for each thread, and a few that are done before their turn, which bounds memory.
    pipeline.make_room(jobs + _EARLY)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_PATIENCE)
                # In this thread alone: what shows progress need not be thread-safe.
                progress(pipeline.reached)
    finally:
        # Also on Ctrl-C: each thread finishes the piece that it has in hand, and no other.
        pipeline.end()
        for thread in threads:
            # One that could not be started has none.
            if thread.ident is not None:
                thread.join()
    if pipeline.failure is not None:
        raise pipeline.failure


class _Pipeline:
    """What the threads share."""

    def __init__(
        self,
        pieces: Iterator[Any],
        work: Callable[[Any], Any],
        use: Callable[[Any], int],
        lock: LockType,
        *,
        independent: bool,
    ) -> None:
        from _queue import SimpleQueue

        self._pieces, self._work, self._use, self._take_lock = pieces, work, use, lock
        # If using changes what is read, nobody may take a piece meanwhile.
        self._use_lock = nullcontext() if independent else lock
        self._using = allocate_lock()
        self._room: SimpleQueue[None] = SimpleQueue()
        self._taken = self._used = 0
        self._done: dict[int, tuple[Any, BaseException | None]] = {}  # and not yet used, by number
        self._is_over = False
        self.reached = 0
        self.failure: BaseException | None = None

    def make_room(self, count: int) -> None:
        """For so many pieces that are taken and not yet used."""
        for _ in range(count):
            self._room.put(None)

    def end(self) -> None:
        """Nothing more is taken or used; threads that wait for room end."""
        self._is_over = True
        self.make_room(1)

    def serve(self) -> None:
        """Piece after piece until there is none, or nobody wants another."""
        while True:
            # Waits here, with nothing in hand, if too many pieces are on their way.
            self._room.get()
            with self._take_lock:
                if self._is_over:
                    self.make_room(1)  # for another thread, to see the same
                    return
                number, failure = self._taken, None
                try:
                    piece = next(self._pieces)
                except StopIteration:
                    self.make_room(1)  # for another thread, to see the same
                    return
                except BaseException as error:  # raised in its turn
                    failure = error
                self._taken += 1
            # Not under the lock: this is what goes on side by side.
            # A dict that several threads write to: CPython makes one such store whole.
            self._done[number] = (None, failure) if failure else self._worked(piece)
            self._use_what_is_done()

    def _worked(self, piece: Any) -> tuple[Any, BaseException | None]:
        try:
            return self._work(piece), None
        except BaseException as error:
            return None, error

    def _use_what_is_done(self) -> None:
        """Unless another thread does; that looks again after it has let go."""
        # Asked again after the lock is let go: a piece that was put down in between found it taken,
        # and its thread went on without using it.
        while self._used in self._done and self._using.acquire(blocking=False):
            try:
                while self._used in self._done and not self._is_over:
                    self._use_one(*self._done.pop(self._used))
            finally:
                self._using.release()
            if self._is_over:
                return

    def _use_one(self, found: Any, failure: BaseException | None) -> None:
        try:
            # Of taking or working: raised here, as the first failure in order counts.
            if failure is not None:
                raise failure
            with self._use_lock:
                self.reached = self._use(found)
        except BaseException as error:
            self.failure = error
            self.end()
        self._used += 1
        self.make_room(1)
