"""The options of a new image: how they are written, and what they refuse."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from growdisk.errors import ImageError, ImageUnsupported, UsageError
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.image import Qcow2Image
from tests.unit.qcow2.full_disk import FullDisk

MIB = 1 << 20


def test_options_are_written_as_for_qemu_img() -> None:
    assert CreateOptions.parse("") == CreateOptions()
    assert CreateOptions.parse("cluster_size=4k,compat=v2") == CreateOptions(4096, "0.10")
    options = CreateOptions.parse(
        "cluster_size=65536,lazy_refcounts=on,compression_type=zstd,preallocation=full"
    )
    assert (options.lazy_refcounts, options.compression_type) == (True, "zstd")
    assert options.preallocation == "full"


@pytest.mark.parametrize(
    "text",
    [
        "cluster_size", "colour=red", "compat=2.0", "lazy_refcounts=maybe", "cluster_size=x",
        "cluster_size=100k",
        "cluster_size=4M", "cluster_size=256", "refcount_bits=128", "refcount_bits=0",
    ],
)  # fmt: skip
def test_an_option_that_does_not_exist_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        CreateOptions.parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extended_l2=on,cluster_size=8k", "16 KiB or more"),
        ("extended_l2=on,compat=0.10", "extended_l2 needs compat=1.1"),
        ("compat=0.10,refcount_bits=8", "refcount_bits needs compat=1.1"),
        ("compat=0.10,lazy_refcounts=on", "lazy_refcounts needs compat=1.1"),
        ("compat=0.10,compression_type=zstd", "compression_type needs compat=1.1"),
    ],
)
def test_options_that_cannot_be_together_are_refused_and_no_file_is_made(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(ImageUnsupported, match=said):
        create(tmp_path / "image", MIB, CreateOptions.parse(text))
    assert list(tmp_path.iterdir()) == []


def test_a_preallocated_image_cannot_have_a_backing_file(tmp_path: Path) -> None:
    with pytest.raises(ImageUnsupported, match="hide its backing file"):
        create(
            tmp_path / "image", MIB, CreateOptions(preallocation="metadata"), backing=Path("base")
        )


def test_a_disk_that_shrinks_has_nothing_to_preallocate(tmp_path: Path) -> None:
    create(tmp_path / "image", 2 * MIB)
    before = (tmp_path / "image").read_bytes()
    with (
        Qcow2Image.open(tmp_path / "image", writable=True) as image,
        pytest.raises(ImageUnsupported),
    ):
        image.resize(MIB, preallocation="full")
    assert (tmp_path / "image").read_bytes() == before


def test_a_full_disk_fails_a_preallocated_growth_and_the_old_disk_stays_usable(
    tmp_path: Path,
) -> None:
    path = tmp_path / "image"
    create(path, 2 * MIB)
    image = Qcow2Image.over(FullDisk(path, room=MIB), path, writable=True)
    image.write(0, b"\1" * 100_000)
    with pytest.raises(OSError) as failure:
        image.resize(64 * MIB, preallocation="full")
    assert failure.value.errno == errno.ENOSPC
    image.close()
    with Qcow2Image.open(path, writable=True) as image:
        assert image.size == 2 * MIB
        image.resize(64 * MIB)
        assert image.read(0, 64 * MIB) == (b"\1" * 100_000).ljust(64 * MIB, b"\0")


def test_a_data_file_is_made_beside_the_image_and_gone_with_it_if_that_fails(
    tmp_path: Path,
) -> None:
    path = tmp_path / "image"
    create(path, MIB, CreateOptions(data_file="data", data_file_raw=True))
    assert (tmp_path / "data").read_bytes() == bytes(MIB)
    with Qcow2Image.open(path, writable=True) as image:
        image.write(1000, b"\1" * 1000)
        image.write_zeros(1500, 100_000)
        image.resize(2 * MIB)
    assert (tmp_path / "data").read_bytes() == bytes(1000) + b"\1" * 500 + bytes(2 * MIB - 1500)
    with pytest.raises(ImageError, match="it exists already"):
        create(tmp_path / "other", MIB, CreateOptions(data_file="data"))
    for options, said in (
        (CreateOptions(data_file_raw=True), "has none"),
        (CreateOptions(compat="0.10", data_file="new"), "data_file needs compat=1.1"),
    ):
        with pytest.raises(ImageUnsupported, match=said):
            create(tmp_path / "other", MIB, options)
    with pytest.raises(ImageUnsupported, match="raw data file"):
        create(
            tmp_path / "other",
            MIB,
            CreateOptions(data_file="n", data_file_raw=True),
            backing=Path("base"),
        )
    with pytest.raises(ImageUnsupported, match="not a raw image"):
        create(
            tmp_path / "other",
            MIB,
            CreateOptions(data_file="n", data_file_raw=True),
            key=b"x",
            key_seconds=0.001,
        )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data", "image"]
