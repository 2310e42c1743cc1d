"""Our check and repair judged by qemu-img check: on images of all sorts, sound and damaged."""

from __future__ import annotations

import os
import random
import struct
import time
from pathlib import Path

import pytest

from growdisk.api.images.checking import check_image
from growdisk.block.raw import RawFile
from growdisk.errors import ImageDamaged
from growdisk.qcow2.check.checker import CheckReport, check
from growdisk.qcow2.header import Header
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.repair import repair
from tests.oracle.damage import (
    DAMAGES,
    change,
    empty_refcount_block,
    first_l2_table,
    forget_all_snapshots,
)
from tests.oracle.encrypted import their_luks
from tests.oracle.qemu import COUNTS, qemu_check, qemu_img, qemu_io

OPTIONS = (
    "compat=0.10", "compat=0.10,cluster_size=512", "cluster_size=512,refcount_bits=1",
    "cluster_size=1k,refcount_bits=2", "cluster_size=4k,refcount_bits=4", "refcount_bits=8",
    "cluster_size=512,refcount_bits=64", "refcount_bits=32,lazy_refcounts=on", "cluster_size=2M",
    "extended_l2=on", "extended_l2=on,cluster_size=16k", "compression_type=zstd",
    "preallocation=metadata",
)  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_a_sound_image_has_the_numbers_of_qemu(tmp_path: Path, options: str):
    image = make_image(tmp_path, options)
    assert_same_as_qemu(image)
    assert our_check(image).is_clean


@pytest.mark.parametrize("options", OPTIONS)
def test_after_snapshots_and_writes_the_numbers_are_those_of_qemu(tmp_path: Path, options: str):
    image = make_image(tmp_path, options)
    if "refcount_bits=1" in options:
        pytest.skip("a refcount of one bit allows no snapshot")
    for name in ("one", "two"):
        qemu_img("snapshot", "-c", name, image)
        qemu_io(image, "write -P 5 1M 300k", "write -z 1200k 64k", "discard 100k 64k")
    assert_same_as_qemu(image)
    assert our_check(image).is_clean


def test_persistent_bitmaps_are_counted(tmp_path: Path):
    image = make_image(tmp_path, "cluster_size=4k")
    qemu_img("bitmap", "--add", image, "first")
    qemu_img("bitmap", "--add", "-g", "512", image, "second")
    qemu_io(image, "write 2M 1M")
    assert_same_as_qemu(image)
    assert our_check(image).is_clean


def test_an_encryption_header_is_counted(tmp_path: Path):
    image = their_luks(tmp_path / "luks.qcow2", "10M")
    assert our_check(image).is_clean  # qemu-img check itself would need the key


def test_an_external_data_file_has_no_clusters_in_the_image(tmp_path: Path):
    image = tmp_path / "with-data.qcow2"
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={tmp_path / 'data.raw'}", image, "10M")
    qemu_io(image, "write 0 2M", "write 5M 64k")
    assert_same_as_qemu(image)
    assert our_check(image).is_clean


def test_a_cluster_that_eight_hundred_compressed_clusters_share_is_counted_as_often(tmp_path: Path):
    raw, image = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    raw.write_bytes(b"abc" * (20 << 20))
    qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", raw, image)
    qemu_img("snapshot", "-c", "one", image)
    assert_same_as_qemu(image)
    assert our_check(image).is_clean
    change(image, empty_refcount_block)
    assert_same_as_qemu(image)
    assert our_repair(image, errors=True).is_clean
    assert qemu_check(image)[0] == 0


def test_tables_that_three_hundred_snapshots_share_are_counted_three_hundred_times(tmp_path: Path):
    image = make_image(tmp_path, "cluster_size=64k")
    with Qcow2Image.open(image, writable=True) as disk:
        for number in range(300):
            disk.create_snapshot(f"s{number}")
    assert_same_as_qemu(image)
    assert our_check(image).is_clean


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_image_has_the_numbers_of_qemu_and_is_clean_after_repair(
    tmp_path: Path, seed: int
):
    chance = random.Random(seed)
    options = OPTIONS[seed % len(OPTIONS)]
    image = make_image(tmp_path, options)
    if chance.random() < 0.6 and "refcount_bits=1" not in options:
        qemu_img("snapshot", "-c", "one", image)
        qemu_io(image, "write 512k 300k")
    content = guest_content(image)
    damage = DAMAGES[seed % len(DAMAGES)]
    change(image, damage, chance)
    assert_same_as_qemu(image)

    report = our_repair(image, errors=True)
    assert report.is_clean
    assert qemu_check(image)[0] == 0
    assert guest_content(image) == content
    assert our_repair(image, errors=True).corruptions_fixed == 0


