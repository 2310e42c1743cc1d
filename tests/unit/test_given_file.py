"""Key files: small files and pipes are read; what has no end, or never begins, is reported."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from growdisk import given_file
from growdisk.errors import UsageError
from growdisk.given_file import MAX_KEY, read_given


def refusal(path: Path, limit: int = MAX_KEY) -> str:
    with pytest.raises(UsageError) as caught:
        read_given(path, "check it", limit)
    assert caught.value.what_to_do == "check it"
    return str(caught.value)


def test_all_bytes_of_a_file_are_given(tmp_path: Path) -> None:
    for content in (b"", b"correct horse\n", bytes(range(256)) * 1000):
        (tmp_path / "key").write_bytes(content)
        assert read_given(tmp_path / "key", "check it") == content


def test_an_empty_device_is_an_empty_key() -> None:
    assert read_given(Path("/dev/null"), "check it") == b""


def test_a_file_or_a_device_without_end_is_refused_at_the_limit(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    for path in (Path("/dev/zero"), tmp_path / "huge"):
        assert "has more than 8.0 MiB" in refusal(path)


def test_what_fits_exactly_is_read(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(1 << 20))
    assert len(read_given(tmp_path / "key", "check it", 1 << 20)) == 1 << 20
    (tmp_path / "key").write_bytes(bytes((1 << 20) + 1))
    assert "more than 1.0 MiB" in refusal(tmp_path / "key", 1 << 20)


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(b"k" * 200_000))
    writer.start()
    assert read_given(tmp_path / "pipe", "check it") == b"k" * 200_000
    writer.join()


def test_the_output_of_a_program_can_be_the_key() -> None:
    program = subprocess.Popen(
        ["sh", "-c", "sleep 0.2; printf first; sleep 0.2; printf second"], stdout=subprocess.PIPE
    )
    with program:
        assert program.stdout is not None
        assert read_given(Path(f"/dev/fd/{program.stdout.fileno()}"), "check it") == b"firstsecond"


def test_a_pipe_that_nobody_writes_to_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given_file, "_WRITER_SECONDS", 0.1)
    os.mkfifo(tmp_path / "pipe")
    assert "nobody writes to" in refusal(tmp_path / "pipe")


def test_a_writer_that_never_ends_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given_file, "_DATA_SECONDS", 0.2)
    reading, writing = os.pipe()
    os.write(writing, b"half a k")
    assert "does not end writing" in refusal(Path(f"/dev/fd/{reading}"))
    os.close(reading)
    os.close(writing)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert "Is a directory" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "missing")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        assert "cannot read" in refusal(tmp_path / "socket")
    assert "null" in refusal(Path("with\0null"))
