"""Stops a run from outside: Ctrl-C, SIGTERM and SIGHUP request it for the next safe point.

While the main thread is inside a C library no Python signal handler runs. The wakeup descriptor
is written to at once all the same; a thread reads it and calls back those who can end a long wait,
such as the appliance.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from growdisk.workflow.failures import Interrupted, before_anything

Handler = Callable[[int, FrameType | None], object] | int | signal.Handlers | None
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# -number is Python's way to say it, 128 + number that of a shell or sandbox which runs the tool.
OF_A_SIGNAL = frozenset(status for number in _SIGNALS for status in (-number, 128 + number))
"""The exit statuses of a tool that died of one of them."""


class StopRequest:
    """Set once. `callbacks` are called from another thread when it is."""

    def __init__(self) -> None:
        self._flag = threading.Event()
        self.signal = ""
        self.callbacks: list[Callable[[], None]] = []

    @property
    def requested(self) -> bool:
        return self._flag.is_set()

    def request(self, name: str) -> None:
        """Ask the run to stop; only the first request counts."""
        if not self.requested:
            self.signal = name
            self._flag.set()
            for callback in list(self.callbacks):
                callback()

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call `callback` when a stop is requested while the context lasts, or was before.

        It may be called twice.
        """
        self.callbacks.append(callback)
        try:
            if self.requested:  # just before the callback was there
                callback()
            yield
        finally:
            self.callbacks.remove(callback)

    def requested_within(self, seconds: float) -> bool:
        """Whether a stop is requested within that time.

        The death of a tool that the same signal hit may be noticed before the request is.
        """
        return self._flag.wait(seconds)

    def check(self) -> None:
        """Raise Interrupted if a stop was requested."""
        if self.requested:
            raise Interrupted(self.signal)


def set_handlers(handler: Handler) -> dict[signal.Signals, Handler]:
    """Let `handler` have the signals; return what had them."""
    # What is ignored stays so: `nohup growdisk expand` outlives its terminal.
    return {
        number: signal.signal(number, handler)
        for number in _SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }


class SignalsStop:
    """While this context lasts, signals become requests to stop. Main thread only."""

    def __init__(self, stop: StopRequest) -> None:
        self._stop = stop

    def __enter__(self) -> StopRequest:
        self._read_end, self._write_end = os.pipe()
        # Python's signal handler writes to it: it must never wait for the reader.
        os.set_blocking(self._write_end, False)
        self._watcher = threading.Thread(target=self._watch, name="signals", daemon=True)
        with before_anything():
            self._watcher.start()
        self._old_handlers = set_handlers(_nothing)
        self._old_wakeup = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        return self._stop

    def __exit__(self, *_: object) -> None:
        # Back first: a signal that came now would be written to a pipe that is about to be closed.
        signal.set_wakeup_fd(self._old_wakeup)
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        os.close(self._write_end)
        # Before the read end is closed: its number could be given to another file, and be read
        # from.
        self._watcher.join()
        os.close(self._read_end)

    def _watch(self) -> None:
        # No byte, when __exit__ closes the other end: the thread ends.
        while number := os.read(self._read_end, 1):
            if number[0] in _SIGNALS:
                self._stop.request(signal.Signals(number[0]).name)


def _nothing(number: int, frame: FrameType | None) -> None:
    """A handler must be there, or the signal would end the process."""
