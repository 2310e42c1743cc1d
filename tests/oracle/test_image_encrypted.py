"""Encrypted images by the command line: QEMU opens ours with the passphrase, and we QEMU's."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.oracle.qemu import qemu_img
from tests.oracle.verbs import image

pytestmark = pytest.mark.usefixtures("quick_keys")

MiB = 1 << 20


def decrypted(path: Path, key: Path) -> bytes:
    """The guest's bytes, by QEMU."""
    raw = path.with_name("decrypted.raw")
    options = f"driver=qcow2,encrypt.key-secret=s,file.filename={path}"
    qemu_img(
        "convert", "--object", f"secret,id=s,file={key}", "--image-opts", options, "-O", "raw", raw
    )
    return raw.read_bytes()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(b"open sesame")
    return path


def test_what_is_encrypted_here_is_read_by_qemu_and_back(tmp_path: Path, key: Path) -> None:
    source = tmp_path / "source.raw"
    locked = tmp_path / "locked.qcow2"
    plain = tmp_path / "plain.raw"
    source.write_bytes(os.urandom(MiB) + bytes(MiB) + os.urandom(MiB))
    assert image("convert", source, locked, "--encrypt", "luks", "--key-file", key) == 0
    assert decrypted(locked, key) == source.read_bytes()
    assert image("check", locked) == 0  # qemu-img wants the passphrase for that
    assert image("convert", locked, plain, "--key-file", key) == 0
    assert plain.read_bytes() == source.read_bytes()
    assert image("read", locked, "4k", "4k", tmp_path / "out", "--key-file", key) == 0
    assert (tmp_path / "out").read_bytes() == source.read_bytes()[4096:8192]
    assert image("write", locked, "1M", tmp_path / "out", "--key-file", key) == 0
    assert decrypted(locked, key)[MiB : MiB + 4096] == source.read_bytes()[4096:8192]


def test_without_the_passphrase_nothing_is_read_and_nothing_made(tmp_path: Path, key: Path) -> None:
    locked, wrong = tmp_path / "locked.qcow2", tmp_path / "wrong"
    wrong.write_bytes(b"open barley")
    assert image("create", locked, "4M", "--encrypt", "luks", "--key-file", key) == 0
    facts = json.loads(qemu_img("info", "--output=json", locked))
    assert facts["format-specific"]["data"]["encrypt"]["format"] == "luks"
    for words in ([], ["--key-file", wrong]):
        assert image("convert", locked, tmp_path / "new.raw", *words) == 3
        assert image("read", locked, "0", "4k", tmp_path / "out", *words) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "locked.qcow2", "wrong"]


def test_a_snapshot_of_an_encrypted_image_converts(tmp_path: Path, key: Path) -> None:
    locked, plain, payload = tmp_path / "locked.qcow2", tmp_path / "then.raw", tmp_path / "payload"
    payload.write_bytes(os.urandom(65536))
    assert image("create", locked, "1M", "--encrypt", "luks", "--key-file", key) == 0
    assert image("write", locked, "0", payload, "--key-file", key) == 0
    subprocess.run(["truncate", "-s", "64k", tmp_path / "zeros"], check=True)
    assert image("snapshot", "create", locked, "then") == 0
    assert image("write", locked, "0", tmp_path / "zeros", "--key-file", key) == 0
    assert image("convert", locked, plain, "-l", "then", "--key-file", key) == 0
    assert plain.read_bytes() == payload.read_bytes() + bytes(MiB - 65536)
