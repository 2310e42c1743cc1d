"""The monitor of a running QEMU (QMP over a unix socket), one call at a time.

Sole `import qemu.qmp`. QEMU serves one client a monitor: a second one connects and then waits for a
greeting that never comes. The foreign library is asynchronous; its loop runs only inside our calls.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

from qemu.qmp import ConnectError, ExecuteError, QMPClient, QMPError

from growdisk.errors import Refused
from growdisk.host.command import COMMAND_LOG
from growdisk.host.json_codec import encoded
from growdisk.live.qemu_machine import CommandRefused, monitor_lost

_PATIENCE = 10.0  # seconds for the greeting
# Seconds for one command: while the memory of a large guest is saved, its monitor is silent.
_ANSWER = 900.0
T = TypeVar("T")


def _monitor_unreachable(socket: Path, reason: str) -> Refused:
    return Refused.named(
        "monitor-unreachable",
        "cannot talk to QEMU through {socket}",
        "{reason}",
        (
            "give the socket of QEMU's -qmp option (--qmp SOCKET), and see that no other program "
            "uses it; where the guest is off, give its image"
        ),
        {"socket": socket, "reason": reason},
    )


class QmpMonitor:
    """A connection to QEMU's monitor."""

    def __init__(self, client: QMPClient, loop: asyncio.AbstractEventLoop) -> None:
        self._client, self._loop = client, loop

    @classmethod
    def connect(cls, socket: Path, patience: float = _PATIENCE) -> QmpMonitor:
        """monitor-unreachable if nobody answers, or somebody else has the monitor already."""
        logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)  # it logs what it raises
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        loop = asyncio.new_event_loop()
        # The call that misses a QEMU that died reports it, not the loop.
        loop.set_exception_handler(lambda *_: None)
        monitor = cls(QMPClient("growdisk"), loop)
        try:
            monitor._wait(monitor._client.connect(str(socket)), patience)
        except TimeoutError as error:
            monitor.close()
            reason = "it takes the connection and then says nothing: another program is using it"
            raise _monitor_unreachable(socket, reason=reason) from error
        except (ConnectError, QMPError, OSError) as error:
            monitor.close()
            raise _monitor_unreachable(socket, reason=_reason(error)) from error
        return monitor

    def execute(self, command: str, **arguments: object) -> object:
        """QEMU's answer. Underscores in names of arguments stand for hyphens."""
        words = {name.replace("_", "-"): value for name, value in arguments.items()}
        COMMAND_LOG.debug("# QMP: %s", encoded({"execute": command, "arguments": words}).decode())
        try:
            # CommandRefused: nothing was done; after monitor-lost nobody knows how far it came.
            return self._wait(self._client.execute(command, words), _ANSWER)
        except ExecuteError as error:
            raise CommandRefused(command, reason=str(error)) from error
        except TimeoutError as error:
            raise monitor_lost(command, f"it has not answered for {_ANSWER:.0f} s") from error
        except (QMPError, OSError, EOFError, asyncio.CancelledError) as error:
            raise monitor_lost(command, reason=_reason(error)) from error

    def close(self) -> None:
        """Let go of the monitor. Closing twice is harmless."""
        if not self._loop.is_closed():
            with contextlib.suppress(Exception):
                self._wait(self._client.disconnect(), 2.0)
            self._loop.close()

    def _wait(self, coming: Awaitable[T], patience: float) -> T:
        return self._loop.run_until_complete(asyncio.wait_for(coming, patience))


def _reason(error: BaseException) -> str:
    """The innermost words: the library wraps what the system said."""
    while error.__cause__ is not None:
        error = error.__cause__
    strerror: str | None = getattr(error, "strerror", None)
    return strerror or str(error) or type(error).__name__
