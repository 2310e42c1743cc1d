"""The QEMU guest agent: runs scripts in a guest without any network, by guest-exec.

The channel is a serial line with no sense of who is connected: answers to somebody else's old
questions may still be in it. So a connection begins with guest-sync-delimited, whose answer is
known from all before it.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from growdisk.fast_dataclass import dataclass
from growdisk.host.command import COMMAND_LOG
from growdisk.host.json_codec import NotThatValue, converted, converted_from_qemu
from growdisk.live.guest_shell import (
    CALL_SECONDS,
    AgentCall,
    AgentError,
    GuestAnswer,
    GuestLost,
    GuestUnreachable,
    LineCallback,
)

_SYNC_SECONDS = 20.0  # a guest under emulation on a busy host takes seconds for its first word
_MOST = 32 << 20  # bytes of one answer


@dataclass(frozen=True)
class _AgentCommand:
    name: str
    enabled: bool = True


@dataclass(frozen=True)
class _Info:
    version: str = ""
    supported_commands: tuple[_AgentCommand, ...] = ()


@dataclass(frozen=True)
class _System:
    id: str = ""


@dataclass(frozen=True)
class _Started:
    pid: int


@dataclass(frozen=True)
class _Ended:
    exited: bool
    exitcode: int = -1
    signal: int = 0
    out_data: str = ""
    err_data: str = ""


class AgentShell:
    """A GuestShell by guest-exec. The agent runs as root."""

    name = "the guest agent"

    def __init__(self, call: AgentCall, close: Callable[[], None]) -> None:
        self._call, self.close = call, close

    @classmethod
    def open(cls, call: AgentCall, close: Callable[[], None]) -> AgentShell:
        """GuestUnreachable if nobody answers, or the guest does not allow guest-exec."""
        try:
            info = converted_from_qemu(call("guest-info", {}, CALL_SECONDS), _Info)
        except (AgentError, OSError, NotThatValue) as error:
            raise GuestUnreachable(cls.name, reason=str(error)) from error
        # An agent also lists what its configuration forbids, as not enabled.
        allowed = {command.name for command in info.supported_commands if command.enabled}
        # Asked first: on Windows guest-exec works too, and /bin/sh would only fail.
        if "guest-get-osinfo" in allowed and _is_windows(call):
            reason = "the guest is Windows, in which growdisk runs no scripts"
            raise GuestUnreachable(cls.name, reason, "shut it down: growdisk grows NTFS at rest")
        if not {"guest-exec", "guest-exec-status"} <= allowed:
            raise GuestUnreachable(
                cls.name,
                reason="it answers, but the guest's configuration forbids guest-exec",
                hint="allow guest-exec (blacklist, block-rpcs in /etc/qemu/qemu-ga.conf), or give "
                "--ssh root@GUEST",
            )
        return cls(call, close)

    def run(self, script: str, timeout: float, on_line: LineCallback | None = None) -> GuestAnswer:
        COMMAND_LOG.debug("# in the guest, by its agent: sh -s, %d bytes", len(script))
        try:
            return self._run(script, timeout, OutputTail(self._call, on_line) if on_line else None)
        except (AgentError, OSError, NotThatValue, binascii.Error) as error:
            raise GuestLost(self.name, reason=str(error)) from error

    def freeze(self) -> bool:
        """Freeze the guest's file systems, if it can. They must be thawed within seconds."""
        try:
            self._call("guest-fsfreeze-freeze", {}, CALL_SECONDS)
        except AgentError:
            return False
        except OSError:
            # It may be frozen, or become so later: the thaw stands after it in the channel.
            self.thaw()
            return False
        return True

    def thaw(self) -> bool:
        """Harmless if nothing is frozen."""
        try:
            self._call("guest-fsfreeze-thaw", {}, CALL_SECONDS)
        except (AgentError, OSError):
            return False
        return True

    def _run(self, script: str, timeout: float, output_tail: OutputTail | None) -> GuestAnswer:
        deadline = time.monotonic() + timeout
        arguments = {
            "path": "/bin/sh",
            "arg": output_tail.words if output_tail else ["-s"],
            "capture-output": True,
            "input-data": base64.b64encode(script.encode()).decode(),
        }
        # guest-exec only starts it. How it ended has to be asked for again and again.
        started = converted(self._call("guest-exec", arguments, CALL_SECONDS), _Started)
        pause = 0.05
        while time.monotonic() < deadline:
            answer = self._call("guest-exec-status", {"pid": started.pid}, CALL_SECONDS)
            ended = converted_from_qemu(answer, _Ended)
            if ended.exited:
                done = _answer(ended)
                # All of stderr is in the answer: what was read before is left out.
                if output_tail:
                    output_tail.end(done.stderr)
                return done
            if output_tail:
                output_tail.listen()
            time.sleep(pause)
            pause = min(2 * pause, 0.5)
        raise AgentError(f"a script had not ended after {timeout:.0f} s")


def _is_windows(call: AgentCall) -> bool:
    with contextlib.suppress(AgentError, NotThatValue):
        answer = call("guest-get-osinfo", {}, CALL_SECONDS)
        return converted_from_qemu(answer, _System).id == "mswindows"
    return False


