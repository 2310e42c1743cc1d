"""A download that is still packed is not a raw disk: growdisk names it and its unpacker."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.cli.command import fingerprint, in_process

CONTENT = random.Random(1).randbytes(1 << 16)


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("disk.qcow2", CONTENT)


def _tar(path: Path) -> None:
    path.with_name("disk.vmdk").write_bytes(CONTENT)
    with tarfile.open(path, "w") as archive:
        archive.add(path.with_name("disk.vmdk"), "disk.vmdk")


def _zstd(path: Path) -> None:
    subprocess.run(["zstd", "-q", "-o", path], input=CONTENT, check=True)


PACKED: dict[str, tuple[Callable[[Path], object], str]] = {
    "d.gz": (lambda path: path.write_bytes(gzip.compress(CONTENT)), "gunzip"),
    "d.xz": (lambda path: path.write_bytes(lzma.compress(CONTENT)), "xz -dk"),
    "d.bz2": (lambda path: path.write_bytes(bz2.compress(CONTENT)), "bunzip2"),
    "d.zst": (_zstd, "zstd -d"),
    "d.zip": (_zip, "unzip"),
    "d.ova": (_tar, "tar -xf"),
    "d.img": (
        lambda path: path.write_text("<!DOCTYPE html><title>404</title>" + 600 * " "),
        "download it again",
    ),
}


@pytest.mark.parametrize("name", PACKED)
def test_what_is_packed_is_named_with_the_way_to_unpack_it(tmp_path: Path, name: str) -> None:
    make, told = PACKED[name]
    make(tmp_path / name)
    before = fingerprint(tmp_path / name)
    for words in (("plan", tmp_path / name, "+64M"), ("expand", tmp_path / name, "+64M")):
        answer = in_process(*words)
        assert (answer.code, told in answer.err) == (3, True), answer.err
    assert fingerprint(tmp_path / name) == before
