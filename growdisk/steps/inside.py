"""The way into a running guest, opened again after everything that may have broken it."""

from __future__ import annotations

import time
from collections.abc import Callable

from growdisk.errors import OperationFailed
from growdisk.live.guest_shell import GuestShell, GuestUnreachable
from growdisk.workflow.stopping import StopRequest


class GuestAccess:
    """The way into the guest. `open` makes a new one; GuestUnreachable if that fails."""

    def __init__(self, open_shell: Callable[[], GuestShell], stop: StopRequest) -> None:
        self._open, self._stop = open_shell, stop
        self._shell: GuestShell | None = None

    @property
    def shell(self) -> GuestShell:
        if self._shell is None:
            self._shell = self._open()
        return self._shell

    def check_stop(self) -> None:
        """Interrupted, if somebody asked for the end of it."""
        self._stop.check()

    def forget(self) -> None:
        """The next use opens a new one."""
        if self._shell is not None:
            self._shell.close()
        self._shell = None

    def wait(self, seconds: float) -> GuestShell:
        """Until the guest lets us in again."""
        deadline = time.monotonic() + seconds
        self.forget()
        while True:
            self._stop.check()
            try:
                return self.shell
            except GuestUnreachable as error:
                # A guest that starts refuses us for minutes: only the deadline makes that an error.
                if time.monotonic() > deadline:
                    raise guest_did_not_return(
                        error.way, seconds=seconds, reason=error.reason
                    ) from error
                time.sleep(1)


def guest_did_not_return(way: str, seconds: float, reason: str) -> OperationFailed:
    return OperationFailed.named(
        "guest-did-not-return",
        "the guest did not come back within {seconds:.0f} s",
        "{reason} (through {way})",
        "look at its console",
        {"way": way, "seconds": seconds, "reason": reason},
    )
