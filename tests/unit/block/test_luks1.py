"""One reader of LUKS1 headers: what cryptsetup made opens, and what cannot be true is refused."""

from __future__ import annotations

import struct
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.block.luks1 import LENGTH, Luks1Header
from growdisk.block.raw import RawFile
from growdisk.volumes.luks import LuksUnreadable, read_luks_header

SIZE = 4 << 20


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """With two of eight key slots in use."""
    folder = tmp_path_factory.mktemp("luks1")
    disk, one, two = folder / "disk", folder / "one", folder / "two"
    disk.write_bytes(bytes(SIZE))
    one.write_bytes(b"first")
    two.write_bytes(b"second")
    quick = ("--pbkdf-force-iterations", "1000")
    for command in (
        ["luksFormat", "--type", "luks1", *quick, disk, one],
        ["luksAddKey", *quick, "--key-file", one, disk, two],
    ):
        subprocess.run(["cryptsetup", "-q", *command], check=True)
    return disk.read_bytes()


def test_either_passphrase_gives_the_key_and_another_one_none(container: bytes) -> None:
    header = Luks1Header.parse(container)
    assert header is not None

    def read(offset: int, length: int) -> bytes:
        return container[offset : offset + length]

    keys = [header.key(passphrase, read) for passphrase in (b"first", b"second", b"third")]
    assert keys[0] == keys[1] is not None
    assert keys[2] is None


def test_a_header_is_written_as_it_was_read(container: bytes) -> None:
    header = Luks1Header.parse(container)
    assert header is not None
    assert header.to_bytes() == container[:LENGTH]


@pytest.mark.parametrize("head", [b"", bytes(LENGTH), b"LUKS\xba\xbe\0\2" + bytes(LENGTH)])
def test_anything_else_is_not_luks1(head: bytes) -> None:
    assert Luks1Header.parse(head) is None


@pytest.mark.parametrize(
    ("position", "value", "words"),
    [
        (108, 1 << 31, "cannot be true"),
        (164, 1 << 31, "amount of work"),
        (208 + 4, 1 << 31, "amount of work"),
        (208 + 4, 0, "amount of work"),
        (208 + 48 + 40, 1 << 31, "lies outside"),
        (208 + 48 + 44, 1 << 31, "cannot be true"),
    ],
)
def test_no_passphrase_is_tried_on_a_container_that_would_cost_hours(
    container: bytes, tmp_path: Path, position: int, value: int, words: str
) -> None:
    raw = bytearray(container)
    raw[position : position + 4] = struct.pack(">I", value)
    path = tmp_path / "container"
    path.write_bytes(raw)
    with closing(RawFile.open(path)) as device, pytest.raises(LuksUnreadable, match=words):
        read_luks_header(device).volume_key(device, b"third")
