"""Writing compressed clusters: what shares a host cluster, what does not, and what is refused."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from growdisk.qcow2.check.checker import check
from growdisk.qcow2.compress import compressor, inflate, unpacker
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.entries import COMPRESSED, CompressedRange
from growdisk.qcow2.image import Qcow2Image
from tests.unit.qcow2.full_disk import FullDisk

MIB = 1 << 20
CLUSTER = 65536
NOISE = random.Random(1).randbytes(CLUSTER)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    create(tmp_path / "image", 4 * MIB)
    return tmp_path / "image"


def assert_sound(path: Path, compressed: int) -> None:
    with Qcow2Image.open(path) as opened:
        report = check(opened.host_file, path)
    assert report.is_clean, report.problems
    assert report.compressed_clusters == compressed


@pytest.mark.parametrize("kind", [0, 1])
def test_what_is_compressed_comes_back_whatever_follows_it(kind: int) -> None:
    cluster = b"some words, " * 300 + NOISE[:500]
    packed = compressor(kind)(cluster)
    assert packed is not None
    for unpack in (unpacker(kind), inflate if kind == 0 else unpacker(kind)):
        found = bytearray(len(cluster))
        unpack(memoryview(bytearray(packed + NOISE)), memoryview(found))
        assert found == cluster
    assert compressor(kind)(NOISE) is None


def test_a_cluster_of_several_zstd_frames_is_whole() -> None:
    one, other = b"first " * 500, b"second " * 500
    packed = [compressor(1)(part) for part in (one, other)]
    found = bytearray(len(one + other))
    unpacker(1)(memoryview(bytearray(b"".join(filter(None, packed)) + NOISE)), memoryview(found))
    assert found == one + other


@pytest.mark.parametrize("kind", [0, 1])
def test_a_broken_cluster_is_told_and_the_next_one_is_not_its_victim(kind: int) -> None:
    cluster = b"some words, " * 300
    packed, unpack = compressor(kind)(cluster), unpacker(kind)
    assert packed is not None
    for broken in (packed[: len(packed) // 2], b"\xff" * len(packed)):
        with pytest.raises(ValueError, match=r"\w"):
            unpack(memoryview(bytearray(broken)), memoryview(bytearray(len(cluster))))
        found = bytearray(len(cluster))
        unpack(memoryview(bytearray(packed)), memoryview(found))
        assert found == cluster


@pytest.mark.parametrize("bits", range(9, 22))
def test_an_entry_names_the_bytes_wherever_they_lie(bits: int) -> None:
    chance = random.Random(bits)
    for _ in range(200):
        length = chance.randrange(1, 1 << bits)
        offset = chance.choice((chance.randrange(1 << 20), chance.randrange(1 << 48)))
        entry = CompressedRange(offset, length).entry(bits)
        decoded = CompressedRange.of(entry, bits)
        assert entry >> 62 == 1
        assert entry & COMPRESSED
        assert decoded.offset == offset
        assert length <= decoded.length < length + 512


def test_small_clusters_share_a_host_cluster_and_noise_is_stored_as_it_is(image: Path) -> None:
    with Qcow2Image.open(image, writable=True) as opened:
        before = image.stat().st_size
        for index in range(20):
            opened.write_compressed(index * CLUSTER, bytes([index]) * CLUSTER)
        opened.flush()
        assert image.stat().st_size == before + 2 * CLUSTER  # an L2 table and one shared cluster
        opened.write_compressed(20 * CLUSTER, NOISE)
        assert (
            opened.read(0, 21 * CLUSTER)
            == b"".join(bytes([i]) * CLUSTER for i in range(20)) + NOISE
        )
    assert_sound(image, 20)


def test_a_shared_cluster_that_was_freed_meanwhile_is_not_written_into(image: Path) -> None:
    with Qcow2Image.open(image, writable=True) as opened:
        opened.write_compressed(0, b"\1" * CLUSTER)
        opened.discard(0, CLUSTER)
        opened.flush()
        opened.write(CLUSTER, NOISE)  # takes the freed cluster
        opened.write_compressed(0, b"\2" * CLUSTER)
        assert opened.read(0, 2 * CLUSTER) == b"\2" * CLUSTER + NOISE
    assert_sound(image, 1)


def test_a_compressed_cluster_at_the_same_place_is_not_taken_for_the_old_one(image: Path) -> None:
    with Qcow2Image.open(image, writable=True) as opened:
        for round_ in range(20):
            opened.write_compressed(0, bytes([round_]) * CLUSTER)
            assert opened.read(0, CLUSTER) == bytes([round_]) * CLUSTER
            opened.flush()
    assert_sound(image, 1)


def test_a_count_that_is_full_opens_a_new_shared_cluster(tmp_path: Path) -> None:
    path = tmp_path / "image"
    create(path, 4 * MIB, CreateOptions(refcount_bits=2))
    with Qcow2Image.open(path, writable=True) as opened:
        for index in range(10):
            opened.write_compressed(index * CLUSTER, bytes([index]) * CLUSTER)
        assert opened.read(0, 10 * CLUSTER) == b"".join(bytes([i]) * CLUSTER for i in range(10))
    assert_sound(path, 10)


@pytest.mark.parametrize(("offset", "length"), [(512, CLUSTER), (0, 512), (0, CLUSTER + 1), (0, 0)])
def test_what_is_not_a_cluster_is_the_callers_mistake(
    image: Path, offset: int, length: int
) -> None:
    before = image.read_bytes()
    with (
        Qcow2Image.open(image, writable=True) as opened,
        pytest.raises(ValueError, match="cluster"),
    ):
        opened.write_compressed(offset, bytes(length))
    assert image.read_bytes() == before


def test_the_disks_last_cluster_may_be_partial(tmp_path: Path) -> None:
    create(tmp_path / "image", MIB + 512)
    with Qcow2Image.open(tmp_path / "image", writable=True) as opened:
        opened.write_compressed(MIB, b"\5" * 512)
        assert opened.read(MIB, 512) == b"\5" * 512
        opened.resize(2 * MIB)
        assert opened.read(MIB, 1024) == b"\5" * 512 + bytes(512)
    assert_sound(tmp_path / "image", 0)  # growing wrote zeros beyond the old end


def test_a_full_disk_fails_a_compressed_write_and_leaves_the_old_content(image: Path) -> None:
    noise = NOISE[: CLUSTER // 2] + bytes(CLUSTER // 2)
    with Qcow2Image.over(FullDisk(image, room=4 * CLUSTER), image, writable=True) as opened:
        with pytest.raises(OSError, match="No space left"):
            for index in range(40):
                opened.write_compressed(index * CLUSTER, noise)
        assert opened.read(0, CLUSTER) == noise
    with Qcow2Image.open(image) as opened:
        assert check(opened.host_file, image).leaks == 0
