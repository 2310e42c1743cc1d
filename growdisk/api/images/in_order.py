"""Pieces worked on by several threads, and used up in their order.

    take (one at a time, in order) ─▶ work (side by side) ─▶ use (one at a time, in order)

No thread waits for another as long as there is room: what is done before its turn is put down, and
the thread that finishes what it waits for uses it too. Who asks for all this only waits: an
interruption (Ctrl-C) meets it there, never in the middle of a piece.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from itertools import chain, islice
from threading import Thread

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from _thread import LockType
    from typing import Any

_FEW = 8  # pieces for which no thread is started
_THREADS_AT_MOST = 24  # so that with its buffers all of it stays below 150 MiB
_PUT_DOWN = 4  # pieces that may wait for their turn
_PATIENCE = 0.1  # seconds between two looks at how far it is


class StopEarly(Exception):
    """Raised by `use`: what follows is not wanted."""


def in_order(
    pieces: Iterable[Any],
    work: Callable[[Any], Any],
    use: Callable[[Any], int],
    progress: Callable[[int], None],
    *,
    desk: LockType | None = None,
    apart: bool = True,
    jobs: int = 0,
) -> None:
    """Take each piece, work on it, and use the result in order; `use` returns how far it reaches.

    `progress` gets that, from the calling thread. `desk` is held while a piece is taken; `work` may
    take it for a while. It is held for `use` too unless these have nothing in common (`apart`).
    `jobs`: threads; 0: some more than processors, as each waits for the disk at times. The first
    failure in order is raised, and nothing after it is used.
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
                _Line(chain(first, remaining), work, use, desk or allocate_lock(), apart=apart),
                jobs,
                progress,
            )
    except StopEarly:
        return


def _usual_jobs() -> int:
    processors = len(os.sched_getaffinity(0))
    return min(processors + processors // 2, _THREADS_AT_MOST) if processors > 1 else 1


def _serve(line: _Line, jobs: int, progress: Callable[[int], None]) -> None:
    threads = [Thread(target=line.serve, name="piece", daemon=True) for _ in range(jobs)]
    # One piece for each thread, and a few that are done before their turn: memory is bounded by
    # that.
    line.make_room(jobs + _PUT_DOWN)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_PATIENCE)
                # In this thread alone: what shows progress need not be thread-safe.
                progress(line.reached)
    finally:
        # Also on Ctrl-C: each thread finishes the piece that it has in hand, and no other.
        line.end()
        for thread in threads:
            # One that could not be started has none.
            if thread.ident is not None:
                thread.join()
    if line.failure is not None:
        raise line.failure


class _Line:
    """What the threads share."""

    def __init__(
        self,
        pieces: Iterator[Any],
        work: Callable[[Any], Any],
        use: Callable[[Any], int],
        desk: LockType,
        *,
        apart: bool,
    ) -> None:
        from _queue import SimpleQueue

        self._pieces, self._work, self._use, self._desk = pieces, work, use, desk
        # If using changes what is read, nobody may take a piece meanwhile.
        self._use_desk = nullcontext() if apart else desk
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
            with self._desk:
                if self._is_over:
                    self.make_room(1)  # for another thread, to see the same
                    return
                number, failure = self._taken, None
                try:
                    piece = next(self._pieces)
                except StopIteration:
                    self.make_room(1)  # for another thread, to see the same
                    return
                except BaseException as error:  # told in its turn
                    failure = error
                self._taken += 1
            # Not under the desk: this is what goes on side by side.
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
            # Of taking or working: raised here, so that the first failure in order is the one that
            # counts.
            if failure is not None:
                raise failure
            with self._use_desk:
                self.reached = self._use(found)
        except BaseException as error:
            self.failure = error
            self.end()
        self._used += 1
        self.make_room(1)
