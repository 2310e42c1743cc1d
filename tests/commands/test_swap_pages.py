"""Swap of a machine with large pages (arm64, POWER): only such a header is swapped on there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from growdisk.units import ByteRange
from tests.commands.plain_guest import ROOT_PLACE, SWAP, make
from tests.e2e.process import need
from tests.guests.tools import run
from tests.unit.cli.command import in_process

_PAGE = 65536
_BY = ("-p", str(_PAGE), "-L", "big pages")


def header_of(image: Path, place: ByteRange) -> bytes:
    with image.open("rb") as file:
        file.seek(place.start)
        return file.read(_PAGE)


def made_by_mkswap(folder: Path, size: int, *options: str) -> bytes:
    fresh = folder / "fresh"
    with fresh.open("wb") as file:
        file.truncate(size)
    run("mkswap", "-q", "-U", SWAP, "-p", str(_PAGE), *options, fresh)
    return fresh.read_bytes()[:_PAGE]


def test_swap_that_moves_keeps_the_page_size_of_its_guest(tmp_path: Path) -> None:
    image = make(tmp_path, {}, swap_options=_BY)
    assert in_process("expand", image, "+50M", "--swap", "move").code == 0
    swap = json.loads(run("sfdisk", "-J", image))["partitiontable"]["partitions"][1]
    place = ByteRange(swap["start"] * 512, (swap["start"] + swap["size"]) * 512)
    wanted = made_by_mkswap(tmp_path, place.length, "-L", "big pages")
    assert header_of(image, place) == wanted


@pytest.mark.parametrize("backend", ["direct", "uml"])
def test_a_swap_file_has_the_page_size_of_the_swap_it_replaces(
    tmp_path: Path, backend: str
) -> None:
    need(backend)
    image = make(tmp_path, {}, swap_options=_BY)
    assert in_process("expand", image, "+50M", "--swap", "file", "--backend", backend).code == 0
    copy = tmp_path / "swapfile"
    run("debugfs", "-R", f"dump /swapfile {copy}", f"{image}?offset={ROOT_PLACE.start}")
    assert copy.read_bytes()[:_PAGE] == made_by_mkswap(tmp_path, copy.stat().st_size)
