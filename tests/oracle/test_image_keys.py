"""Encrypted images in all verbs for guest bytes: keys from files, or typed on a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.image import Qcow2Image
from tests.oracle.verbs import image
from tests.unit.cli.command import in_process

MiB = 1 << 20
ONE, OTHER = b"open sesame", b"close sesame"


def locked(
    path: Path,
    key: bytes,
    *writes: tuple[int, bytes],
    backing: Path | None = None,
    size: int = 4 * MiB,
) -> Path:
    """A LUKS image whose passphrase is quick to try."""
    kind = "qcow2" if backing else None
    create(
        path, size, CreateOptions(), key=key, key_seconds=0.01, backing=backing, backing_format=kind
    )
    with Qcow2Image.open(path, writable=True, key=(ONE, OTHER)) as disk:
        for offset, data in writes:
            disk.write(offset, data)
    return path


def content(path: Path, *keys: bytes) -> bytes:
    with Qcow2Image.open(path, key=keys) as disk:
        return disk.read(0, disk.size)


@pytest.fixture
def one(tmp_path: Path) -> Path:
    (path := tmp_path / "one.key").write_bytes(ONE)
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    (path := tmp_path / "other.key").write_bytes(OTHER)
    return path


def test_two_images_under_different_keys_are_compared(
    tmp_path: Path, one: Path, other: Path
) -> None:
    a = locked(tmp_path / "a", ONE, (MiB, b"same" * 999))
    b = locked(tmp_path / "b", OTHER, (MiB, b"same" * 999))
    assert image("compare", a, b, "--key-file", one) == 2
    assert image("compare", a, b, "--key-file", one, "--key-file", other) == 0


def test_an_overlay_is_committed_into_a_base_with_another_key(
    tmp_path: Path, one: Path, other: Path
) -> None:
    base = locked(tmp_path / "base", OTHER, (0, b"\x11" * MiB), size=2 * MiB)
    top = locked(
        tmp_path / "top", ONE, (3 * MiB, b"\x22" * 5000), (5000, b"\x33" * 99), backing=base
    )
    before = content(top, ONE, OTHER)
    states = base.read_bytes(), top.read_bytes()
    assert image("commit", top) == 3
    assert image("commit", top, "--key-file", one) == 3
    assert (base.read_bytes(), top.read_bytes()) == states
    assert image("commit", top, "--key-file", one, "--key-file", other) == 0
    assert content(base, OTHER) == before
    assert content(top, ONE, OTHER) == before
    assert image("check", base) == 0


def test_an_encrypted_overlay_is_rebased(tmp_path: Path, one: Path) -> None:
    base = locked(tmp_path / "base", ONE, (0, b"\x11" * MiB))
    new = locked(tmp_path / "new", ONE, (MiB // 2, b"\x44" * MiB))
    top = locked(tmp_path / "top", ONE, (3 * MiB, b"\x22" * 5000), backing=base)
    before, state = content(top, ONE), top.read_bytes()
    assert image("rebase", top, "-b", new, "-F", "qcow2") == 3
    assert top.read_bytes() == state
    assert image("rebase", top, "-b", new, "-F", "qcow2", "--key-file", one) == 0
    assert content(top, ONE) == before
    assert image("rebase", top, "--key-file", one) == 0
    assert content(top, ONE) == before


def test_a_plain_overlay_over_an_encrypted_base_needs_its_key(tmp_path: Path, one: Path) -> None:
    base = locked(tmp_path / "base", ONE, (0, b"\x11" * MiB))
    top = tmp_path / "top.qcow2"
    raw = tmp_path / "raw"
    assert image("overlay", base, top) == 0
    assert image("convert", top, raw, "-O", "raw") == 3
    assert image("read", top, "0", "1k", raw) == 3
    assert not raw.exists()
    assert image("convert", top, raw, "-O", "raw", "--key-file", one) == 0
    assert raw.read_bytes() == b"\x11" * MiB + bytes(3 * MiB)


@pytest.mark.parametrize("verb", ("info", "map", "check", "resize", "snapshot"))
def test_what_concerns_metadata_needs_no_key(tmp_path: Path, verb: str) -> None:
    path = locked(tmp_path / "a", ONE, (MiB, b"data" * 999))
    words = {"resize": (path, "+1M"), "snapshot": ("create", path, "one")}.get(verb, (path,))
    assert image(verb, *words) == 0


def test_growing_needs_the_key_only_where_zeros_have_to_be_written(
    tmp_path: Path, one: Path
) -> None:
    path = locked(tmp_path / "a", ONE, (0, b"x" * 70_000), size=70_144)
    state = path.read_bytes()
    assert image("resize", path, "+1M") == 3
    assert path.read_bytes() == state
    assert image("resize", path, "+1M", "--key-file", one) == 0
    assert content(path, ONE) == (b"x" * 70_000).ljust(70_144 + MiB, b"\0")


@pytest.mark.usefixtures("quick_keys")
def test_converting_can_change_the_key(tmp_path: Path, one: Path, other: Path) -> None:
    path, new = locked(tmp_path / "a", ONE, (0, b"x" * 70_000)), tmp_path / "new.qcow2"
    assert (
        image("convert", path, new, "--encrypt", "luks", "--key-file", one, "--new-key-file", other)
        == 0
    )
    assert content(new, OTHER) == content(path, ONE)
    assert image("convert", path, tmp_path / "no", "--new-key-file", other, "--key-file", one) == 2


def on_a_terminal(answers: list[str], *words: str | Path) -> tuple[int, str]:
    """Exit code and output of growdisk on a terminal, with the answers typed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "growdisk.cli.main", *map(str, words)])
    seen = ""
    while True:
        try:
            piece = os.read(terminal, 4096).decode()
        except OSError:
            break
        seen += piece
        if (
            answers
            and seen.rstrip(" ").endswith(":")
            and ("assphrase" in piece or "same again" in piece)
        ):
            os.write(terminal, (answers.pop(0) + "\n").encode())
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), seen


