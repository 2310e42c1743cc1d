"""Runs a playbook over its hosts: a process a host, N at once, play after play.

A process each: libparted and libguestfs keep state of their own, and what kills one must not harm
the others. The parent has no threads, so that forking is sound. A host that fails is left out of
the later plays; the others continue.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from types import FrameType

from growdisk.error_document import error_document
from growdisk.errors import GrowdiskError
from growdisk.playbook.reports import Event, HostEnded, HostReport
from growdisk.workflow.stopping import SignalsStop, StopRequest, set_handlers

_GO_ON = "growdisk run PLAYBOOK --resume goes on, --undo takes back what was done"
_PATIENCE = 0.2  # seconds between two looks at who has something to say

Work = Callable[[Callable[[Event], None], StopRequest], HostReport]
"""What is to be done for a host, in a process of its own."""


class HostPool:
    """`emit` hears of all hosts; `tick` is called often, for a display that moves."""

    def __init__(self, emit: Callable[[Event], None], tick: Callable[[], None]) -> None:
        self._emit, self._tick = emit, tick
        self.stopping = False
        self._running: dict[Connection, tuple[str, multiprocessing.process.BaseProcess]] = {}
        self._reports: dict[str, HostReport] = {}

    def run(self, jobs: Mapping[str, Work], at_once: int) -> dict[str, HostReport]:
        """By host. Hosts that were not begun because of a signal are missing."""
        self._reports = {}
        waiting = list(jobs.items())
        # Set in this process; a child that is forked sets its own (_in_child).
        old = set_handlers(self._stop)
        try:
            while self._running or (waiting and not self.stopping):
                while waiting and len(self._running) < at_once and not self.stopping:
                    self._begin(*waiting.pop(0))
                self._listen()
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
        return self._reports

    def _begin(self, host: str, work: Work) -> None:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        fork = multiprocessing.get_context("fork")
        parents = [ours, *self._running]
        process = fork.Process(target=_in_child, args=(host, work, theirs, parents))
        process.start()
        # The child alone has it now. Were it open here too, the child's end would not be seen.
        theirs.close()
        self._running[ours] = (host, process)

    def _listen(self) -> None:
        # One event of each host, then the display: a busy host does not keep the others waiting.
        for connection in wait(list(self._running), _PATIENCE):
            assert isinstance(connection, Connection)
            try:
                event: Event = connection.recv()
            # All events of a process are read before its end is: pipes keep the order.
            except (EOFError, OSError):
                self._gone(connection)
                continue
            if isinstance(event, HostEnded):
                self._reports[event.host] = event.report
            self._emit(event)
        self._tick()

    def _gone(self, connection: Connection) -> None:
        """A host's process has ended; report the host as lost unless it said how it ended."""
        host, process = self._running.pop(connection)
        connection.close()
        process.join()
        # Killed, or out of memory: its journals say how far it was.
        if host not in self._reports:
            code, what = process.exitcode, f"the process of {host} is gone"
            why = (
                f"it was killed by signal {-code}" if code and code < 0 else f"it ended with {code}"
            )
            report = self._reports[host] = _stuck(host, what, why, _GO_ON)
            self._emit(HostEnded(host, report))

    def _stop(self, number: int, frame: FrameType | None) -> None:
        # Ctrl-C reaches the children too, as they are in the terminal's process group; a SIGTERM to
        # this process alone does not. Each child stops at its own next safe point, and says so.
        self.stopping = True
        for _, process in self._running.values():
            if process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGTERM)


def _in_child(host: str, work: Work, connection: Connection, parents: list[Connection]) -> None:
    """The host's process. If its parent is killed it stops at its next safe point."""
    # Were they open here too, the parent's end would not be seen.
    for one in parents:
        one.close()

    def emit(event: Event) -> None:
        try:
            connection.send(event)
        except OSError:
            stop.request("the end of growdisk run")

    # The parent's handlers, inherited by fork, would signal the other hosts' processes.
    set_handlers(signal.SIG_DFL)
    with SignalsStop(StopRequest()) as stop:
        report = _worked(host, work, emit, stop)
    emit(HostEnded(host, report))


def _worked(host: str, work: Work, emit: Callable[[Event], None], stop: StopRequest) -> HostReport:
    try:
        return work(emit, stop)
    except GrowdiskError as error:
        # Raised outside of any task, for example by a file of variables.
        return HostReport(host, "failed", error.exit_code, (), {}, error_document(error))
    except OSError as error:  # of its own records and snapshots: a task reports its own
        return cannot_go_on(host, str(error))
    except Exception as bug:
        import traceback

        traceback.print_exc()
        return _stuck(host, "growdisk has a bug", repr(bug), f"report it; {_GO_ON}", 1)


def cannot_go_on(host: str, why: str) -> HostReport:
    """The play has begun there: its record stays."""
    do = f"fix the cause (df -h shows full file systems); {_GO_ON}"
    return _stuck(host, f"the play on {host} cannot go on", why, do)


def _stuck(host: str, what: str, why: str, do: str, code: int = 5) -> HostReport:
    error = {"what": what, "why": why, "do": do, "code": code}
    return HostReport(host, "stuck", code, (), {}, error)