def test_repairing_leaks_alone_leaves_no_wrong_flag_behind(tmp_path: Path):
    image = make_image(tmp_path, "cluster_size=64k")
    qemu_img("snapshot", "-c", "one", image)
    forget_all_snapshots(image)
    assert our_check(image).leaks > 0
    report = our_repair(image, errors=False)
    assert report.is_clean and report.leaks_fixed > 0
    assert qemu_check(image)[0] == 0


def test_repairing_leaks_alone_does_not_touch_errors(tmp_path: Path):
    image = make_image(tmp_path, "cluster_size=64k")
    change(image, empty_refcount_block, random.Random(1))
    before = image.read_bytes()
    assert our_repair(image, errors=False).corruptions > 0
    assert image.read_bytes() == before


def test_an_image_marked_dirty_is_mended_and_loses_the_mark(tmp_path: Path):
    image = make_image(tmp_path, "lazy_refcounts=on,refcount_bits=16")
    change(image, empty_refcount_block, random.Random(1))
    change(
        image,
        lambda file, header, chance: file.write(72, struct.pack(">Q", header.incompatible | 1)),
    )
    assert our_repair(image, errors=True).is_clean
    assert "dirty-flag" in qemu_img("info", "--output=json", image)
    assert '"dirty-flag": false' in qemu_img("info", "--output=json", image)
    assert qemu_check(image)[0] == 0


@pytest.mark.parametrize("offset", (1 << 50, 0x200, 0))
def test_a_broken_reference_is_refused_and_nothing_is_written(tmp_path: Path, offset: int):
    """Behind the end, off the cluster grid, and onto the header."""
    image = make_image(tmp_path, "cluster_size=64k")

    def bend(file: RawFile, header: Header, chance: random.Random) -> None:
        table = first_l2_table(file, header)
        file.write(table, struct.pack(">Q", offset or 3 << 16))

    change(image, bend)
    before = image.read_bytes()
    assert our_check(image).has_errors
    with pytest.raises(ImageDamaged):
        our_repair(image, errors=True)
    assert image.read_bytes() == before


def test_an_image_whose_end_was_cut_off_is_whole_again_with_zeros_for_what_is_lost(tmp_path: Path):
    image, seen = full_image(tmp_path), tmp_path / "seen.raw"
    os.truncate(image, image.stat().st_size - 5 * 65536 - 100)
    qemu_img("convert", "-O", "raw", image, seen)  # to QEMU what lies behind a file's end is zeros
    before = image.read_bytes()
    assert our_check(image).corruptions == qemu_check(image)[1]["corruptions"] == 5
    for refuse in (lambda: our_repair(image, errors=False), lambda: check_image(image, "leaks")):
        with pytest.raises(ImageDamaged):
            refuse()
    assert image.read_bytes() == before
    report = check_image(image, "all")
    assert report is not None
    assert report.is_clean
    assert "reads as zeros" in report.problems[0]
    assert qemu_check(image)[0] == 0
    qemu_img("compare", "-F", "raw", image, seen)


def test_a_cut_off_image_is_not_repaired_by_opening_it(tmp_path: Path):
    image = full_image(tmp_path)
    change(
        image,
        lambda file, header, chance: file.write(72, struct.pack(">Q", header.incompatible | 1)),
    )
    os.truncate(image, image.stat().st_size - 5 * 65536)
    before = image.read_bytes()
    with pytest.raises(ImageDamaged):
        Qcow2Image.open(image, writable=True)
    assert image.read_bytes() == before


