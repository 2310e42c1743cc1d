"""What every program needs of its host, and does not get."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest

from growdisk.api import runs, session
from growdisk.api.session import Session
from growdisk.block.raw import RawFile
from growdisk.workflow import run_directory
from growdisk.workflow.journal import Event, JournalRecord, read_journal, record_unreadable
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
    assert (answer.code, answer.json()["error"]["id"]) == (3, "too-many-processes")
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
    assert (answer.code, answer.json()["error"]["id"]) == (3, "out-of-memory")
    assert answer.json()["result"] == "refused"
    assert "Traceback" not in answer.err
    assert not image.with_name("guest.qcow2.growdisk").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["show"], 3),
        (["plan"], 3),
        (["image", "info"], 3),
        (["image", "check"], 1),
        (["image", "snapshot", "create"], 4),  # it may have begun
    ],
)
def test_what_only_reads_is_refused_for_want_of_memory(
    classic: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int
) -> None:
    def without_memory(*_: object, **__: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(RawFile, "open", without_memory)
        answer = in_process(*words, classic, *(["name"] if "create" in words else []), "--json")
    error = answer.json()["error"]
    assert (answer.code, error["code"], error["id"]) == (code, code, "out-of-memory")


def test_a_host_without_proc_is_told(copied: Copier) -> None:
    """As in a folder that chroot made the root."""
    image = copied("guest.qcow2")
    words = ["bwrap", "--dev-bind", "/", "/", "--tmpfs", "/proc", GROWDISK, "plan", image, "+64M"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment())
    assert done.returncode == 3 and "mount -t proc proc /proc" in done.stderr, done


def test_what_cannot_be_looked_at_after_a_run_does_not_make_it_a_refusal(
    copied: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_many(path: Path) -> list[JournalRecord]:
        if (records := read_journal(path)) and records[-1].event is Event.DONE:
            raise record_unreadable(path, os.strerror(errno.EMFILE))
        return records

    def without_memory(*_: object) -> None:
        raise MemoryError

    image = copied("guest.raw")
    with monkeypatch.context() as patched:
        patched.setattr(run_directory, "read_journal", too_many)
        patched.setattr(session, "layout_now", without_memory)
        answer = in_process("expand", image, "+16M", "--no-guest-repair", "--json")
    assert (answer.code, answer.json()["result"]) == (0, "changed"), answer
    assert in_process("status", image, "--json").json()["state"] == "done"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_host_that_lets_no_further_file_be_opened_is_told(
    classic: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def too_many(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "/usr/lib/python3/any.py")

    with monkeypatch.context() as patched:
        patched.setattr(runs, "_prepare", too_many)
        answer = in_process("plan", classic, "+16M", "--json")
    assert (answer.code, answer.json()["error"]["id"]) == (3, "too-many-open-files")
