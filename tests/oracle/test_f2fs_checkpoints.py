"""Which of two checkpoints counts: the newest that was written to its end, as fsck.f2fs says."""

from __future__ import annotations

import re
import struct
import subprocess
import zlib
from pathlib import Path

import pytest

from growdisk.filesystems.content import F2fsContent
from growdisk.units import MiB
from tests.guests.tools import run
from tests.unit.filesystems.reading import content_of

_BLOCK, _UNMOUNTED, _FLAGS_AT = 4096, 1, 132
_ONES = (1 << 32) - 1


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "not unmounted"])
@pytest.mark.parametrize(
    "torn", ["", "its end is old", "its beginning is wrong", "its end is gone"]
)
def test_a_checkpoint_counts_if_it_was_written_to_its_end(
    tmp_path: Path, clean: bool, torn: str
) -> None:
    image = tmp_path / "f2fs.raw"
    with image.open("wb") as file:
        file.truncate(128 * MiB)
    run("mkfs.f2fs", "-q", image)
    raw = bytearray(image.read_bytes())
    first, second = _places(image)
    (blocks,) = struct.unpack_from("<I", raw, first + 136)
    raw[second : second + blocks * _BLOCK] = raw[first : first + blocks * _BLOCK]
    # the older one says the one thing, the newer one the other
    for at, version, unmounted in ((first, 100, clean), (second, 101, not clean)):
        for block in (at, at + (blocks - 1) * _BLOCK):
            _change(raw, block, version, unmounted=unmounted)
    end = second + (blocks - 1) * _BLOCK
    if torn == "its end is old":
        _change(raw, end, 99, unmounted=not clean)
    elif torn == "its beginning is wrong":
        raw[second + 20] ^= 1
    elif torn == "its end is gone":
        raw[end : end + _BLOCK] = bytes(_BLOCK)
    image.write_bytes(raw)
    content = content_of(image)
    assert isinstance(content, F2fsContent)
    assert _version_of_fsck(image) == (100 if torn else 101)
    assert content.clean == (clean if torn else not clean)
    assert content.used is not None


def test_without_a_whole_checkpoint_nothing_is_known(tmp_path: Path) -> None:
    image = tmp_path / "f2fs.raw"
    with image.open("wb") as file:
        file.truncate(128 * MiB)
    run("mkfs.f2fs", "-q", image)
    raw = bytearray(image.read_bytes())
    for at in _places(image):
        raw[at + 20] ^= 1
    image.write_bytes(raw)
    content = content_of(image)
    assert isinstance(content, F2fsContent)
    assert (content.clean, content.used) == (False, None)
    assert _version_of_fsck(image) == 0


def _places(image: Path) -> tuple[int, ...]:
    content = content_of(image)
    assert isinstance(content, F2fsContent)
    return content.checkpoints


def _change(raw: bytearray, at: int, version: int, *, unmounted: bool) -> None:
    struct.pack_into("<Q", raw, at, version)
    (flags,) = struct.unpack_from("<I", raw, at + _FLAGS_AT)
    flags = flags | _UNMOUNTED if unmounted else flags & ~_UNMOUNTED
    struct.pack_into("<I", raw, at + _FLAGS_AT, flags)
    checksum = zlib.crc32(raw[at : at + _BLOCK - 4], 0xF2F52010 ^ _ONES) ^ _ONES
    struct.pack_into("<I", raw, at + _BLOCK - 4, checksum)


def _version_of_fsck(image: Path) -> int:
    """The checkpoint that fsck.f2fs goes by; 0 if it has none."""
    said = subprocess.run(
        ["fsck.f2fs", "--dry-run", image], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"CKPT version = ([0-9a-f]+)", said)
    return int(found[1], 16) if found else 0
