"""Images whose refcounts are lost, wrong or elsewhere: readable, repaired by check -r all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from growdisk.api.images.checking import check_image
from growdisk.qcow2.header import Header
from tests.oracle.qemu import qemu_check, qemu_img, qemu_io
from tests.unit.cli.command import growdisk

OFFSET, CLUSTERS, L1_OFFSET = 48, 56, 40
Damage = Callable[[bytearray], None]


def number(image: bytearray, offset: int, width: int = 8) -> int:
    return int.from_bytes(image[offset : offset + width], "big")


def put(image: bytearray, offset: int, value: int, width: int = 8) -> None:
    image[offset : offset + width] = value.to_bytes(width, "big")


def l2_table(image: bytearray) -> int:
    return number(image, number(image, L1_OFFSET)) & 0x00FFFFFFFFFFFE00


def data_cluster(image: bytearray) -> int:
    return number(image, l2_table(image)) & 0x00FFFFFFFFFFFE00


DAMAGES: dict[str, Damage] = {
    "table beyond the end": lambda image: put(image, OFFSET, 0x77770000),
    "table far beyond the end": lambda image: put(image, OFFSET, 1 << 62),
    "table between clusters": lambda image: put(image, OFFSET, number(image, OFFSET) + 512),
    "table nowhere": lambda image: put(image, OFFSET, 0),
    "table on the L1 table": lambda image: put(image, OFFSET, number(image, L1_OFFSET)),
    "table on an L2 table": lambda image: put(image, OFFSET, l2_table(image)),
    "table on data": lambda image: put(image, OFFSET, data_cluster(image)),
    "table without clusters": lambda image: put(image, CLUSTERS, 0, 4),
    "table of too many clusters": lambda image: put(image, CLUSTERS, 1 << 20, 4),
    "table of zeros": lambda image: put(image, number(image, OFFSET), 0),
    "block beyond the end": lambda image: put(image, number(image, OFFSET), 0x77770000),
    "block between clusters": lambda image: put(image, number(image, OFFSET), 0xDEADBE00),
    "reserved bits": lambda image: put(
        image, number(image, OFFSET), number(image, number(image, OFFSET)) | 1
    ),
    "block on the header": lambda image: put(image, number(image, OFFSET) + 8, 4096),
    "block on the table": lambda image: put(image, number(image, OFFSET), number(image, OFFSET)),
    "block on an L2 table": lambda image: put(image, number(image, OFFSET), l2_table(image)),
    "block on data": lambda image: put(image, number(image, OFFSET), data_cluster(image)),
    "two entries with one block": lambda image: put(
        image, number(image, OFFSET) + 8, number(image, number(image, OFFSET))
    ),
    "all counts zero": lambda image: image.__setitem__(
        slice(number(image, number(image, OFFSET)), number(image, number(image, OFFSET)) + 4096),
        bytes(4096),
    ),
}


@pytest.fixture(params=["compat=1.1", "compat=0.10"])
def sound(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An image with data and a snapshot, in small clusters."""
    path = tmp_path / "sound.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", f"cluster_size=4k,{request.param}", path, "4M")
    qemu_io(path, "write -P 1 0 300k")
    qemu_img("snapshot", "-c", "one", path)
    qemu_io(path, "write -P 2 64k 100k")
    return path


@pytest.mark.parametrize("name", DAMAGES)
def test_it_is_read_as_it_is_and_mended(name: str, sound: Path, tmp_path: Path) -> None:
    image, data = tmp_path / "image.qcow2", bytearray(sound.read_bytes())
    DAMAGES[name](data)
    assert data != sound.read_bytes()
    image.write_bytes(data)
    assert growdisk("image", "compare", image, sound).code == 0
    assert growdisk("image", "convert", image, tmp_path / "copy.qcow2").code == 0
    qemu_img("compare", sound, tmp_path / "copy.qcow2")
    assert growdisk("image", "map", image).code == 0
    assert image.read_bytes() == data

    checked = growdisk("image", "check", image)
    assert checked.code == 2 and f"growdisk image check -r all {image}" in checked.err
    written = growdisk("image", "write", image, "1M", sound)
    if written.code:  # a change may find room without meeting what is wrong
        assert written.code == 3 and f"growdisk image check -r all {image}" in written.err
        assert image.read_bytes() == data
    image.write_bytes(data)

    assert growdisk("image", "check", "-r", "all", image).code == 0
    assert qemu_check(image)[0] == 0
    qemu_img("compare", sound, image)
    assert growdisk("image", "snapshot", "apply", image, "one").code == 0
    qemu_io(image, "read -P 1 0 300k")
    report = check_image(image)
    assert report is not None and report.is_clean


def test_a_repair_that_is_not_asked_for_changes_nothing(sound: Path) -> None:
    data = bytearray(sound.read_bytes())
    DAMAGES["table beyond the end"](data)
    sound.write_bytes(data)
    assert growdisk("image", "check", "-r", "leaks", sound).code == 1
    assert sound.read_bytes() == data


def test_what_cannot_be_mended_is_not_promised(sound: Path) -> None:
    data = bytearray(sound.read_bytes())
    put(data, number(data, L1_OFFSET), 0x77770000)
    sound.write_bytes(data)
    answer = growdisk("image", "convert", sound, sound.with_name("new.raw"))
    assert answer.code == 3 and "growdisk image check -r all" not in answer.err
    assert growdisk("image", "check", "-r", "all", sound).code != 0
    assert Header.parse(bytes(data), sound, len(data)).l1_size
