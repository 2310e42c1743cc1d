"""The guest agent's channel, at its other end a guest that may say anything: old answers, nonsense, or nothing."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from growdisk.backends import agent
from growdisk.backends.agent import AgentError, AgentShell, AgentSocket
from growdisk.backends.guest_shell import GuestLost, GuestUnreachable

Reply = Callable[[dict], list[bytes]]


@contextmanager
def guest(folder: Path, reply: Reply) -> Iterator[Path]:
    """A socket whose other end answers each command with the lines that `reply` makes of it."""
    path = folder / "agent"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()
        thread = threading.Thread(target=_serve, args=(server, reply), daemon=True)
        thread.start()
        yield path


def _serve(server: socket.socket, reply: Reply) -> None:
    channel, _ = server.accept()
    with contextlib.suppress(OSError), channel, channel.makefile("rb") as lines:
        for line in lines:
            for answer in reply(json.loads(line.lstrip(b"\xff"))):
                channel.sendall(answer)


def synchronised(command: dict) -> list[bytes]:
    return [b"\xff" + said({"return": command["arguments"]["id"]})]


def said(answer: object) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def test_answers_to_somebody_elses_questions_are_passed_over(tmp_path: Path) -> None:
    def reply(command: dict) -> list[bytes]:
        if command["execute"] == "guest-sync-delimited":
            return [said({"error": {"desc": "stray"}}), said({"return": 4711}), *synchronised(command)]
        return [said({"return": "mine"})]

    with guest(tmp_path, reply) as path:
        assert AgentSocket.connect(path).call("guest-ping", {}, 5) == "mine"


@pytest.mark.parametrize("nonsense", [b"no json\n", b"[1]\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n"])
def test_nonsense_is_an_error_and_no_crash(tmp_path: Path, nonsense: bytes) -> None:
    def reply(command: dict) -> list[bytes]:
        return synchronised(command) if command["execute"] == "guest-sync-delimited" else [nonsense]

    with guest(tmp_path, reply) as path, pytest.raises(AgentError):
        AgentSocket.connect(path).call("guest-ping", {}, 5)


def test_a_guest_that_says_nothing_is_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "_SYNC_SECONDS", 0.2)
    with guest(tmp_path, lambda _: []) as path, pytest.raises(GuestUnreachable, match="nobody in the guest answers"):
        AgentSocket.connect(path)


def test_an_endless_answer_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "_MOST", 1 << 16)
    with guest(tmp_path, lambda _: [b"x" * (1 << 18)]) as path, pytest.raises(GuestUnreachable, match="without an end"):
        AgentSocket.connect(path)


def test_a_socket_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(GuestUnreachable):
        AgentSocket.connect(tmp_path / "agent")


INFO = {
    "version": "7",
    "supported_commands": [{"name": n, "enabled": True} for n in ("guest-exec", "guest-exec-status")],
}


def shell(answers: dict[str, object]) -> AgentShell:
    return AgentShell.open(lambda command, arguments, seconds: {"guest-info": INFO, **answers}[command], lambda: None)


def test_what_a_script_said_comes_back_with_its_status() -> None:
    ended = {"exited": True, "exitcode": 3, "out-data": "aGk=", "err-data": "b2ggbm8="}
    answer = shell({"guest-exec": {"pid": 7}, "guest-exec-status": ended}).run("true", 5)
    assert (answer.status, answer.stdout, answer.stderr) == (3, b"hi", b"oh no")


@pytest.mark.parametrize(
    "answers",
    [
        {"guest-exec": {}},
        {"guest-exec": {"pid": "; rm -rf /"}},
        {"guest-exec": {"pid": 7}, "guest-exec-status": {"exited": "maybe"}},
        {"guest-exec": {"pid": 7}, "guest-exec-status": {"exited": True, "exitcode": 0, "out-data": "a"}},
        {"guest-exec": {"pid": 7}, "guest-exec-status": {"exited": False}},
    ],
)
def test_answers_of_another_shape_are_a_lost_guest(answers: dict[str, object]) -> None:
    with pytest.raises(GuestLost):
        shell(answers).run("true", 0.2)
