"""We read what QEMU writes: every kind of cluster, geometry and chain."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from growdisk.block.device import ExtentKind
from growdisk.qcow2.image import Qcow2Image
from tests.oracle.guest_view import guest_bytes, qemu, qemu_io, read_all

MATRIX = [
    "compat=0.10", "compat=0.10,cluster_size=512", "compat=1.1",
    "cluster_size=1k,refcount_bits=64", "cluster_size=4096,refcount_bits=8",
    "cluster_size=2M,refcount_bits=1", "cluster_size=128k,refcount_bits=32,lazy_refcounts=on",
    "compression_type=zstd", "compression_type=zstd,cluster_size=4096,refcount_bits=4",
    "preallocation=metadata",
]  # fmt: skip


@pytest.mark.parametrize("options", MATRIX)
def test_all_kinds_of_clusters_read_as_qemu_reads_them(tmp_path: Path, options: str) -> None:
    path = tmp_path / "image.qcow2"
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, "16M")
    compressed = "write" if "preallocation" in options else "write -c"
    zero = "write -z" if "0.10" not in options else "write -P 0"
    qemu_io(
        path, "write -P 1 0 3M", f"{compressed} -P 2 4M 2M", f"{compressed} -P 3 6M 2M",
        f"{zero} 1M 1M", "write -P 4 1500k 1k", f"{zero} 9M 100k", "discard 2M 512k",
        "write -P 5 15M 1M",
    )  # fmt: skip
    with Qcow2Image.open(path) as image:
        whole = image.read(0, image.size)
        assert whole == guest_bytes(path, tmp_path)
        for offset in range(0, image.size - 70000, 999_983):
            assert image.read(offset, 70000) == whole[offset : offset + 70000]
        for extent in image.extents(0, image.size):
            if extent.kind is ExtentKind.ZERO:
                assert not any(whole[extent.start : extent.end])


def test_a_chain_of_different_formats_and_lengths_reads_through(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    base = tmp_path / "base.raw"
    middle = tmp_path / "sub" / "middle.qcow2"
    top = tmp_path / "top.qcow2"
    base.write_bytes(b"\x11" * (3 << 20))
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-b", "../base.raw", "-F", "raw", middle, "2M")
    qemu_io(middle, "write -P 2 1M 100k")
    qemu(
        "qemu-img", "create", "-q", "-f", "qcow2", "-b", "sub/middle.qcow2", "-F", "qcow2", top,
        "4M",
    )  # fmt: skip
    qemu_io(top, "write -P 3 1536k 3k", "write -z 0 64k")
    assert read_all(top) == guest_bytes(top, tmp_path)
    with Qcow2Image.open(top) as image:
        extents = [(e.start, e.end, e.kind.value, e.depth) for e in image.extents(0, image.size)]
        own = [(e.start, e.end, e.kind.value, e.depth) for e in image.own_extents()]
    assert own == [extent for extent in extents if extent[3] == 0]
    assert extents == [
        (0, 64 << 10, "zero", 0),
        (64 << 10, 1 << 20, "data", 2),
        (1 << 20, (1 << 20) + (128 << 10), "data", 1),
        ((1 << 20) + (128 << 10), 1536 << 10, "data", 2),
        (1536 << 10, 1600 << 10, "data", 0),
        (1600 << 10, 2 << 20, "data", 2),
        (2 << 20, 4 << 20, "zero", -1),
    ]


def test_a_compressed_cluster_at_the_ragged_end_of_the_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "image.qcow2"
    source = tmp_path / "source.raw"
    source.write_bytes(bytes(range(256)) * 256)
    qemu("qemu-img", "convert", "-c", "-O", "qcow2", source, path)
    os.truncate(path, path.stat().st_size - 50)  # QEMU pads the last sector; older versions did not
    assert read_all(path) == source.read_bytes()


def test_an_older_header_without_a_compression_type_is_read_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "image.qcow2"
    qemu("qemu-img", "create", "-q", "-f", "qcow2", path, "8M")
    raw = bytearray(path.read_bytes())
    raw[100:104] = (104).to_bytes(4, "big")
    raw[104 : 65536 - 8] = raw[112:65536]  # the extensions follow at once
    path.write_bytes(raw)
    with Qcow2Image.open(path, writable=True) as image:
        image.resize(16 << 20)
        image.create_snapshot("one")
        image.write(0, b"x" * 100)
    assert '"compat": "1.1"' in qemu("qemu-img", "info", "--output=json", path)
    assert path.read_bytes()[100:104] == (104).to_bytes(4, "big")
    qemu("qemu-img", "check", path)


@pytest.mark.parametrize("options", ["compat=0.10", "cluster_size=4k", "extended_l2=on"])
def test_a_flag_without_a_cluster_means_nothing_and_is_written_over(
    tmp_path: Path, options: str
) -> None:
    """An L2 entry with COPIED alone: QEMU reads through it, and its check calls it clean."""
    base, top = tmp_path / "base.raw", tmp_path / "top.qcow2"
    base.write_bytes(b"\x11" * (1 << 20))
    qemu(
        "qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "-b", "base.raw", "-F", "raw", top
    )
    qemu_io(top, "write -P 2 0 64k")
    with Qcow2Image.open(top) as image:
        l1, width = image.header.l1_offset, 16 if image.header.geometry.extended_l2 else 8
    with top.open("r+b") as file:
        file.seek(l1)
        l2 = int.from_bytes(file.read(8), "big") & ((1 << 56) - 512)
        for entry in range(65536 * 2 >> 12 if "4k" in options else 2, 40 if "4k" in options else 4):
            file.seek(l2 + width * entry)
            file.write((1 << 63).to_bytes(8, "big"))
    assert read_all(top) == guest_bytes(top, tmp_path)
    with Qcow2Image.open(top, writable=True) as image:
        image.write(130 << 10, b"\x05" * 1000)
        image.write_zeros(192 << 10, 64 << 10)
    qemu("qemu-img", "check", top)
    assert read_all(top) == guest_bytes(top, tmp_path)
