"""Zeros written into an overlay take space only over data of lower layers; qemu-img judges."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.block.write_log import capture
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.image import Qcow2Image
from tests.oracle.qemu import qemu_check, qemu_img, qemu_io

MiB, KiB = 1 << 20, 1 << 10
# the base has data from here to there, half a cluster; all else is a hole
DATA = (64 * KiB, 96 * KiB)


@pytest.fixture(params=["raw", "qcow2"])
def base(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    raw = tmp_path / "base.raw"
    with raw.open("wb") as file:
        file.truncate(MiB + 512)
        os.pwrite(file.fileno(), b"x" * (DATA[1] - DATA[0]), DATA[0])
    if request.param == "raw":
        return raw
    qemu_img("convert", "-O", "qcow2", "-o", "cluster_size=4k", raw, tmp_path / "base.qcow2")
    return tmp_path / "base.qcow2"


def zeroed(base: Path, start: int, length: int, compat: str = "1.1") -> int:
    """Write zeros into a new overlay, check what it shows, and return its bytes of data."""
    image, expected = base.with_name("over.qcow2"), base.with_name("expected.raw")
    create(
        image, 2 * MiB, CreateOptions(compat=compat), backing=base, backing_format=base.suffix[1:]
    )
    with Qcow2Image.open(image, writable=True) as over:
        over.write_zeros(start, length)
        over.flush()
        held = sum(
            extent.length
            for extent in over.extents(0, over.size)
            if extent.depth == 0 and extent.kind.value == "data"
        )
    content = bytearray(2 * MiB)
    content[DATA[0] : DATA[1]] = b"x" * (DATA[1] - DATA[0])
    content[start : start + length] = bytes(length)
    expected.write_bytes(content)
    qemu_img("compare", "-F", "raw", image, expected)
    qemu_check(image)
    return held


@pytest.mark.parametrize("compat", ["1.1", "0.10"])
@pytest.mark.parametrize(
    ("start", "length"),
    [
        (200 * KiB, 4 * KiB),
        (130 * KiB, 500 * KiB),
        (MiB - 512, 2 * KiB),
        (MiB + 100, 5000),
        (96 * KiB, 32 * KiB),
    ],
)
def test_over_a_hole_they_take_nothing(base: Path, start: int, length: int, compat: str) -> None:
    assert zeroed(base, start, length, compat) == 0


@pytest.mark.parametrize("compat", ["1.1", "0.10"])
@pytest.mark.parametrize(
    ("start", "length"),
    [
        (80 * KiB, 4 * KiB),
        (40 * KiB, 30 * KiB),
        (90 * KiB, 100 * KiB),
        (65 * KiB, 2 * MiB - 65 * KiB),
    ],
)
def test_over_data_they_are_written(base: Path, start: int, length: int, compat: str) -> None:
    assert zeroed(base, start, length, compat) == 64 * KiB


@pytest.mark.parametrize("place", ["1536k", "960k"])
def test_nothing_is_kept_of_what_zeros_beyond_the_base_replace(base: Path, place: str) -> None:
    """QEMU sets zero flags there too. The base's own bytes are kept, and its end is the undo's."""
    over = base.with_name("over.qcow2")
    qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", base.suffix[1:], over, "2M")
    qemu_io(over, "write -z 64k 64k", f"write -z {place} 256k", f"write -P 1 {place} 4k")
    below = base.with_name("below.raw")
    qemu_img("convert", "-O", "raw", base, below)
    undo = RawFile.create(base.with_name("undo.raw"), MiB + 512)
    with (
        Qcow2Image.open(over) as image,
        closing(RawFile.open(below)) as device,
        closing(undo),
    ):
        capture(image, device, undo)
        assert undo.read(DATA[0], DATA[1] - DATA[0]) == b"x" * (DATA[1] - DATA[0])
        assert undo.size == MiB + 512
