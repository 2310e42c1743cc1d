"""Served disks of real servers: qemu-nbd, nbdkit, and a real sshd with a qemu-nbd."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from growdisk import api
from growdisk.block.raw import RawFile
from growdisk.units import MiB
from growdisk.workflow.run_places import state_folder
from tests.conftest import DiskMaker
from tests.crash.sparse import SparseBytes
from tests.e2e.judges import Before, assert_grown, assert_unchanged
from tests.e2e.process import Answer, Host, await_true, need
from tests.guests.small import SmallDisk
from tests.guests.tools import run
from tests.hosts.far import CutNetwork, forget, qemu_nbd, run_of, serving, watched_nbd
from tests.hosts.power import lost_power, noted

OLD, NEW = 128 * MiB, 192 * MiB
_GUEST = SmallDisk(size=OLD, swap_size=16 * MiB, image_format="raw")


class Far:
    """A disk on another host that was made larger there: `image`, and how it can be served."""

    def __init__(self, host: Host, image: Path) -> None:
        self.host, self.image = host, image
        self.socket = image.parent / "far"
        self.uri = f"nbd+unix:///web01?socket={self.socket}"
        os.truncate(image, NEW)
        self.before = Before.of(image, "raw")

    def assert_grown(self) -> None:
        assert_grown(self.image, self.before)

    def assert_unchanged(self) -> None:
        assert_unchanged(self.image, self.before)

    def assert_nothing_left(self) -> None:
        assert list((state_folder() / "served").iterdir()) == []
        assert not run_of(self.uri).exists()
        assert str(state_folder()) not in Path("/proc/self/mounts").read_text()


@pytest.fixture
def far(tmp_path: Path, small_disk: DiskMaker) -> Iterator[Far]:
    need("direct")
    scratch = tmp_path / "host"
    scratch.mkdir()
    disk = Far(Host(scratch), small_disk("far.raw", _GUEST))
    forget(disk.uri)
    yield disk
    forget(disk.uri)


@contextmanager
def qemu_server(far: Far, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    with serving(qemu_nbd(far.image, far.socket, *options), far.socket) as server:
        yield server


def test_a_disk_of_an_nbd_server_is_grown_by_its_address(far: Far) -> None:
    with qemu_server(far):
        assert far.host.growdisk("show", far.uri).document["image"]["path"] == far.uri  # type: ignore[index]
        answer = far.host.growdisk("expand", far.uri, "+1G")
        assert (answer.code, "grow it at its server" in str(answer.error["do"])) == (3, True), (
            answer
        )
        assert far.host.growdisk("plan", far.uri).result == "planned"
        far.assert_nothing_left()
        answer = far.host.growdisk("expand", far.uri)
        assert (answer.code, answer.result) == (0, "changed"), answer
        assert far.host.growdisk("expand", far.uri).result == "nochange"
    assert far.host.growdisk("status", far.uri).document["state"] == "done"
    far.assert_nothing_left()
    far.assert_grown()


def test_a_kept_run_is_taken_back_byte_for_byte_or_accepted(far: Far) -> None:
    with qemu_server(far):
        for verb in ("rollback", "commit"):
            assert far.host.growdisk("expand", far.uri, "--keep-snapshots").code == 0
            assert far.host.growdisk("status", far.uri).document["state"] == "kept"
            assert far.host.growdisk(verb, far.uri).code == 0
            if verb == "rollback":
                run(
                    "qemu-img", "compare", "-U", "-f", "raw", "-F", "raw", far.image,
                    far.before.copy,
                )  # fmt: skip
    far.assert_nothing_left()
    far.assert_grown()


def test_over_tcp_it_is_the_same(far: Far) -> None:
    with far_port() as port, serving_on_port(far, port):
        assert far.host.growdisk("expand", f"nbd://127.0.0.1:{port}/web01").result == "changed"
    far.assert_grown()


def test_nobody_else_has_the_disk_meanwhile(far: Far) -> None:
    with qemu_server(far):
        command = far.host.start("expand", far.uri)
        journal = run_of(far.uri) / "journal.jsonl"
        await_true(
            lambda: journal.exists() and b"applying" in journal.read_bytes(),
            60,
            "the run has begun",
        )
        second = far.host.growdisk("expand", far.uri)
        assert (second.code, second.error["id"]) == (3, "held-at-server"), second
        assert f"(pid {command.process.pid})" in str(second.error["why"])
        locked = subprocess.run(
            ["qemu-img", "resize", "-f", "raw", far.image, "+1M"], capture_output=True, text=True
        )
        assert "lock" in locked.stderr
        assert command.ended().result == "changed"
    far.assert_grown()


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (
            "qemu-nbd --persistent --format=raw --export-name=web01 --socket={0} --shared=2 {1}",
            "several clients",
        ),
        ("nbdkit --foreground --unix {0} file {1}", "several clients"),
        (
            "nbdkit --foreground --unix {0} --filter=multi-conn file {1} multi-conn-mode=disable",
            "several clients",
        ),
        (
            "qemu-nbd --persistent --format=raw --export-name=web01 --socket={0} --read-only {1}",
            "read-only",
        ),
        (
            "qemu-nbd --persistent --format=raw --export-name=other --socket={0} {1}",
            "not available|not present|web01",
        ),
        ("nbdkit --foreground --unix {0} --mask-handshake=0 file {1}", "old form"),
    ],
)
def test_a_server_that_gives_too_much_or_too_little_is_refused(
    far: Far, server: str, reason: str
) -> None:
    with serving(list(server.format(far.socket, far.image).split()), far.socket):
        answer = far.host.growdisk("expand", far.uri)
    assert answer.code == 3, answer
    assert any(words in str(answer.error["why"]) for words in reason.split("|")), answer
    far.assert_nothing_left()
    far.assert_unchanged()


def test_another_server_that_gives_it_to_one_client_will_do(far: Far) -> None:
    words = f"nbdkit --foreground --unix {far.socket} --filter=limit file {far.image} limit=1"
    with serving(list(words.split()), far.socket):
        answer = far.host.growdisk("expand", far.uri)
    assert (answer.code, answer.result) == (0, "changed"), answer
    far.assert_grown()


def test_a_disk_that_another_client_has_is_refused(far: Far) -> None:
    with qemu_server(far):
        mine = ["qemu-io", "-f", "raw", far.uri]
        with subprocess.Popen(
            mine, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as client:
            assert client.stdin is not None and client.stdout is not None
            client.stdin.write("read 0 512\n")
            client.stdin.flush()
            client.stdout.readline()  # it has the disk now
            answer = far.host.growdisk("expand", far.uri)
            client.stdin.close()
    assert (answer.code, "another client" in str(answer.error["why"])) == (3, True), answer
    far.assert_unchanged()


def test_zeros_that_are_written_are_zeros_where_a_server_takes_no_hints(far: Far) -> None:
    """qemu-nbd ignores discards by default; a file's hole is one to the storage daemon."""
    with qemu_server(far), api.served(far.uri) as path:
        file = RawFile.open(path, writable=True)
        file.write(NEW - MiB, b"x" * MiB)
        file.write_zeros(NEW - MiB + 4096, 64 << 10)
        file.flush()
        file.close()
    with far.image.open("rb") as image:
        image.seek(NEW - MiB)
        end = image.read()
    assert end == b"x" * 4096 + bytes(64 << 10) + b"x" * (MiB - 4096 - (64 << 10))


