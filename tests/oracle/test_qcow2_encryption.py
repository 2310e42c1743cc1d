"""Encrypted images of both engines, opened, written and grown by the other one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from growdisk.errors import GrowdiskError, ImageUnsupported, WrongKey
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.image import Qcow2Image
from tests.oracle.encrypted import KEY, MIB, SECRET, their_bytes, their_check, their_io, their_luks
from tests.oracle.qemu import qemu_img

OURS = [
    "",
    "cluster_size=512",
    "cluster_size=2M,refcount_bits=8",
    "compat=0.10",
    "preallocation=metadata",
]
THEIRS = [
    "",
    "compat=0.10",
    "encrypt.cipher-alg=aes-128",
    "cluster_size=4k,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256",
    "encrypt.cipher-alg=aes-256,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=plain64,encrypt.hash-alg=sha512",
]


def exercise(path: Path) -> None:
    """Write with both, at all alignments, with a snapshot between; both must see the same."""
    model = bytearray(8 * MIB)

    def both(offset: int, length: int, value: int, image: Qcow2Image | None = None) -> None:
        model[offset : offset + length] = bytes([value]) * length
        if image is None:
            their_io(path, f"write -P {value} {offset} {length}")
        else:
            image.write(offset, bytes([value]) * length)

    both(MIB, 100_000, 1)
    with Qcow2Image.open(path, writable=True, key=KEY) as image:
        assert image.read(0, image.size) == model
        both(0, 3 * MIB // 2, 2, image)
        both(MIB - 3, 1000, 3, image)
        image.create_snapshot("one")
        before = bytes(model)
        both(77, 1, 4, image)
        both(5 * MIB + 511, 2, 5, image)
        image.write_zeros(200_001, 70_000)
        model[200_001:270_001] = bytes(70_000)
        image.discard(MIB, 64 << 10)
        model[MIB : MIB + (64 << 10)] = image.read(MIB, 64 << 10)
        assert image.read(0, image.size) == model
    their_check(path)
    assert their_bytes(path) == model
    both(6 * MIB - 700, 1500, 6)
    with Qcow2Image.open(path, writable=True, key=KEY) as image:
        assert image.read(0, image.size) == model
        image.apply_snapshot("one")
        image.delete_snapshot("one")
    their_check(path)
    assert their_bytes(path) == before


@pytest.mark.parametrize("options", OURS)
def test_what_we_encrypt_qemu_reads_and_writes(tmp_path: Path, options: str):
    path = tmp_path / "image.qcow2"
    create(path, 8 * MIB, CreateOptions.parse(options), key=KEY, key_seconds=0.01)
    told = json.loads(qemu_img("info", "--output=json", path))
    assert told["encrypted"]
    luks = told["format-specific"]["data"]["encrypt"]
    assert (luks["format"], luks["cipher-alg"], luks["cipher-mode"]) == ("luks", "aes-256", "xts")
    assert (luks["ivgen-alg"], luks["hash-alg"]) == ("plain64", "sha256")
    assert [slot["active"] for slot in luks["slots"]] == [True] + 7 * [False]
    assert not any(their_bytes(path))
    exercise(path)


@pytest.mark.parametrize("options", THEIRS)
def test_what_qemu_encrypts_we_read_and_write(tmp_path: Path, options: str):
    exercise(their_luks(tmp_path / "image.qcow2", "8M", options))


def test_a_second_passphrase_opens_the_image_too(tmp_path: Path):
    path = tmp_path / "image.qcow2"
    create(path, MIB, key=KEY, key_seconds=0.01)
    options = "state=active,new-secret=n,iter-time=10"
    qemu_img(
        "amend", *SECRET, "--object", "secret,id=n,data=other",
        "--image-opts", f"driver=qcow2,file.filename={path},encrypt.key-secret=s",
        "-o", ",".join(f"encrypt.{word}" for word in options.split(",")),
    )  # fmt: skip
    with Qcow2Image.open(path, key=b"other") as image, Qcow2Image.open(path, key=KEY) as same:
        assert image.read(0, 100) == same.read(0, 100)


def test_the_legacy_form_is_read_and_never_written(tmp_path: Path):
    path = tmp_path / "image.qcow2"
    qemu_img(
        "create", *SECRET, "-f", "qcow2", "-o", "encrypt.format=aes,encrypt.key-secret=s", path,
        "4M",
    )  # fmt: skip
    their_io(path, "write -P 7 1M 100k", "write -P 8 3M 64k", "discard 3M 64k", form="aes")
    before = path.read_bytes()
    with Qcow2Image.open(path, writable=True, key=KEY) as image:
        assert image.read(MIB + 100, 1000) == b"\7" * 1000
        with pytest.raises(ImageUnsupported, match="legacy"):
            image.write(0, b"x")
    assert path.read_bytes() == before
    with Qcow2Image.open(path, key=KEY) as image:
        whole = image.read(0, image.size)
    assert whole == their_bytes(path, "aes")


def test_an_encrypted_overlay_lies_over_an_encrypted_base(tmp_path: Path):
    base, top = tmp_path / "base.qcow2", tmp_path / "top.qcow2"
    create(base, 2 * MIB, key=KEY, key_seconds=0.01)
    with Qcow2Image.open(base, writable=True, key=KEY) as image:
        image.write(0, b"\1" * MIB)
    create(
        top, 4 * MIB, backing=Path("base.qcow2"), backing_format="qcow2", key=KEY, key_seconds=0.01
    )
    with Qcow2Image.open(top, writable=True, key=KEY) as image:
        image.write(1000, b"\2" * 10)
        assert image.read(0, MIB) == (b"\1" * 1000 + b"\2" * 10).ljust(MIB, b"\1")
        image.resize(6 * MIB)
    options = {
        "driver": "qcow2", "encrypt.key-secret": "s", "file.filename": str(top),
        "backing.driver": "qcow2",
        "backing.file.filename": str(base), "backing.encrypt.key-secret": "s",
    }  # fmt: skip
    opened = ",".join(f"{name}={value}" for name, value in options.items())
    qemu_img("convert", *SECRET, "--image-opts", opened, "-O", "raw", tmp_path / "raw")
    wanted = (b"\1" * 1000 + b"\2" * 10).ljust(MIB, b"\1").ljust(6 * MIB, b"\0")
    assert (tmp_path / "raw").read_bytes() == wanted


@pytest.mark.parametrize("mode", ["off", "metadata", "falloc", "full"])
def test_size_and_snapshots_need_no_key(tmp_path: Path, mode: str):
    path = tmp_path / "image.qcow2"
    create(path, 2 * MIB, key=KEY, key_seconds=0.01)
    with Qcow2Image.open(path, writable=True, key=KEY) as image:
        image.write(0, b"\1" * 2 * MIB)
    with Qcow2Image.open(path, writable=True) as image:
        image.create_snapshot("one")
        image.resize(8 * MIB, preallocation=mode)
        image.apply_snapshot("one")
        image.resize(5 * MIB, preallocation=mode)
        image.delete_snapshot("one")
    their_check(path)
    assert their_bytes(path) == b"\1" * 2 * MIB + bytes(3 * MIB)


@pytest.mark.parametrize("key", [b"", b"wrong", KEY + b"\n"])
def test_a_wrong_key_is_refused_and_nothing_is_written(tmp_path: Path, key: bytes):
    path = tmp_path / "image.qcow2"
    create(path, MIB, key=KEY, key_seconds=0.01)
    before = path.read_bytes()
    with pytest.raises(WrongKey):
        Qcow2Image.open(path, writable=True, key=key)
    assert path.read_bytes() == before


@pytest.mark.parametrize("position", [0, 7, 9, 41, 73, 109, 167, 208, 212, 249, 253])
def test_a_damaged_encryption_header_is_refused_in_plain_words(tmp_path: Path, position: int):
    path = tmp_path / "image.qcow2"
    create(path, MIB, key=KEY, key_seconds=0.01)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"LUKS\xba\xbe") + position] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(GrowdiskError):
        Qcow2Image.open(path, writable=True, key=KEY)
    assert path.read_bytes() == raw
