"""Where qemu-img 7.2 crashes, loses data, leaves damage or says nothing, growdisk does better.

One test a fault.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.oracle.encrypted import their_check, their_luks
from tests.oracle.qemu import qemu_img, qemu_io
from tests.oracle.verbs import image, make

MIB = 1 << 20


def patch(path: Path, offset: int, value: int, width: int = 8) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(value.to_bytes(width, "big"))


def number(path: Path, offset: int, width: int = 8) -> int:
    with path.open("rb") as file:
        file.seek(offset)
        return int.from_bytes(file.read(width), "big")


# --- it ends by a signal, or never ----------------------------------------------------------------


@pytest.mark.parametrize("entry", [0x10, 0x1FF])
def test_a_bad_l1_entry_is_told_where_qemu_img_aborts(tmp_path: Path, entry: int) -> None:
    path = make(tmp_path / "image.qcow2", "write 0 1M")
    patch(path, number(path, 40), entry)
    before = path.read_bytes()
    assert image("snapshot", "create", path, "new") == 3
    assert path.read_bytes() == before


def test_a_bad_refcount_table_entry_is_told_where_qemu_img_aborts(tmp_path: Path) -> None:
    path = make(tmp_path / "image.qcow2", "write 0 1M")
    patch(path, number(path, 48) + 8, 0x1FF)
    before = path.read_bytes()
    assert image("resize", "--shrink", path, "1M") == 3
    assert path.read_bytes() == before


def test_luks_without_its_header_is_described_where_qemu_img_crashes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path / "image.qcow2")
    patch(path, 32, 2, width=4)
    assert image("info", path) == 0
    assert "encrypted" in capsys.readouterr().out


def test_a_backing_file_that_is_the_image_itself_has_an_end(tmp_path: Path) -> None:
    path = make(tmp_path / "image.qcow2", "write 0 64k")
    qemu_img("rebase", "-u", "-F", "qcow2", "-b", path.name, path)
    assert image("check", path) == 0
    assert image("info", path) == 0
    assert image("read", path, "0", "64k", tmp_path / "out") == 3
    assert image("convert", path, tmp_path / "new.raw") == 3
    assert not (tmp_path / "new.raw").exists()


# --- it goes on with a file that is cut off -------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [("resize", "{}", "20M"), ("resize", "{}", "1M", "--shrink"),
        ("snapshot", "create", "{}", "new"),
     ("snapshot", "delete", "{}", "one"), ("snapshot", "apply", "{}", "one"),
     ("write", "{}", "3M", "{patch}"),
     ("compact", "{}"), ("rebase", "{}")],
    ids=lambda words: "-".join(words[:2]).replace("-{}", ""),
)  # fmt: skip
@pytest.mark.parametrize("kept", [0.03, 0.5, 0.9])
def test_a_cut_file_is_noticed_before_the_first_write(
    tmp_path: Path, words: tuple[str, ...], kept: float
) -> None:
    path = make(tmp_path / "image.qcow2", "write -P 1 0 6M")
    qemu_img("snapshot", "-c", "one", path)
    qemu_io(path, "write -P 2 1M 5M")
    (tmp_path / "patch").write_bytes(b"x" * MIB)
    os.truncate(path, int(path.stat().st_size * kept))
    before = path.read_bytes()
    assert image(*(word.format(path, patch=tmp_path / "patch") for word in words)) == 3
    assert path.read_bytes() == before
    assert image("check", path) in (1, 2, 3)


# --- old data come back, new room cannot be had ---------------------------------------------------


def test_what_was_cut_off_does_not_come_back(tmp_path: Path) -> None:
    path = make(tmp_path / "image.qcow2", "write -P 9 0 1M", size="1M")
    assert image("resize", "--shrink", path, "520k") == 0
    assert image("resize", path, "567k") == 0
    qemu_io(path, "read -P 9 0 520k", "read -P 0 520k 47k")
    qemu_img("check", path)


def test_vm_state_behind_the_disk_does_not_become_guest_data(tmp_path: Path) -> None:
    path = make(tmp_path / "image.qcow2", "write -P 1 0 64k", size="1M", options="cluster_size=512")
    qemu_io(path, "write -P 2 1000k 24k")
    size, l1_size = number(path, 24), number(path, 36, width=4)
    assert image("resize", "--shrink", path, "900k") == 0
    assert number(path, 24) < size
    assert number(path, 36, width=4) <= l1_size
    assert image("resize", path, "4M") == 0
    qemu_io(path, "read -P 1 0 64k", "read -P 0 900k 3196k")
    qemu_img("check", path)


def test_a_version_2_image_grows_over_a_longer_backing_file(tmp_path: Path) -> None:
    (tmp_path / "base.raw").write_bytes(b"b" * 2 * MIB)
    path = tmp_path / "image.qcow2"
    qemu_img(
        "create", "-q", "-f", "qcow2", "-o", "compat=0.10", "-b", "base.raw", "-F", "raw", path,
        "1M",
    )  # fmt: skip
    assert image("resize", path, "2M") == 0
    qemu_io(path, "read -P 98 0 1M", "read -P 0 1M 1M")
    qemu_img("check", path)


def test_a_size_that_does_not_fit_is_not_wrapped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path / "image.qcow2")
    before = path.read_bytes()
    assert image("resize", path, "+9E") in (2, 3)
    assert "positive" not in capsys.readouterr().err
    assert path.read_bytes() == before


# --- it wants what it does not need ---------------------------------------------------------------

KEYLESS: list[Callable[[Path], int]] = [
    lambda path: image("check", path),
    lambda path: image("info", path),
    lambda path: image("snapshot", "list", path),
    lambda path: image("snapshot", "create", path, "new"),
    lambda path: image("snapshot", "apply", path, "new"),
    lambda path: image("snapshot", "delete", path, "new"),
]


def test_without_its_backing_file_an_image_is_checked_and_keeps_its_snapshots(
    tmp_path: Path,
) -> None:
    (tmp_path / "base.raw").write_bytes(b"b" * MIB)
    path = tmp_path / "image.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", path, "1M")
    qemu_io(path, "write 0 64k")
    (tmp_path / "base.raw").unlink()
    assert [action(path) for action in KEYLESS] == [0] * len(KEYLESS)
    assert image("read", path, "0", "1M", tmp_path / "out") == 3  # guest bytes do need it


def test_without_its_key_an_image_is_checked_resized_and_keeps_its_snapshots(
    tmp_path: Path,
) -> None:
    path = their_luks(tmp_path / "image.qcow2", "1M")
    assert [action(path) for action in KEYLESS] == [0] * len(KEYLESS)
    assert image("resize", path, "2M") == 0
    their_check(path)


# --- names ----------------------------------------------------------------------------------------


def test_a_name_is_never_cut(tmp_path: Path) -> None:
    path = make(tmp_path / "image.qcow2")
    before = path.read_bytes()
    assert image("snapshot", "create", path, "n" * 256) == 3
    assert path.read_bytes() == before
    assert image("snapshot", "create", path, "n" * 255) == 0
    assert "n" * 255 in qemu_img("info", path)


@pytest.mark.parametrize(
    "name",
    ["json:{}", 'json:{"driver":"file","filename":"/etc/passwd"}', "nbd:127.0.0.1:1",
        "nbd://localhost/x",
             "http://example.invalid/a", "ssh://root@localhost/x", "fat:rw:/tmp", "rbd:a/b"],
)  # fmt: skip
def test_a_backing_file_elsewhere_is_named_and_not_opened(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path / "image.qcow2", "write 0 64k")
    qemu_img("rebase", "-u", "-F", "raw", "-b", name, path)
    before = path.read_bytes()
    assert image("info", path) == 0
    assert name in capsys.readouterr().out
    assert image("check", path) == 0
    for words in (
        ("read", path, "0", "64k", tmp_path / "out"),
        ("map", path),
        ("commit", path),
        ("resize", path, "9M"),
    ):
        capsys.readouterr()
        assert image(*words) == 3
        told = capsys.readouterr().err
        assert "not a local file" in told
        assert "name the path of a file here" in told
    assert path.read_bytes() == before


def test_info_does_not_touch_the_backing_file(tmp_path: Path) -> None:
    """A pipe: whoever opens it waits for ever."""
    path = make(tmp_path / "image.qcow2")
    qemu_img("rebase", "-u", "-F", "qcow2", "-b", "trap", path)
    os.mkfifo(tmp_path / "trap")
    assert image("info", path) == 0
    assert image("check", path) == 0
    assert image("map", path) == 3


def test_the_holder_of_a_lock_is_named_with_its_pid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path / "image.qcow2")
    with subprocess.Popen(
        ["qemu-io", "-f", "qcow2", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write("length\n")
        holder.stdin.flush()
        while "MiB" not in holder.stdout.readline():
            pass
        for words in (
            ("resize", path, "9M"),
            ("snapshot", "create", path, "x"),
            ("check", path),
            ("info", path),
        ):
            capsys.readouterr()
            assert image(*words) in (1, 3)
            assert f"qemu-io (pid {holder.pid})" in capsys.readouterr().err
        assert image("info", "-U", path) == 0
        holder.stdin.close()