def test_a_growdisk_that_is_killed_leaves_no_client_and_is_gone_on_with(far: Far) -> None:
    with qemu_server(far):
        for verb in ("rollback", "resume"):
            command = far.host.start("expand", far.uri)
            journal = run_of(far.uri) / "journal.jsonl"
            await_true(partial(_has_begun_to_grow, journal), 60, "the run is on its way")
            command.kill()
            assert far.host.growdisk("status", far.uri).document["state"] == "unfinished"
            assert far.host.growdisk(verb, far.uri).code == 0
            if verb == "rollback":
                run(
                    "qemu-img", "compare", "-U", "-f", "raw", "-F", "raw", far.image,
                    far.before.copy,
                )  # fmt: skip
    far.assert_nothing_left()
    far.assert_grown()


class Cuts:
    """Runs over a network that is cut at a random instant, and ended afterwards."""

    def __init__(self, far: Far, chance: random.Random) -> None:
        self.far, self.chance = far, chance
        self.fresh = far.image.with_name("fresh.raw")
        run("cp", "--sparse=always", far.image, self.fresh)
        self.network = CutNetwork(far.image.with_name("cut"), far.socket)
        self.far.uri = self.network.uri
        self.total = 0

    def measure(self) -> None:
        """How many pieces a whole run sends."""
        with qemu_server(self.far):
            self.network.mend()
            assert self.far.host.growdisk("expand", self.network.uri).code == 0
            self.total = self.network.passed

    def one(self, verb: str) -> str:
        """How it ended."""
        run("cp", "--sparse=always", self.fresh, self.far.image)
        forget(self.network.uri)
        with qemu_server(self.far):
            cut = self.chance.randrange(self.total)
            self.network.cut_after(cut)
            answer = self.far.host.growdisk("expand", self.network.uri)
            self.network.mend()
            done = self._ended(answer, verb, cut)
        return self._judged(done, answer)

    def with_power(self, verb: str) -> str:
        """As before, with the server's host losing power: what its disk had not flushed is lost."""
        run("cp", "--sparse=always", self.fresh, self.far.image)
        forget(self.network.uri)
        log = self.fresh.with_name("log")
        with serving(watched_nbd(self.far.image, self.far.socket, log), self.far.socket):
            cut = self.chance.randrange(self.total)
            self.network.cut_after(cut)
            answer = self.far.host.growdisk("expand", self.network.uri)
        events = noted(log) if log.stat().st_size else []
        lost_power(SparseBytes.load(self.fresh), events, self.chance).save(self.far.image)
        self.network.mend()
        with qemu_server(self.far):
            done = self._ended(answer, verb, cut)
        return self._judged(done, answer)

    def _judged(self, done: str, answer: Answer) -> str:
        if done in ("resume", "done"):
            self.far.assert_grown()
        else:
            self.far.assert_unchanged()
        self.far.assert_nothing_left()
        return f"{done} after code {answer.code}"

    def _ended(self, expanded: Answer, verb: str, cut: int) -> str:
        try:
            return self._ended_by(expanded.code, verb)
        except AssertionError as error:
            raise AssertionError(f"cut after {cut} of {self.total} pieces: {expanded}") from error

    def _ended_by(self, code: int, verb: str) -> str:
        state = str(self.far.host.growdisk("status", self.network.uri).document["state"])
        if state != "unfinished":
            assert (code, state) in ((3, "none"), (0, "done"), (4, "undone")), (code, state)
            return state
        assert code == 5
        answer = self.far.host.growdisk(verb, self.network.uri)
        if answer.code == 3 and "growdisk resume finishes that" in str(answer.error["why"]):
            verb, answer = "resume", self.far.host.growdisk("resume", self.network.uri)
        if verb == "resume" and answer.code == 0:
            state = str(self.far.host.growdisk("status", self.network.uri).document["state"])
            return "resume" if state == "done" else state
        assert answer.code == 0, answer
        return verb


