"""Compressed clusters that we write and QEMU reads and continues, and the other way round."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.api.images.data_copy import copy_compressed
from growdisk.block.raw import RawFile
from growdisk.qcow2.compress import compressor
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.image import Qcow2Image
from tests.oracle.qemu import qemu_check, qemu_img, qemu_io

MATRIX = [
    "cluster_size=512", "cluster_size=512,compression_type=zstd,refcount_bits=2",
    "cluster_size=4k,refcount_bits=4", "cluster_size=4k,compression_type=zstd", "compat=0.10", "",
    "compression_type=zstd", "cluster_size=2M",
    "cluster_size=2M,compression_type=zstd,refcount_bits=1",
]  # fmt: skip


def guest_data(size: int, seed: int) -> bytes:
    """Text, noise and zeros, which shrink a lot, not at all, and to nothing, in many lengths."""
    chance, parts = random.Random(seed), []
    while sum(map(len, parts)) < size:
        length = chance.randrange(1, 40_000)
        words = b" ".join(
            chance.choices((b"grow", b"disk", b"%d" % chance.randrange(99)), k=100)
        ) * (length // 400)
        half = b"".join(bytes([value, 0]) for value in chance.randbytes(length // 2))
        parts.append(chance.choice((words, half, chance.randbytes(length), bytes(length))))
    return b"".join(parts)[:size]


def same_as(path: Path, wanted: bytes) -> None:
    raw = path.with_suffix(".raw")
    raw.write_bytes(wanted)
    assert qemu_check(path)[0] == 0
    assert "identical" in qemu_img("compare", "-f", "qcow2", "-F", "raw", path, raw)


@pytest.mark.parametrize("options", MATRIX)
def test_an_image_compressed_in_threads_is_what_qemu_reads_and_as_small(
    tmp_path: Path, options: str
):
    path, theirs = tmp_path / "ours.qcow2", tmp_path / "theirs.qcow2"
    shape = CreateOptions.parse(options)
    cluster = shape.cluster_size
    data = guest_data((7 << 20 if cluster > 65536 else 300 * min(cluster, 6000)) + 512, seed=1)
    data = data[: len(data) // 512 * 512]
    create(path, len(data), shape)
    (tmp_path / "raw").write_bytes(data)
    raw = RawFile.open(tmp_path / "raw")
    with closing(raw), Qcow2Image.open(path, writable=True) as image:
        copy_compressed(
            raw, image, compressor(image.header.compression_type), lambda *_: None, jobs=2
        )
        assert image.read(0, len(data)) == data
    same_as(path, data)
    convert = ("convert", "-c", "-f", "raw", "-O", "qcow2", *(["-o", options] if options else []))
    qemu_img(*convert, tmp_path / "raw", theirs)
    assert path.stat().st_size <= theirs.stat().st_size * 1.05 + 3 * cluster
    if shape.refcount_bits > 2:
        assert (
            qemu_check(path)[1]["compressed-clusters"]
            >= qemu_check(theirs)[1]["compressed-clusters"]
        )


@pytest.mark.parametrize("options", MATRIX)
def test_compressed_and_other_writes_mix_in_any_order_with_snapshots_between(
    tmp_path: Path, options: str
):
    shape, chance = CreateOptions.parse(options), random.Random(options)
    path, cluster = tmp_path / "image.qcow2", shape.cluster_size
    size = 24 * cluster + 512
    create(path, size, shape)
    model, kept = bytearray(size), None
    image = Qcow2Image.open(path, writable=True)
    pieces = [guest_data(cluster, seed) for seed in range(5)]
    for _ in range(30 if cluster > 65536 else 120):
        start = chance.randrange(25) * cluster
        piece = chance.choice(pieces)[: size - start]
        what = chance.random()
        if what < 0.6:
            image.write_compressed(start, piece)
            model[start : start + len(piece)] = piece
        elif what < 0.8:
            image.write(start + 100, piece[:300])
            model[start + 100 : start + 100 + len(piece[:300])] = piece[:300]
        elif what < 0.9:
            image.write_zeros(start, len(piece))
            model[start : start + len(piece)] = bytes(len(piece))
        elif what < 0.95 and kept is None and shape.refcount_bits > 4:
            image.create_snapshot("kept")
            kept = bytes(model)
        elif kept is not None and what < 0.97:
            image.apply_snapshot("kept")
            model = bytearray(kept)
        else:
            image.close()
            same_as(path, bytes(model))
            image = Qcow2Image.open(path, writable=True)
        assert image.read(start, len(piece)) == model[start : start + len(piece)]
    assert image.read(0, size) == model
    image.close()
    same_as(path, bytes(model))
    with Qcow2Image.open(path, writable=True) as image:
        image.discard(3 * cluster, cluster)  # QEMU compresses into empty clusters only
    qemu_io(path, f"write -P 9 {cluster} {cluster}", f"write -c -P 8 {3 * cluster} {cluster}")
    model[cluster : 2 * cluster] = b"\x09" * cluster
    model[3 * cluster : 4 * cluster] = b"\x08" * cluster
    with Qcow2Image.open(path, writable=True) as image:
        image.write_compressed(0, b"\1" * cluster)
        model[:cluster] = b"\1" * cluster
        assert image.read(0, size) == model
    same_as(path, bytes(model))
