"""Swap of machines whose pages are not 4 KiB, or whose byte order is the other one."""

from __future__ import annotations

import struct
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.filesystems.content import SwapContent
from growdisk.filesystems.identify import identify
from growdisk.units import MiB
from tests.e2e.conftest import host
from tests.e2e.process import Host, need
from tests.guests.tools import run
from tests.layouts.refusing import disk

__all__ = ["host"]

_UUID = "5e1f0c1d-0000-4000-8000-00000000a00f"
_TABLE = "label: gpt\nstart=2048,size=131072\nstart=133120,size=40960\n"
_HEADER_AT = 1024


def _swap(path: Path, page: int) -> Path:
    with path.open("wb") as file:
        file.truncate(20 * MiB)
    run("mkswap", "-q", "-p", str(page), "-U", _UUID, "-L", "paging", path)
    return path


def _guest(folder: Path, page: int) -> Path:
    root = folder / "root"
    with root.open("wb") as file:
        file.truncate(64 * MiB)
    run("mkfs.ext4", "-q", root)
    return disk(
        folder / "disk.raw", _TABLE, 90 * MiB, s2048=root, s133120=_swap(folder / "swap", page)
    )


@pytest.mark.parametrize("page", [4096, 16384, 65536])
def test_swap_that_is_made_again_is_for_the_same_machine(
    tmp_path: Path, host: Host, page: int
) -> None:
    """A kernel looks for the header at the end of a page of its own, and nowhere else."""
    need("direct")
    answer = host.growdisk("expand", _guest(tmp_path, page), "+100M", "--swap", "move")
    assert (answer.code, answer.result) == (0, "changed"), answer
    moved = answer.document["after"]["partitions"][1]  # type: ignore[index]
    assert moved["content"]["uuid"] == _UUID
    with (tmp_path / "disk.raw").open("rb") as file:
        file.seek(moved["start"])
        found = file.read(65536)
    # as mkswap makes it, but for the size, which is that of the new place
    wanted = (tmp_path / "swap").read_bytes()[:65536]
    assert found.index(b"SWAPSPACE2") == wanted.index(b"SWAPSPACE2") == page - 10
    assert found[:page] == wanted[:page]


def test_swap_of_a_machine_of_the_other_byte_order_has_its_names(tmp_path: Path) -> None:
    """As on s390x; blkid reads it, too."""
    path = _swap(tmp_path / "swap", 4096)
    with path.open("r+b") as file:
        file.seek(_HEADER_AT)
        numbers = struct.unpack("<III", file.read(12))
        file.seek(_HEADER_AT)
        file.write(struct.pack(">III", *numbers))
    assert run("blkid", "-p", "-o", "value", "-s", "UUID", path).strip() == _UUID
    with closing(RawFile.open(path)) as device:
        content = identify(device)
    assert isinstance(content, SwapContent)
    assert (content.uuid, content.label, content.size) == (_UUID, "paging", 20 * MiB)
