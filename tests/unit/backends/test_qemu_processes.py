"""A plain QEMU started with relative names, in the background: its files are still found."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from growdisk.live.local_guests import guest_of, server_folder
from tests.conftest import DiskMaker

MONITORS = {
    "qmp": ("-qmp", "unix:qmp.sock,server=on,wait=off", "-daemonize"),
    "--qmp": ("--qmp", "unix:qmp.sock,server=on,wait=off", "--daemonize"),
    "--mon": (
        "--chardev", "socket,id=a,path=qmp.sock,server=on,wait=off", "--mon", "a,mode=control",
        "-daemonize",
    ),
}  # fmt: skip


@pytest.fixture(params=MONITORS)
def daemon(request: pytest.FixtureRequest, small_disk: DiskMaker, tmp_path: Path) -> Iterator[Path]:
    """A stopped QEMU with images/busy.qcow2, started in tmp_path with -daemonize."""
    (tmp_path / "images").mkdir()
    small_disk("images/busy.qcow2")
    command = [
        "qemu-system-x86_64", "-S", "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none",
    ]  # fmt: skip
    drive = ["-drive", "file=images/busy.qcow2,if=virtio", "-pidfile", "pid"]
    subprocess.run([*command, *drive, *MONITORS[request.param]], cwd=tmp_path, check=True)
    try:
        yield tmp_path
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_relative_names_start_where_it_was_started(daemon: Path) -> None:
    assert server_folder(daemon / "qmp.sock") == daemon


def test_its_monitor_is_found_by_the_image(daemon: Path) -> None:
    found = guest_of(daemon / "images/busy.qcow2")
    assert found is not None
    assert found.monitor == str(daemon / "qmp.sock")
