"""A partition as a device: addressed from zero, and unable to reach its neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.block.device import Extent, ExtentKind
from growdisk.block.raw import RawFile
from growdisk.block.window import Window

MiB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path):
    device = RawFile.create(tmp_path / "disk.raw", 8 * MiB)
    device.write(0, b"x" * 8 * MiB)
    yield device
    device.close()


def test_offsets_count_from_the_windows_start(disk: RawFile):
    window = Window(disk, 2 * MiB, MiB)
    window.write(10, b"abc")
    assert disk.read(2 * MiB + 9, 5) == b"xabcx"
    assert window.read(9, 5) == b"xabcx"


@pytest.mark.parametrize(("offset", "length"), ((MiB - 1, 2), (-1, 2), (MiB + 1, 0)))
def test_no_access_leaves_the_window(disk: RawFile, offset: int, length: int):
    window = Window(disk, 2 * MiB, MiB)
    for access in (
        window.read,
        window.write_zeros,
        window.discard,
        lambda o, n: list(window.extents(o, n)),
    ):
        with pytest.raises(ValueError, match="leaves a device"):
            access(offset, length)
    with pytest.raises(ValueError, match="leaves a device"):
        window.write(MiB - 1, b"ab")
    assert disk.read(0, 8 * MiB) == b"x" * 8 * MiB


def test_a_window_that_leaves_its_device_cannot_be_made(disk: RawFile):
    with pytest.raises(ValueError, match="leaves a device"):
        Window(disk, 7 * MiB, MiB + 1)


def test_zeros_stay_inside_and_extents_are_moved(disk: RawFile):
    window = Window(disk, 2 * MiB, 2 * MiB)
    window.write_zeros(MiB, MiB)
    assert disk.read(3 * MiB - 1, MiB + 2) == b"x" + bytes(MiB) + b"x"
    assert list(window.extents(0, 2 * MiB)) == [
        Extent(0, MiB, ExtentKind.DATA),
        Extent(MiB, 2 * MiB, ExtentKind.ZERO),
    ]


def test_windows_nest_and_closing_one_leaves_the_disk_open(disk: RawFile):
    outer = Window(disk, MiB, 4 * MiB)
    inner = Window(outer, MiB, MiB)
    inner.write(0, b"abc")
    inner.close()
    outer.close()
    assert disk.read(2 * MiB, 3) == b"abc"
    assert inner.writable