@pytest.mark.parametrize("snapshot", [False, True], ids=["alone", "with a snapshot"])
def test_a_zero_cluster_whose_offset_cannot_be_true_becomes_a_plain_one(
    tmp_path: Path, snapshot: bool
):
    image, theirs = make_image(tmp_path, "cluster_size=64k"), tmp_path / "theirs.qcow2"
    if snapshot:
        qemu_img("snapshot", "-c", "s", image)

    def bend(file: RawFile, header: Header, chance: random.Random) -> None:
        file.write(first_l2_table(file, header), struct.pack(">Q", 0x50200 | 1))

    change(image, bend)
    theirs.write_bytes(image.read_bytes())
    qemu_check(theirs, "-r", "all")
    assert our_check(image).has_errors
    report = our_repair(image, errors=True)
    assert report.is_clean
    assert qemu_check(image)[0] == 0
    qemu_img("compare", image, theirs)


def test_a_table_that_is_also_data_is_found_although_the_refcount_agrees(tmp_path: Path):
    image = make_image(tmp_path, "cluster_size=64k")

    def share(file: RawFile, header: Header, chance: random.Random) -> None:
        table = first_l2_table(file, header)
        file.write(table + 8 * 100, struct.pack(">Q", table))
        block = int.from_bytes(file.read(header.reftable_offset, 8), "big")
        file.write(block + 2 * (table >> 16), b"\0\2")
        file.write(header.l1_offset, bytes([0]))  # no COPIED: the refcount is two

    change(image, share)
    assert qemu_check(image)[0] == 0
    assert our_check(image).has_errors


def test_a_full_disk_of_100_gib_is_checked_in_half_a_second_of_processor_time(tmp_path: Path):
    image = tmp_path / "large.qcow2"
    qemu_img("create", "-f", "qcow2", "-o", "preallocation=metadata", image, "100G")
    start = time.process_time()
    report = our_check(image)
    assert time.process_time() - start < 0.5
    assert report.is_clean
    assert report.allocated_clusters == 100 << 14


# --- images and their checks ----------------------------------------------------------------------


def full_image(directory: Path) -> Path:
    """2 MiB, whose data lie at the end of the file."""
    image = directory / "full.qcow2"
    qemu_img("create", "-f", "qcow2", image, "2M")
    qemu_io(image, "write -P 7 0 2M")
    return image


def make_image(directory: Path, options: str) -> Path:
    image = directory / "disk.qcow2"
    qemu_img("create", "-f", "qcow2", "-o", options, image, "8M")
    qemu_io(
        image, "write -P 1 0 1M", "write -P 2 3M 200k", "write -z 1M 256k", "write -z 0 64k",
        "write -P 3 7M 4k",
    )  # fmt: skip
    if not any(
        word in options
        for word in ("preallocation", "refcount_bits=1", "refcount_bits=2", "refcount_bits=4")
    ):
        length = 2048 if "2M" in options else 64
        qemu_io(
            image,
            *(
                f"write -c -P {start % 7} {start}k {length}k"
                for start in range(4096, 6144, 3 * length)
            ),
        )
    return image


def our_check(image: Path) -> CheckReport:
    file = RawFile.open(image)
    try:
        return check(file, image)
    finally:
        file.close()


def our_repair(image: Path, *, errors: bool) -> CheckReport:
    file = RawFile.open(image, writable=True)
    try:
        return repair(file, image, errors=errors)
    finally:
        file.close()


def assert_same_as_qemu(image: Path) -> None:
    ours = our_check(image)
    numbers = ours.as_json()
    _, theirs = qemu_check(image)
    assert {key: numbers[key] for key in COUNTS} == theirs, ours.problems


def guest_content(image: Path) -> bytes:
    raw = image.with_suffix(".raw")
    qemu_img("convert", "-f", "qcow2", "-O", "raw", image, raw)
    return raw.read_bytes()


def test_a_zero_cluster_in_a_version_2_image_is_an_error(tmp_path: Path) -> None:
    """Version 2 has no such flag: neither QEMU nor growdisk reads past it."""
    image = tmp_path / "old.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", "compat=0.10", image, "4M")
    qemu_io(image, "write -P 5 0 1M")
    with image.open("r+b") as file:
        file.seek(40)
        file.seek(int.from_bytes(file.read(8), "big"))
        table = int.from_bytes(file.read(8), "big") & 0x00FFFFFFFFFFFE00
        file.seek(table + 8 * 40)
        file.write((1).to_bytes(8, "big"))
    report = check_image(image)
    assert report is not None
    assert report.corruptions
