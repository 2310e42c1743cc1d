"""Runs a script as root inside a running guest, by guest agent or ssh, and gives its answer.

A script goes in through stdin or as an argument of `sh -c`, whole, and no shell unquotes it: no
value becomes a command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from growdisk.errors import OperationFailed, Refused
from growdisk.fast_dataclass import dataclass


@dataclass(frozen=True)
class GuestAnswer:
    """A script's exit status, and its streams as the guest gives them: not to be trusted."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def rows(self) -> list[list[str]]:
        """The words of each line of its output."""
        return [line.split() for line in self.stdout.decode(errors="replace").splitlines()]

    @property
    def last_words(self) -> str:
        text = (self.stderr.strip() or self.stdout.strip() or b"it gave no reason").decode(
            errors="replace"
        )
        return "; ".join(text.splitlines()[-3:])[:500]


LineCallback = Callable[[str], None]
"""Takes a line of what a script says while it runs: the guest's words, not to be trusted."""


class GuestShell(Protocol):
    """`name` says by which way: "guest agent", "ssh root@web01"."""

    @property
    def name(self) -> str: ...

    def run(self, script: str, timeout: float, on_line: LineCallback | None = None) -> GuestAnswer:
        """Run a POSIX sh script as root; `on_line` gets each line of its stderr, early if possible.

        GuestLost if the connection breaks; an exit status is not a failure here.
        """

    def close(self) -> None: ...


@dataclass(eq=False)
class GuestUnreachable(Refused):
    """Nothing has been touched yet."""

    WHAT = "cannot work inside the guest through {way}"
    WHY = "{reason}"
    DO = "{hint}"
    way: str
    reason: str
    hint: str = "start qemu-guest-agent in the guest, or give --ssh root@GUEST"


@dataclass(eq=False)
class GuestLost(OperationFailed):
    WHAT = "the guest stopped answering through {way}"
    WHY = "{reason}"
    DO = "see how the guest is (its console); growdisk status IMAGE says how far the run has come"
    way: str
    reason: str


# What talking to a guest agent is made of: a command, and its failure.

AgentCall = Callable[[str, Mapping[str, object], float], object]
"""One command of the agent: its name, its arguments, seconds to wait.

AgentError, OSError where it does not work.
"""

CALL_SECONDS = 60.0


class AgentError(Exception):
    """The agent said no, or nothing that can be understood."""
