"""LUKS with an external data file: encrypted by offsets in that file; QEMU judges."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from growdisk.cli.main import main
from growdisk.errors import KeyNeeded
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.image import Qcow2Image
from tests.oracle.encrypted import KEY, MIB, their_bytes, their_check, their_io, their_luks
from tests.oracle.qemu import qemu_img


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU looks for a data file of a relative name from where it is started."""
    monkeypatch.chdir(tmp_path)


def made(path: Path, by: str, options: str = "") -> None:
    """Its data file is called "data", beside it."""
    words = ",".join(filter(None, ("data_file=data", options)))
    if by == "us":
        create(path, 8 * MIB, CreateOptions.parse(words), key=KEY, key_seconds=0.01)
    else:
        their_luks(path, "8M", words)


@pytest.mark.parametrize("options", ("", "cluster_size=4k", "cluster_size=2M", "extended_l2=on"))
@pytest.mark.parametrize("by", ("us", "them"))
def test_both_engines_write_and_see_the_same(tmp_path: Path, by: str, options: str) -> None:
    path, model = tmp_path / "image.qcow2", bytearray(8 * MIB)
    made(path, by, options)
    told = json.loads(qemu_img("info", "--output=json", path))
    assert told["encrypted"]
    stored = {"us": str(tmp_path / "data"), "them": "data"}[by]
    assert told["format-specific"]["data"]["data-file"] == stored
    their_io(path, f"write -P 1 {MIB} 100000")
    model[MIB : MIB + 100_000] = b"\1" * 100_000
    noise = os.urandom(3 * MIB // 2)
    with Qcow2Image.open(path, writable=True, key=KEY) as image:
        assert image.read(0, image.size) == model
        image.write(MIB // 2 + 77, noise)
        image.write_zeros(MIB + 1, 70_000)
        model[MIB // 2 + 77 : MIB // 2 + 77 + len(noise)] = noise
        model[MIB + 1 : MIB + 70_001] = bytes(70_000)
        image.write(8 * MIB - 5, b"end")
        model[8 * MIB - 5 : 8 * MIB - 2] = b"end"
    their_check(path)
    assert their_bytes(path) == model
    assert noise[:4096] not in (tmp_path / "data").read_bytes()
    their_io(path, "write -P 9 5M 64k")
    model[5 * MIB : 5 * MIB + 65536] = b"\x09" * 65536
    with Qcow2Image.open(path, writable=True, key=KEY) as image:
        assert image.read(0, image.size) == model


@pytest.mark.parametrize("preallocation", ("off", "metadata", "falloc", "full"))
def test_what_is_grown_and_shrunk_reads_as_zeros(tmp_path: Path, preallocation: str) -> None:
    path, key = tmp_path / "image.qcow2", tmp_path / "key"
    key.write_bytes(KEY)
    made(path, "us")
    kept = 3 * MIB + 512
    their_io(path, "write -P 7 0 8M")
    words = ["--key-file", str(key)]
    assert main(["image", "resize", str(path), f"{kept}b", "--shrink", *words]) == 0
    assert (tmp_path / "data").stat().st_size == kept
    assert (
        main(["image", "resize", str(path), "10M", "--preallocation", preallocation, *words]) == 0
    )
    their_check(path)
    assert their_bytes(path) == b"\7" * kept + bytes(10 * MIB - kept)


def test_without_its_key_tables_move_and_nothing_is_read(tmp_path: Path) -> None:
    path = tmp_path / "image.qcow2"
    made(path, "them")
    their_io(path, "write -P 7 0 4M", "discard 1M 2M")
    shown, stored = their_bytes(path), (tmp_path / "data").read_bytes()
    assert main(["image", "compact", str(path)]) == 0
    assert (tmp_path / "data").read_bytes() == stored
    assert their_bytes(path) == shown
    their_check(path)
    with Qcow2Image.open(path) as image, pytest.raises(KeyNeeded):
        image.read(0, 512)


@pytest.mark.usefixtures("quick_keys")
def test_it_is_converted_to_and_from(tmp_path: Path) -> None:
    path, key, new = tmp_path / "image.qcow2", tmp_path / "key", tmp_path / "new.qcow2"
    key.write_bytes(KEY)
    made(path, "them")
    their_io(path, "write -P 7 1M 4M")
    shown, words = their_bytes(path), ["--key-file", str(key)]
    assert main(["image", "convert", str(path), str(tmp_path / "plain.raw"), *words]) == 0
    assert (tmp_path / "plain.raw").read_bytes() == shown
    options = ["--encrypt", "luks", "-o", "data_file=other"]
    assert main(["image", "convert", str(path), str(new), *words, *options]) == 0
    assert their_bytes(new) == shown
    their_check(new)


@pytest.mark.usefixtures("quick_keys")
def test_an_encrypted_data_file_that_should_be_raw_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key"
    key.write_bytes(KEY)
    words = ["image", "create", str(tmp_path / "i.qcow2"), "8M", "-f", "qcow2", "--encrypt", "luks"]
    assert main([*words, "--key-file", str(key), "-o", "data_file=d,data_file_raw=on"]) == 3
    assert "not a raw image" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["key"]