class AgentSocket:
    """The host's end of the agent's channel: QEMU's `-chardev socket,path=...,server=on`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._received = b""

    @classmethod
    def connect(cls, path: Path) -> AgentSocket:
        """GuestUnreachable if there is no such socket, or nobody in the guest answers."""
        channel = cls(path)
        try:
            channel._socket.connect(str(path))
            channel._synchronise()
        except (OSError, AgentError) as error:
            channel.close()
            reason = str(error)
            if isinstance(error, TimeoutError):
                reason = "nobody in the guest answers on its channel"
            raise GuestUnreachable(f"the guest agent ({path})", reason=reason) from error
        return channel

    def call(self, command: str, arguments: Mapping[str, object], timeout: float) -> object:
        """The answer's value.

        AgentError if the agent refuses; OSError (TimeoutError) if it is silent.
        """
        self._send({"execute": command, "arguments": dict(arguments)})
        answer = self._answer(time.monotonic() + timeout)
        if "error" in answer:
            raise AgentError(f"{command}: {_words(answer['error'])}")
        return answer.get("return")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()

    def _synchronise(self) -> None:
        """Synchronise: 0xff makes the agent drop half a command of others, and marks our answer."""
        number, deadline = secrets.randbelow(1 << 31), time.monotonic() + _SYNC_SECONDS
        self._socket.sendall(b"\xff")
        self._send({"execute": "guest-sync-delimited", "arguments": {"id": number}})
        # Answers to others' questions come first: only ours has this number.
        while self._answer(deadline).get("return") != number:
            pass

    def _send(self, message: Mapping[str, object]) -> None:
        self._socket.settimeout(CALL_SECONDS)
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def _answer(self, deadline: float) -> dict[str, object]:
        # Half an answer to somebody else may stand before the mark, on the same line.
        line = self._line(deadline).rpartition(b"\xff")[2]
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise AgentError(f"an answer that is not JSON ({error})") from error
        if not isinstance(answer, dict):
            raise AgentError("an answer that is not a JSON object")
        return answer

    def _line(self, deadline: float) -> bytes:
        # Asked for each line: a guest may send lines without an end.
        while (left := deadline - time.monotonic()) > 0 and b"\n" not in self._received:
            self._socket.settimeout(left)
            data = self._socket.recv(1 << 16)
            if not data:
                raise AgentError("QEMU closed the channel")
            self._received += data
            if len(self._received) > _MOST:
                raise AgentError("an answer without an end")
        if left <= 0:
            raise TimeoutError("it does not answer")
        line, _, self._received = self._received.partition(b"\n")
        return line


def _answer(ended: _Ended) -> GuestAnswer:
    # As a shell has it for a signal.
    status = ended.exitcode if ended.exitcode >= 0 else 128 + ended.signal
    return GuestAnswer(status, base64.b64decode(ended.out_data), base64.b64decode(ended.err_data))


def _words(error: object) -> str:
    return str(error.get("desc", error))[:300] if isinstance(error, dict) else str(error)[:300]


# What a script says while it runs: by guest-exec the agent gives its output at the end only.
#
# So its stderr goes to a file in the guest's /run, which is read while it grows. If the agent may
# not read files, or there is no /run, the lines come at the end.

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
_TRIES = 10  # within some seconds: a busy guest may not have begun the script yet


@dataclass(frozen=True)
class _FileRead:
    count: int
    buf_b64: str = ""


class OutputTail:
    """The stderr of one script, line by line to `on_line`. OSError if the agent is silent."""

    def __init__(self, call: AgentCall, on_line: LineCallback) -> None:
        self._call, self._on_line = call, on_line
        self._path = f"/run/growdisk-{secrets.token_hex(8)}"
        self._handle: int | None = None
        self._tries, self._place, self._line = _TRIES, 0, b""

    @property
    def words(self) -> list[str]:
        """The arguments of /bin/sh by which a script on stdin can be followed."""
        return ["-c", _SHELL, "sh", self._path]

    def listen(self) -> None:
        """What was said since the last time."""
        # Given up: the lines come at the end.
        if not self._tries:
            return
        try:
            if self._handle is None:
                opened = self._call(
                    "guest-file-open", {"path": self._path, "mode": "r"}, CALL_SECONDS
                )
                self._handle = converted(opened, int)
            read = self._call(
                "guest-file-read", {"handle": self._handle, "count": _PIECE}, CALL_SECONDS
            )
        except AgentError:
            self._tries -= 1  # not there yet, or not allowed
            return
        self._take(base64.b64decode(converted_from_qemu(read, _FileRead).buf_b64))

    def end(self, stderr: bytes) -> None:
        """The rest, from all that was said."""
        self._take(stderr[self._place :])
        if self._line:
            self._take(b"\n")
        if self._handle is not None:
            with contextlib.suppress(AgentError):
                self._call("guest-file-close", {"handle": self._handle}, CALL_SECONDS)

    def _take(self, data: bytes) -> None:
        self._place += len(data)
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._on_line(line.decode(errors="replace"))
        # A line without an end must not fill memory: it is cut.
        self._line = self._line[:_PIECE]
