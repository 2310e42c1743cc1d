"""New images with every option, next to QEMU's: `qemu-img info` and `check` must agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from growdisk.api.images.creating import create_qcow2
from growdisk.errors import GrowdiskError, UsageError, error_id
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.image import Qcow2Image
from tests.oracle.qemu import qemu_check, qemu_img, qemu_io

MIB = 1 << 20
MATRIX = [
    "", "compat=0.10", "compat=v2,cluster_size=512,preallocation=metadata",
    "compat=v3,cluster_size=2M,preallocation=metadata", "lazy_refcounts=on,refcount_bits=1",
    "compression_type=zstd,refcount_bits=64,cluster_size=4k", "cluster_size=512",
    "preallocation=metadata", "preallocation=metadata,cluster_size=1k,refcount_bits=2",
    "preallocation=falloc", "preallocation=full,cluster_size=4096", "extended_l2=on",
    "extended_l2=on,cluster_size=16k,preallocation=metadata",
]  # fmt: skip


def described(image: Path) -> dict[str, object]:
    answer = json.loads(qemu_img("info", "--output=json", image))
    return {
        key: answer[key]
        for key in ("virtual-size", "cluster-size", "format-specific", "dirty-flag")
    }


@pytest.mark.parametrize("options", MATRIX)
def test_a_new_image_is_to_qemu_what_its_own_would_be(tmp_path: Path, options: str):
    ours, theirs = tmp_path / "ours.qcow2", tmp_path / "theirs.qcow2"
    create(ours, 5 * MIB + 512, CreateOptions.parse(options))
    qemu_img(
        "create", "-f", "qcow2", *(["-o", options] if options else []), theirs, str(5 * MIB + 512)
    )
    assert described(ours) == described(theirs)
    (code, counts), (_, wanted) = qemu_check(ours), qemu_check(theirs)
    assert code == 0
    for key in ("total-clusters", "allocated-clusters", "compressed-clusters"):
        assert counts[key] == wanted[key]
    assert qemu_img("compare", ours, theirs).startswith("Images are identical")
    if "falloc" in options or "full" in options:
        assert ours.stat().st_blocks * 512 >= 5 * MIB
    else:
        # tables
        assert ours.stat().st_blocks * 512 < MIB + 3 * CreateOptions.parse(options).cluster_size
    qemu_io(ours, "write -P 7 1M 300k", "read -P 7 1M 300k", "read -P 0 2M 1M")
    with Qcow2Image.open(ours, writable=True) as image:
        image.write(3 * MIB, b"\1" * 1000)
    assert qemu_check(ours)[0] == 0


@pytest.mark.parametrize("mode", ["metadata", "falloc", "full"])
@pytest.mark.parametrize("options", ["", "cluster_size=512", "cluster_size=2M", "compat=0.10"])
def test_grown_space_is_preallocated_and_reads_as_zeros(tmp_path: Path, options: str, mode: str):
    path, base = tmp_path / "image.qcow2", tmp_path / "base.raw"
    base.write_bytes(b"\7" * 3 * MIB)
    create(path, 2 * MIB + 512, CreateOptions.parse(options), backing=base, backing_format="raw")
    with Qcow2Image.open(path, writable=True) as image:
        image.write(0, b"\1" * 2 * MIB)
        image.resize(MIB)  # what this frees is full of ones and is used again
        image.resize(2 * MIB + 512)
        image.resize(4 * MIB, preallocation=mode)
        assert image.read(0, MIB) == b"\1" * MIB
        assert not any(image.read(MIB, 3 * MIB))
    assert qemu_check(path)[0] == 0
    records = json.loads(qemu_img("map", "--output=json", path))
    last = records[-1]
    assert last["start"] + last["length"] == 4 * MIB
    assert all(record["present"] for record in records if record["start"] >= 2 * MIB + 512)
    assert last["data"]
    qemu_io(path, "read -P 1 0 1M", "read -P 0 1M 3M")


def test_a_data_file_that_is_there_already_is_named_and_kept(tmp_path: Path):
    (data := tmp_path / "data").write_bytes(b"mine")
    with pytest.raises(GrowdiskError) as caught:
        create_qcow2(tmp_path / "image", MIB, CreateOptions(data_file="data"))
    assert (error_id(caught.value), str(data) in str(caught.value)) == ("destination-exists", True)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert data.read_bytes() == b"mine"


def test_an_image_that_would_be_its_own_data_file_leaves_nothing(tmp_path: Path):
    with pytest.raises(GrowdiskError):
        create_qcow2(tmp_path / "image", MIB, CreateOptions(data_file="image"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError):
        CreateOptions.parse("data_file=")
