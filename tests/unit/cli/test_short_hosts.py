"""What every program needs of its host, and does not get."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from growdisk.api.session import Session
from tests.conftest import Copier
from tests.unit.cli.command import GROWDISK, environment, in_process


def test_a_host_that_allows_no_further_thread_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")  # what Python says of a limit (ulimit -u)

    (tmp_path / "a.raw").write_bytes(bytes(4096))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        answer = in_process("expand", tmp_path / "a.raw", "+16M", "--json")
    assert (answer.code, answer.json()["error"]["id"]) == (4, "too-many-processes")
    assert "Traceback" not in answer.err


def test_a_host_without_memory_is_told_and_has_no_folder_of_a_run(
    copied: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_memory(*_: object) -> None:
        raise MemoryError

    image = copied("guest.qcow2")
    with monkeypatch.context() as patched:
        patched.setattr(Session, "_announce", without_memory)
        answer = in_process("expand", image, "+16M", "--json")
    assert (answer.code, answer.json()["error"]["id"]) == (4, "out-of-memory")
    assert "Traceback" not in answer.err
    assert not image.with_name("guest.qcow2.growdisk").exists()


def test_a_host_without_proc_is_told(copied: Copier) -> None:
    """As in a folder that chroot made the root."""
    image = copied("guest.qcow2")
    words = ["bwrap", "--dev-bind", "/", "/", "--tmpfs", "/proc", GROWDISK, "plan", image, "+64M"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment())
    assert done.returncode == 4 and "mount -t proc proc /proc" in done.stderr, done
