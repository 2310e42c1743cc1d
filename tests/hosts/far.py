"""Far sides of served disks: real NBD servers, a real sshd, a network that can be cut."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from growdisk.block.address import address_of
from growdisk.block.identity import identity_of_served
from growdisk.host.command import require
from growdisk.workflow.run_places import state_folder
from tests.guests.tools import run

_PATIENCE = 30.0


def run_of(uri: str) -> Path:
    """Where the run of that disk lies while there is something to go on with."""
    address = address_of(uri)
    assert address is not None
    return state_folder() / "runs" / identity_of_served(address)


def forget(uri: str) -> None:
    """As if nothing had ever been done to it."""
    for kind in ("runs", "done"):
        shutil.rmtree(state_folder() / kind / run_of(uri).name, ignore_errors=True)


@contextmanager
def serving(words: list[str | Path], socket_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An NBD server that listens on `socket_path`; killed at the end."""
    socket_path.unlink(missing_ok=True)
    server = subprocess.Popen(words)
    try:
        await_listening(server, socket_path)
        yield server
    finally:
        server.kill()
        server.wait()


def await_listening(server: subprocess.Popen[bytes], socket_path: Path) -> None:
    end = time.monotonic() + _PATIENCE
    while not _is_listening(socket_path):
        assert server.poll() is None, "the server has ended"
        assert time.monotonic() < end, "the server does not listen"
        time.sleep(0.01)


def _is_listening(socket_path: Path) -> bool:
    """A socket has its name some time before it listens; the kernel's table says when it does."""
    accepting = f"{1 << 16:08X}"  # __SO_ACCEPTCON
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return any(row[3] == accepting and row[7:] == [str(socket_path)] for row in rows)


def qemu_nbd(
    image: Path, socket_path: Path, *options: str, image_format: str = "raw"
) -> list[str | Path]:
    return [
        "qemu-nbd",
        "--persistent",
        f"--socket={socket_path}",
        "--export-name=web01",
        f"--format={image_format}",
        *options,
        image,
    ]


def watched_nbd(image: Path, socket_path: Path, log: Path) -> list[str | Path]:
    """The same, with all its writes and flushes noted in the new file `log` (power.noted)."""
    log.unlink(missing_ok=True)
    log.touch()
    inner, noted = ({"driver": "file", "filename": str(path)} for path in (image, log))
    disk = {"driver": "blklogwrites", "file": inner, "log": noted, "log-super-update-interval": 1}
    server = ["qemu-nbd", "--persistent", f"--socket={socket_path}", "--export-name=web01"]
    return [*server, "json:" + json.dumps({"driver": "raw", "file": disk})]


class CutNetwork:
    """Passes connections from `socket_path` on to `server`, until cut after some pieces.

    It is cut in the middle of one. A piece is a request or several, or a part of a large one, so
    that bulk does not count.
    """

    def __init__(self, socket_path: Path, server: Path) -> None:
        self.uri = f"nbd+unix:///web01?socket={socket_path}"
        self.passed, self.cut = 0, threading.Event()
        self._server, self._limit = server, sys.maxsize
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(socket_path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, count: int) -> None:
        self.passed, self._limit = 0, count
        self.cut.clear()

    def mend(self) -> None:
        self.cut_after(sys.maxsize)

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(str(self._server))
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            while not self.cut.is_set() and (data := client.recv(1 << 16)):
                self.passed += 1
                if self.passed > self._limit:
                    self.cut.set()
                    data = data[: len(data) // 2]
                server.sendall(data)
            for end in (server, client):
                end.shutdown(socket.SHUT_RDWR)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


_SSHD = """
HostKey {0}/host
AuthorizedKeysFile {0}/me.pub
Port {1}
ListenAddress 127.0.0.1
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
"""
_CLIENT = """
Host far
HostName 127.0.0.1
Port {1}
User {2}
IdentityFile {0}/me
IdentitiesOnly yes
UserKnownHostsFile {0}/known
StrictHostKeyChecking accept-new
"""


@contextmanager
def sshd(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A real sshd of this user, and a folder whose `ssh` knows it as the host `far`."""
    for name in ("host", "me"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "sshd").write_text(_SSHD.format(folder, port))
    (folder / "config").write_text(_CLIENT.format(folder, port, getpass.getuser()))
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    (bin_folder / "ssh").write_text(
        f'#!/bin/sh\nexec {require("ssh")} -F {shlex.quote(str(folder / "config"))} "$@"\n'
    )
    (bin_folder / "ssh").chmod(0o755)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen(
        [require("sshd"), "-D", "-e", "-f", folder / "sshd"], stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + _PATIENCE
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert server.poll() is None and time.monotonic() < end, "sshd does not listen"
            time.sleep(0.05)
        yield server, bin_folder
    finally:
        server.kill()
        server.wait()