def test_a_cut_connection_leaves_a_run_that_is_ended_later(far: Far) -> None:
    cuts = Cuts(far, random.Random(14))
    cuts.measure()
    for number in range(4):
        cuts.one(("resume", "rollback")[number % 2])
    cuts.network.close()


def test_a_server_whose_host_loses_its_power_has_the_guest_grown_or_as_it_was(far: Far) -> None:
    cuts = Cuts(far, random.Random(15))
    cuts.measure()
    for verb in ("resume", "rollback"):
        cuts.with_power(verb)
    cuts.network.close()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_forty_cut_connections_and_forty_with_the_servers_power(far: Far) -> None:
    cuts = Cuts(far, random.Random(40))
    cuts.measure()
    ends = [cuts.one(("resume", "rollback")[number % 2]) for number in range(40)]
    ends += [cuts.with_power(("resume", "rollback")[number % 2]) for number in range(40)]
    assert len(set(ends)) > 2, ends
    cuts.network.close()


@contextmanager
def far_port() -> Iterator[int]:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    yield port


def _has_begun_to_grow(journal: Path) -> bool:
    return journal.exists() and b"grow-filesystem" in journal.read_bytes()


@contextmanager
def serving_on_port(far: Far, port: int) -> Iterator[None]:
    import socket

    words = [
        "qemu-nbd",
        "--persistent",
        "--bind=127.0.0.1",
        f"--port={port}",
        "--export-name=web01",
        "--format=raw",
    ]
    server = subprocess.Popen([*words, far.image])

    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    try:
        await_true(listens, 30, "the server listens")
        yield
    finally:
        server.kill()
        server.wait()
