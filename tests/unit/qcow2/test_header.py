"""Headers: what is refused, and what survives being written back."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.errors import ImageDamaged, ImageUnsupported
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.header import Extension, Header, read_header
from growdisk.qcow2.image import Qcow2Image

MIB = 1 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.qcow2"
    create(path, 64 * MIB)
    return path


def patch(path: Path, offset: int, value: bytes) -> bytes:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(value)
    return path.read_bytes()


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def u64(value: int) -> bytes:
    return value.to_bytes(8, "big")


DAMAGE = [
    (0, b"QFI\0", "magic"),
    (20, u32(8), "cluster size"),
    (20, u32(22), "cluster size"),
    (24, u64(1 << 63), "virtual size"),
    (36, u32(0), "L1 table has 0 entries"),
    (36, u32(0xFFFFFFFF), "L1 table has"),
    (40, u64(0), "cluster of its own"),
    (40, u64(0x30200), "cluster of its own"),
    (40, u64(1 << 40), "cut off"),
    (48, u64(0x10001), "refcount table"),
    (48, u64(1 << 50), "cut off"),
    (56, u32(0), "no refcount table"),
    (56, u32(1 << 20), "are allowed"),
    (60, u32(70000), "snapshots"),
    (60, u32(2) + u64(1 << 45), "snapshot table"),
    (72, u64(8), "compression type"),
    (96, u32(7), "refcount width"),
    (100, u32(96), "header length"),
    (100, u32(1 << 20), "header length"),
    (104, b"\1", "compression type"),
    (8, u64(0x200) + u32(2000), "backing file"),
    (8, u64(0xFFFF) + u32(100), "backing file"),
    (32, u32(3), "encryption"),
    (112, u32(0x12345678) + u32(1 << 20), "extension"),
]


@pytest.mark.parametrize(("offset", "value", "said"), DAMAGE)
def test_a_header_that_cannot_be_true_is_refused_and_left_alone(
    image: Path, offset: int, value: bytes, said: str
) -> None:
    before = patch(image, offset, value)
    with pytest.raises(ImageDamaged) as refusal:
        Qcow2Image.open(image, writable=True)
    assert said in str(refusal.value)
    assert image.read_bytes() == before


@pytest.mark.parametrize(
    ("offset", "value", "said"),
    [
        (4, u32(1), "version 1"),
        (4, u32(4), "version 4"),
        (72, u64(1 << 40), "bit 40"),
    ],
)
def test_what_growdisk_does_not_know_is_refused_by_name(
    image: Path, offset: int, value: bytes, said: str
) -> None:
    before = patch(image, offset, value)
    with pytest.raises(ImageUnsupported) as refusal:
        Qcow2Image.open(image, writable=True)
    assert said in str(refusal.value)
    assert image.read_bytes() == before


def test_an_unknown_feature_is_named_by_the_images_own_table(image: Path) -> None:
    raw = image.read_bytes()
    where = raw.index(b"dirty bit") - 2
    patch(image, where, b"\0\x28" + b"time travel".ljust(46, b"\0"))
    patch(image, 72, u64(1 << 40))
    with pytest.raises(ImageUnsupported, match="time travel"):
        Qcow2Image.open(image)


def test_a_file_cut_off_inside_its_tables_is_refused(image: Path) -> None:
    image.open("r+b").truncate(image.stat().st_size - 65536)
    with pytest.raises(ImageDamaged, match="cut off"):
        Qcow2Image.open(image)


def test_a_corrupt_image_opens_for_reading_only(image: Path) -> None:
    patch(image, 72, u64(2))
    with pytest.raises(ImageDamaged, match="marked as corrupt"):
        Qcow2Image.open(image, writable=True)
    with Qcow2Image.open(image) as opened:
        assert opened.read(0, 100) == bytes(100)


def test_the_bytes_behind_a_version_2_header_are_extensions_not_features(tmp_path: Path) -> None:
    path = tmp_path / "v2.qcow2"
    create(path, 64 * MIB, CreateOptions(compat="0.10"), backing=Path("base"), backing_format="raw")
    with closing(RawFile.open(path)) as file:
        header = read_header(file, path)
    assert (header.incompatible, header.refcount_bits, header.backing_format) == (0, 16, "raw")


def test_unknown_fields_and_extensions_survive_being_written_back(image: Path) -> None:
    with closing(RawFile.open(image)) as file:
        header = read_header(file, image)
    strange = replace(
        header,
        header_length=128,
        late_fields=bytes(8) + b"sixteen bytes ok",
        extensions=(Extension(0x12345678, b"odd length"), *header.extensions),
        backing_file="base",
    )
    raw = strange.to_bytes()
    again = Header.parse(raw.ljust(65536, b"\0"), image, image.stat().st_size)
    assert again == strange
    assert again.to_bytes() == raw


def test_an_unknown_autoclear_bit_is_cleared_by_the_first_change_and_not_before(
    image: Path,
) -> None:
    before = patch(image, 88, u64(1 << 7))
    with Qcow2Image.open(image, writable=True):
        pass
    assert image.read_bytes() == before
    with Qcow2Image.open(image, writable=True) as opened:
        opened.write(0, b"x")
    assert image.read_bytes()[88:96] == bytes(8)
