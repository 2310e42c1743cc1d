"""Guest agents that lie or hang, on the very socket that QEMU says leads to the guest's agent."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from growdisk.units import MiB

Question = Mapping[str, object]
Reply = Callable[[Question], bytes | None]
"""What it says to a question; None: nothing, for ever."""

_COMMANDS = (
    "guest-sync-delimited",
    "guest-info",
    "guest-get-fsinfo",
    "guest-exec",
    "guest-exec-status",
)


def silent(_: Question) -> None:
    """Takes the connection, and never says a word."""
    return


def garbage(_: Question) -> bytes:
    return b"\xff\x00{[}{\xfe]]\n" * 50


def deep(question: Question) -> bytes | None:
    """JSON that no parser can follow."""
    return _synchronised(question) or b"[" * 200_000 + b"\n"


def endless(question: Question) -> bytes | None:
    """A line without an end."""
    return _synchronised(question) or b'{"return": "' + b"x" * (40 * MiB)


def dumb(question: Question) -> bytes | None:
    """Answers the first question only, as an agent does whose guest then hangs."""
    return _synchronised(question)


def absurd(question: Question) -> bytes | None:
    """Numbers and names that cannot be true; its commands succeed, and answer nonsense."""
    told = {
        "mountpoint": "\x1b[2J\n\u202e" * 3,
        "type": 7,
        "total-bytes": 1 << 69,
        "used-bytes": (1 << 69) - 1,
        "disk": {},
    }
    return _synchronised(question) or _reply(question, [told, None, {"total-bytes": -5}, 9])


def of_another_disk(question: Question) -> bytes | None:
    """Nearly full, and larger than the disk that was asked for."""
    told = {
        "mountpoint": "/",
        "type": "ext4",
        "total-bytes": 999 * MiB,
        "used-bytes": 998 * MiB,
        "disk": [],
    }
    return _synchronised(question) or _reply(question, [told])


def plausible(question: Question) -> bytes | None:
    """Nearly full, so that it must be grown; but what it lets run says nothing."""
    told = {
        "mountpoint": "/",
        "type": "ext4",
        "total-bytes": 50 * MiB,
        "used-bytes": 49 * MiB,
        "disk": [],
    }
    return _synchronised(question) or _reply(question, [told])


def _synchronised(question: Question) -> bytes | None:
    if question.get("execute") != "guest-sync-delimited":
        return None
    arguments = question["arguments"]
    assert isinstance(arguments, dict)
    return b"\xff" + json.dumps({"return": arguments["id"]}).encode() + b"\n"


def _reply(question: Question, file_systems: list[object]) -> bytes:
    said = base64.b64encode(b"99999999999999999999 -1 \x00 / / /\n" * 9).decode()
    answers: dict[object, object] = {
        "guest-info": {"version": "9",
            "supported_commands": [{"name": name, "enabled": True} for name in _COMMANDS]},
        "guest-get-fsinfo": file_systems, "guest-exec": {"pid": 1},
        "guest-exec-status": {"exited": True, "exitcode": 0, "out-data": said, "err-data": ""},
    }  # fmt: skip
    return json.dumps({"return": answers.get(question.get("execute"), {})}).encode() + b"\n"


@contextmanager
def evil_agent(path: Path, reply: Reply) -> Iterator[None]:
    """Takes the place of QEMU's socket at `path`."""
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(8)
        threading.Thread(target=_serve, args=(listener, reply), daemon=True).start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, reply: Reply) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_talk, args=(connection, reply), daemon=True).start()


def _talk(connection: socket.socket, reply: Reply) -> None:
    with contextlib.suppress(OSError), connection, connection.makefile("rb") as questions:
        for line in questions:
            answer = reply(json.loads(line.lstrip(b"\xff")))
            if answer is not None:
                connection.sendall(answer)
