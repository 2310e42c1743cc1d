"""The guest agent's channel, with a guest that may say anything: old answers, nonsense, nothing."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import BinaryIO

import pytest

from growdisk.live import guest_agent
from growdisk.live.guest_agent import AgentShell, AgentSocket
from growdisk.live.guest_shell import AgentError, GuestLost, GuestUnreachable

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
            return [
                said({"error": {"desc": "stray"}}),
                said({"return": 4711}),
                *synchronised(command),
            ]
        return [said({"return": "mine"})]

    with guest(tmp_path, reply) as path:
        assert AgentSocket.connect(path).call("guest-ping", {}, 5) == "mine"


@pytest.mark.parametrize(
    "nonsense", [b"no json\n", b"[1]\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n"]
)
def test_nonsense_is_an_error_and_no_crash(tmp_path: Path, nonsense: bytes) -> None:
    def reply(command: dict) -> list[bytes]:
        return synchronised(command) if command["execute"] == "guest-sync-delimited" else [nonsense]

    with guest(tmp_path, reply) as path, pytest.raises(AgentError):
        AgentSocket.connect(path).call("guest-ping", {}, 5)


def test_a_guest_that_says_nothing_is_unreachable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_agent, "_SYNC_SECONDS", 0.2)
    with (
        guest(tmp_path, lambda _: []) as path,
        pytest.raises(GuestUnreachable, match="nobody in the guest answers"),
    ):
        AgentSocket.connect(path)


def test_an_endless_answer_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_agent, "_MOST", 1 << 16)
    with (
        guest(tmp_path, lambda _: [b"x" * (1 << 18)]) as path,
        pytest.raises(GuestUnreachable, match="without an end"),
    ):
        AgentSocket.connect(path)


def test_an_answer_that_is_nested_too_deeply_is_an_error_and_no_crash() -> None:
    deep: object = {}
    for _ in range(5000):
        deep = {"result": deep}
    with pytest.raises(GuestUnreachable, match="nested"):
        AgentShell.open(lambda *_: deep, lambda: None)


def test_a_guest_that_answers_others_without_an_end_is_unreachable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_agent, "_SYNC_SECONDS", 0.5)
    flood = itertools.repeat(said({"return": 4711}) * 1000, 20_000)
    with (
        guest(tmp_path, lambda _: flood) as path,
        pytest.raises(GuestUnreachable, match="nobody in the guest answers"),
    ):
        AgentSocket.connect(path)


def test_a_socket_that_is_not_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(GuestUnreachable):
        AgentSocket.connect(tmp_path / "agent")


INFO = {
    "version": "7",
    "supported_commands": [
        {"name": n, "enabled": True} for n in ("guest-exec", "guest-exec-status")
    ],
}


def shell(answers: dict[str, object]) -> AgentShell:
    return AgentShell.open(
        lambda command, arguments, seconds: {"guest-info": INFO, **answers}[command], lambda: None
    )


def test_windows_is_told_from_a_guest_with_a_shell() -> None:
    names = ("guest-exec", "guest-exec-status", "guest-get-osinfo")
    info = {
        "version": "9",
        "supported_commands": [{"name": name, "enabled": True} for name in names],
    }
    with pytest.raises(GuestUnreachable, match="Windows"):
        shell(
            {
                "guest-info": info,
                "guest-get-osinfo": {"id": "mswindows", "name": "Microsoft Windows"},
            }
        )
    assert shell({"guest-info": info, "guest-get-osinfo": {"id": "debian"}})
    assert shell({"guest-info": info, "guest-get-osinfo": {}})


def test_what_a_script_said_comes_back_with_its_status() -> None:
    ended = {"exited": True, "exitcode": 3, "out-data": "aGk=", "err-data": "b2ggbm8="}
    answer = shell({"guest-exec": {"pid": 7}, "guest-exec-status": ended}).run("true", 5)
    assert (answer.status, answer.stdout, answer.stderr) == (3, b"hi", b"oh no")


class HostAsGuest:
    """An agent that does on this host what it is asked to; `forbidden` commands it refuses."""

    def __init__(self, forbidden: str = "") -> None:
        self.forbidden, self.files = forbidden, dict[int, BinaryIO]()
        self.program: subprocess.Popen[bytes] | None = None
        self.overheard = Path()

    def call(self, command: str, given: Mapping[str, object], seconds: float) -> object:
        if command == self.forbidden:
            raise AgentError(f"{command} has been disabled")
        return getattr(self, command.replace("-", "_"))(
            **{name.replace("-", "_"): v for name, v in given.items()}
        )

    def guest_info(self) -> object:
        return INFO

    def guest_exec(
        self, path: str, arg: list[str], input_data: str, capture_output: bool
    ) -> object:
        self.program = subprocess.Popen([path, *arg], stdin=PIPE, stdout=PIPE, stderr=PIPE)
        self.overheard = Path(arg[-1])
        assert self.program.stdin is not None and capture_output
        stdin, self.program.stdin = self.program.stdin, None
        with stdin:
            stdin.write(base64.b64decode(input_data))
        return {"pid": self.program.pid}

    def guest_exec_status(self, pid: int) -> object:
        assert self.program is not None and self.program.pid == pid
        if self.program.poll() is None:
            return {"exited": False}
        out, err = (base64.b64encode(said).decode() for said in self.program.communicate())
        return {
            "exited": True,
            "exitcode": self.program.returncode,
            "out-data": out,
            "err-data": err,
        }

    def guest_file_open(self, path: str, mode: str) -> object:
        try:
            file = Path(path).open(f"{mode}b", buffering=0)  # noqa: SIM115  # closed by guest-file-close
        except OSError as error:
            raise AgentError(str(error)) from error
        self.files[file.fileno()] = file
        return file.fileno()

    def guest_file_read(self, handle: int, count: int) -> object:
        data = self.files[handle].read(count)
        return {"count": len(data), "buf-b64": base64.b64encode(data).decode(), "eof": not data}

    def guest_file_close(self, handle: int) -> object:
        self.files.pop(handle).close()
        return {}


def test_what_a_script_says_is_told_while_it_runs(tmp_path: Path) -> None:
    """It goes on when its first line has been heard, and not before."""
    heard = list[str]()

    def told(line: str) -> None:
        heard.append(line)
        assert host.overheard.exists() == (line == "one")
        (tmp_path / line).touch()

    host = HostAsGuest()
    script = (
        f"echo one >&2; until [ -e {tmp_path}/one ]; do sleep 0.05; done; printf two >&2; "
        "echo done; exit 7"
    )
    answer = AgentShell.open(host.call, lambda: None).run(script, 30, told)
    assert (answer.status, answer.stdout, answer.stderr) == (7, b"done\n", b"one\ntwo")
    assert heard == ["one", "two"]
    assert host.files == {}
    assert host.overheard.parent == Path("/run")
    assert not host.overheard.exists()


def test_where_the_agent_may_not_read_files_it_is_told_at_the_end() -> None:
    heard = list[str]()
    host = HostAsGuest(forbidden="guest-file-open")
    shell = AgentShell.open(host.call, lambda: None)
    assert shell.run("echo one >&2; sleep 0.5; echo two >&2", 30, heard.append).status == 0
    assert heard == ["one", "two"]
    assert not host.overheard.exists()


@pytest.mark.parametrize(
    "answers",
    [
        {"guest-exec": {}},
        {"guest-exec": {"pid": "; rm -rf /"}},
        {"guest-exec": {"pid": 7}, "guest-exec-status": {"exited": "maybe"}},
        {
            "guest-exec": {"pid": 7},
            "guest-exec-status": {"exited": True, "exitcode": 0, "out-data": "a"},
        },
        {"guest-exec": {"pid": 7}, "guest-exec-status": {"exited": False}},
    ],
)
def test_answers_of_another_shape_are_a_lost_guest(answers: dict[str, object]) -> None:
    with pytest.raises(GuestLost):
        shell(answers).run("true", 0.2)
