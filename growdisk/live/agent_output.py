"""What a script that runs by guest-exec says meanwhile: the agent itself hands its output over at its end only.

So its stderr goes to a file in the guest's /run, which is read through the agent's file commands while it grows; at the
end the script's shell hands over all of it as stderr, and takes the file away. Where the agent may not read files, or
there is no /run, the lines come at the end.
"""

from __future__ import annotations

import base64
import contextlib
import secrets

from growdisk.fast_dataclass import dataclass
from growdisk.host.json_codec import converted
from growdisk.live.agent_values import CALL_SECONDS, AgentCall, AgentError, fields
from growdisk.live.guest_shell import Told

_SHELL = """\
umask 077
if (set -C && : >"$1") 2>/dev/null; then
    status=0
    sh -s 2>"$1" || status=$?
    cat "$1" >&2
    rm -f "$1"
    exit "$status"
fi
exec sh -s
"""
_PIECE = 64 << 10
_TRIES = 3


@dataclass(frozen=True)
class _Piece:
    count: int
    buf_b64: str = ""


class OutputTail:
    """The stderr of one script, line by line to `told`. OSError where the agent is silent."""

    def __init__(self, call: AgentCall, told: Told) -> None:
        self._call, self._told = call, told
        self._path = f"/run/growdisk-{secrets.token_hex(8)}"
        self._handle: int | None = None
        self._tries, self._place, self._line = _TRIES, 0, b""

    @property
    def words(self) -> list[str]:
        """The arguments of /bin/sh that make a script on stdin be overheard."""
        return ["-c", _SHELL, "sh", self._path]

    def listen(self) -> None:
        """What was said since the last time."""
        if not self._tries:
            return
        try:
            if self._handle is None:
                opened = self._call("guest-file-open", {"path": self._path, "mode": "r"}, CALL_SECONDS)
                self._handle = converted(opened, int)
            read = self._call("guest-file-read", {"handle": self._handle, "count": _PIECE}, CALL_SECONDS)
        except AgentError:
            self._tries -= 1  # not there yet, or not allowed
            return
        self._hear(base64.b64decode(converted(fields(read), _Piece).buf_b64))

    def end(self, stderr: bytes) -> None:
        """The rest, from all that was said."""
        self._hear(stderr[self._place :])
        if self._line:
            self._hear(b"\n")
        if self._handle is not None:
            with contextlib.suppress(AgentError):
                self._call("guest-file-close", {"handle": self._handle}, CALL_SECONDS)

    def _hear(self, data: bytes) -> None:
        self._place += len(data)
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._told(line.decode(errors="replace"))
        self._line = self._line[:_PIECE]