def test_a_passphrase_is_asked_for_on_a_terminal_and_not_shown(tmp_path: Path) -> None:
    path, raw = locked(tmp_path / "a", ONE, (0, b"x" * 70_000)), tmp_path / "raw"
    code, seen = on_a_terminal([ONE.decode()], "image", "convert", path, raw, "-O", "raw")
    assert code == 0, seen
    assert ONE.decode() not in seen
    assert raw.read_bytes() == content(path, ONE)


def test_a_wrong_passphrase_is_refused(tmp_path: Path) -> None:
    path = locked(tmp_path / "a", ONE, (0, b"x" * 70_000))
    code, seen = on_a_terminal(
        ["nonsense"], "image", "convert", path, tmp_path / "raw", "-O", "raw"
    )
    assert code == 3
    assert "opens none of its key slots" in seen


def test_each_layer_asks_for_its_own_passphrase(tmp_path: Path) -> None:
    base = locked(tmp_path / "base", OTHER, (0, b"\x11" * MiB))
    top = locked(tmp_path / "top", ONE, (3 * MiB, b"\x22" * 5000), backing=base)
    answers = [ONE.decode(), OTHER.decode()]
    code, seen = on_a_terminal(answers, "image", "convert", top, tmp_path / "raw", "-O", "raw")
    assert code == 0, seen
    assert (tmp_path / "raw").read_bytes() == content(top, ONE, OTHER)


def test_a_new_passphrase_is_typed_twice(tmp_path: Path) -> None:
    path = tmp_path / "new.qcow2"
    code, _ = on_a_terminal(["one", "two"], "image", "create", path, "1M", "--encrypt", "luks")
    assert code == 2
    assert not path.exists()
    code, seen = on_a_terminal(["one", "one"], "image", "create", path, "1M", "--encrypt", "luks")
    assert code == 0, seen
    assert content(path, b"one") == bytes(MiB)


@pytest.mark.usefixtures("quick_keys")
@pytest.mark.parametrize(
    "key", [b"abc\xff\xfe", b"abc\0def", b"\0", b"\xed\xa0\x80", "café".encode(), b"abc\n"]
)
def test_no_image_is_made_under_a_passphrase_that_qemu_cannot_take(
    tmp_path: Path, key: bytes
) -> None:
    (file := tmp_path / "key").write_bytes(key)
    made = tmp_path / "image"
    answer = in_process("image", "create", "--encrypt", "luks", "--new-key-file", file, made, "1M")
    assert (answer.code == 0) == made.exists()
    assert answer.code == 0 or (answer.code, "base64" in answer.err) == (3, True)
    create(other := tmp_path / "other", 1 << 20, key=b"another", key_seconds=0.001)
    opened = f"driver=qcow2,encrypt.key-secret=key,file.filename={made if made.exists() else other}"
    words = [
        "qemu-io",
        "--object",
        f"secret,id=key,file={file}",
        "-c",
        "read -P 0 0 1M",
        "--image-opts",
        opened,
    ]
    judge = subprocess.run(words, capture_output=True, text=True, check=False)
    assert judge.returncode == 0 if made.exists() else "not valid UTF-8" in judge.stderr, judge
