"""ssh://HOST/FILE: a real sshd, and QEMU's server, which growdisk starts there and locks."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from growdisk.block.locks import image_writers
from growdisk.units import MiB
from growdisk.workflow.run_places import state_folder
from tests.conftest import DiskMaker
from tests.e2e.judges import Before, assert_grown, assert_unchanged
from tests.e2e.process import Host, await_true, need
from tests.guests.small import SmallDisk
from tests.guests.tools import run
from tests.hosts.far import forget, run_of, sshd

OLD, NEW = 128 * MiB, 192 * MiB
_GUEST = SmallDisk(size=OLD, swap_size=16 * MiB, image_format="raw")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    folder = tmp_path / "sshd"
    folder.mkdir(mode=0o700)
    with sshd(folder) as found:
        yield found


@pytest.fixture
def host(tmp_path: Path, server: tuple[subprocess.Popen[bytes], Path]) -> Host:
    """Whose ssh knows the host `far`."""
    need("direct")
    scratch = tmp_path / "host"
    scratch.mkdir()
    here = Host(scratch)
    here.environment["PATH"] = f"{server[1]}:{here.environment['PATH']}"
    return here


@pytest.fixture
def image(small_disk: DiskMaker) -> Iterator[Path]:
    path = small_disk("far.raw", _GUEST)
    os.truncate(path, NEW)
    yield path
    forget(f"ssh://far{path}")


def test_a_file_of_another_host_is_grown_by_ssh(host: Host, image: Path) -> None:
    before, uri = Before.of(image, "raw"), f"ssh://far{image}"
    assert host.growdisk("show", uri).document["image"]["path"] == uri  # type: ignore[index]
    assert "grow it at its server" in str(host.growdisk("expand", uri, "+1G").error["do"])
    answer = host.growdisk("expand", uri)
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert host.growdisk("status", uri).document["state"] == "done"
    assert_grown(image, before)
    assert list((state_folder() / "served").iterdir()) == []
    await_true(lambda: not _far_servers(image), 10, "the far server has ended")
    assert host.left_files() == []


def test_a_qcow2_file_is_grown_inside_by_ssh(host: Host, small_disk: DiskMaker) -> None:
    image = small_disk("far.qcow2", SmallDisk(size=OLD, swap_size=16 * MiB))
    run("qemu-img", "resize", "-q", image, str(NEW))
    before, uri = Before.of(image), f"ssh://far{image}"
    answer = host.growdisk("expand", uri)
    assert (answer.code, "-f qcow2" in str(answer.error["do"])) == (3, True), answer
    answer = host.growdisk("expand", "-f", "qcow2", uri)
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert_grown(image, before)
    forget(uri)


def test_a_file_that_a_guest_has_there_is_in_use(host: Host, image: Path) -> None:
    before = Before.of(image, "raw")
    holder = subprocess.Popen(
        ["qemu-nbd", "--format=raw", f"--socket={image.parent}/holder", image]
    )
    try:
        # qemu-nbd listens before it opens
        await_true(lambda: bool(image_writers(image)), 30, "the image is held")
        answer = host.growdisk("expand", f"ssh://far{image}")
    finally:
        holder.kill()
        holder.wait()
    assert (answer.code, answer.error["id"]) == (3, "held-at-server"), answer
    assert_unchanged(image, before)


@pytest.mark.parametrize(
    ("address", "why", "hint"),
    [
        (
            "ssh://far/var/none.raw",
            "there is no file /var/none.raw on that host",
            "run growdisk on far",
        ),
        ("ssh://nowhere.invalid/x.raw", "resolve", "ssh nowhere.invalid true"),
    ],
)
def test_what_cannot_be_reached_is_refused(host: Host, address: str, why: str, hint: str) -> None:
    answer = host.growdisk("expand", address)
    assert (answer.code, answer.error["id"]) == (3, "disk-not-reached"), answer
    assert why in str(answer.error["why"]) and hint in str(answer.error["do"]), answer


def test_a_block_device_of_another_host_is_refused(host: Host, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes device nodes")
    device = tmp_path / "node"
    os.mknod(device, 0o600 | 0o060000, os.makedev(7, 250))
    answer = host.growdisk("expand", f"ssh://far{device}")
    assert answer.code == 3, answer
    assert "who uses it can only be seen there" in str(answer.error["why"]), answer


@pytest.mark.parametrize("verb", ["resume", "rollback"])
def test_a_cut_ssh_leaves_a_run_that_is_ended_later(
    host: Host, image: Path, server: tuple[subprocess.Popen[bytes], Path], verb: str
) -> None:
    before, uri = Before.of(image, "raw"), f"ssh://far{image}"
    command = host.start("expand", uri)
    journal = run_of(uri) / "journal.jsonl"
    await_true(
        lambda: journal.exists() and b"grow-filesystem" in journal.read_bytes(),
        60,
        "the run is on its way",
    )
    for session in _sessions(server[0].pid):
        os.kill(session, signal.SIGKILL)
    answer = command.ended()
    assert (answer.code, answer.result) == (5, "stuck"), answer
    assert host.growdisk("status", uri).document["state"] == "unfinished"
    await_true(lambda: not _far_servers(image), 10, "the far server has ended with its connection")
    answer = host.growdisk(verb, uri)
    assert answer.code == 0, answer
    state = host.growdisk("status", uri).document["state"]
    if state == "done":
        assert_grown(image, before)
    else:
        assert_unchanged(image, before)


def _far_servers(image: Path) -> list[str]:
    """The qemu-nbd's that serve the file."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[0].endswith(b"qemu-nbd") and os.fsencode(image) in words:
                found.append(process.name)
    return found


def _sessions(sshd_pid: int) -> list[int]:
    """What sshd has started for its clients, and that for them."""
    children = [
        int(word)
        for task in Path(f"/proc/{sshd_pid}/task").iterdir()
        for word in (task / "children").read_text().split()
    ]
    return [each for child in children for each in (child, *_sshds(child))]


def _sshds(pid: int) -> list[int]:
    return [
        child
        for child in _sessions(pid)
        if Path(f"/proc/{child}/comm").read_text().strip() == "sshd"
    ]
