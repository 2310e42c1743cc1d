"""Extended L2 entries and external data files: QEMU's read and written by us, ours by QEMU."""

from __future__ import annotations

import json
import os
import random
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.api.images.mapping import image_map
from growdisk.block.device import ExtentKind
from growdisk.block.raw import RawFile
from growdisk.errors import ImageDamaged, ImageError, ImageInUse, ImageNotReadable, ImageUnsupported
from growdisk.qcow2.check.checker import check
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.image import Qcow2Image
from tests.oracle.qemu import qemu_check, qemu_img, qemu_io
from tests.oracle.verbs import image

MIB = 1 << 20


def scribble(path: Path, seed: int, *, compressed: bool) -> None:
    """Forty random writes, zeros and discards by QEMU, aligned to 512 bytes."""
    chance, words = random.Random(seed), []
    for number in range(40):
        start = chance.randrange(0, 6 * MIB, 512)
        length = chance.choice((512, 2048, 5120, 65536, 200 << 10))
        kind = chance.choice(
            (
                f"write -P {number + 1}",
                f"write -P {number + 1}",
                "write -z",
                "write -z -u",
                "discard",
            )
        )
        words.append(f"{kind} {start} {length}")
    if compressed:
        words.insert(0, "write -c -P 77 7M 1M")
        words.append("write -P 78 7345k 3k")
    qemu_io(path, *words)


def whole(path: Path) -> bytes:
    qemu_img("convert", "-O", "raw", path, path.with_suffix(".converted"))
    return path.with_suffix(".converted").read_bytes()


def assert_read_alike(path: Path) -> None:
    wanted = whole(path)
    with Qcow2Image.open(path) as image:
        assert image.read(0, image.size) == wanted
        for start in range(0, image.size - 9999, 99_991):
            assert image.read(start, 9999) == wanted[start : start + 9999]
        extents = list(image.extents(0, image.size))
    assert [extent.start for extent in extents[1:]] == [extent.end for extent in extents[:-1]]
    for extent in extents:
        if extent.kind is ExtentKind.ZERO:
            assert not any(wanted[extent.start : extent.end])
    theirs = json.loads(qemu_img("map", "--output=json", path))
    data = sum(record["length"] for record in theirs if not record["zero"])
    assert sum(extent.length for extent in extents if extent.kind is ExtentKind.DATA) >= data


@pytest.mark.parametrize("backed", [False, True])
@pytest.mark.parametrize(
    "options", ["", "cluster_size=16k", "cluster_size=2M", "compression_type=zstd"]
)
def test_subclusters_read_as_qemu_reads_them(tmp_path: Path, options: str, backed: bool):
    path, base = tmp_path / "image.qcow2", tmp_path / "base.raw"
    base.write_bytes(b"\xbb" * (5 * MIB + 512))
    words = [
        "-o",
        f"extended_l2=on{',' if options else ''}{options}",
        *(["-b", base, "-F", "raw"] if backed else []),
    ]
    qemu_img("create", "-f", "qcow2", *words, path, "8M")
    scribble(path, len(options), compressed="2M" not in options)
    assert_read_alike(path)
    model = bytearray(whole(path))
    for round_ in range(2):
        scribble_ourselves(path, model, seed=round_)
        assert qemu_check(path)[0] == 0
        assert whole(path) == model
        scribble(path, 50 + round_, compressed=False)
        assert qemu_check(path)[0] == 0
        model[:] = whole(path)
        assert_read_alike(path)


def scribble_ourselves(path: Path, model: bytearray, seed: int) -> None:
    """The same by us, to the byte, with a snapshot and changes of size between."""
    chance, kept, size = random.Random(seed), b"", len(model)
    with Qcow2Image.open(path, writable=True) as image:
        for number in range(60):
            start = chance.randrange(size - (300 << 10))
            length = chance.choice((1, 511, 2048, 70_001, 300 << 10))
            piece, kind = bytes([100 + number]) * length, chance.random()
            if number == 20:
                image.create_snapshot(f"{seed}")
                kept = bytes(model)
            elif number == 40:
                image.apply_snapshot(f"{seed}")
                model[:] = kept
            elif number == 50:
                image.resize(5 * MIB)
                image.resize(size, preallocation=chance.choice(("off", "metadata")))
                model[5 * MIB :] = bytes(size - 5 * MIB)
            elif kind < 0.6:
                image.write(start, piece)
                model[start : start + length] = piece
            elif kind < 0.8:
                image.write_zeros(start, length)
                model[start : start + length] = bytes(length)
            elif kind < 0.9:
                image.discard(start, length)
                model[start : start + length] = image.read(start, length)
            else:
                cluster = image.header.cluster_size
                start = start // cluster * cluster
                image.write_compressed(start, bytes([number]) * cluster)
                model[start : start + cluster] = bytes([number]) * cluster
            assert image.read(start, length) == model[start : start + length]
        assert image.read(0, size) == model
        image.delete_snapshot(f"{seed}")


def test_a_bitmap_that_contradicts_its_entry_is_refused_and_nothing_is_written(tmp_path: Path):
    path = tmp_path / "image.qcow2"
    create(path, MIB, CreateOptions(extended_l2=True))
    with Qcow2Image.open(path, writable=True) as image:
        image.write(0, b"x" * MIB)
        l1_offset = image.header.l1_offset
    raw = bytearray(path.read_bytes())
    table = int.from_bytes(raw[l1_offset : l1_offset + 8], "big") & 0x00FFFFFFFFFFFE00
    for position, value in (
        (table + 8, 1 << 32 | 1),
        (table, 0),
        (table, 0x50001),
        (table, 0x50200),
    ):
        bad = raw.copy()
        bad[position : position + 8] = value.to_bytes(8, "big")
        path.write_bytes(bad)
        with pytest.raises(ImageDamaged), Qcow2Image.open(path, writable=True) as image:
            image.write(10, b"y")
        assert path.read_bytes() == bad


@pytest.mark.parametrize("options", ["", "data_file_raw=on", "extended_l2=on", "cluster_size=512"])
def test_an_external_data_file_is_read_through_the_image(tmp_path: Path, options: str):
    path, data = tmp_path / "image.qcow2", tmp_path / "data.raw"
    words = f"data_file={data.name}{',' if options else ''}{options}"
    (tmp_path / "here").mkdir()
    qemu_img("create", "-f", "qcow2", "-o", words.replace(data.name, str(data)), path, "8M")
    scribble(path, len(options), compressed=False)
    assert_read_alike(path)
    with Qcow2Image.open(path), pytest.raises(ImageInUse):  # the data file is locked with the image
        RawFile.open(data, writable=True)
    assert_written_alike(path, data)
    data.unlink()
    with pytest.raises(ImageNotReadable, match="external data file"):
        Qcow2Image.open(path)


def assert_written_alike(path: Path, data: Path) -> None:
    """By us and QEMU in turn; sizes too. A raw data file shows the disk by itself."""
    model, chance = bytearray(whole(path)), random.Random(1)
    for round_ in range(2):
        with Qcow2Image.open(path, writable=True) as image:
            for number in range(40):
                start = chance.randrange(len(model) - (100 << 10))
                length, kind = chance.choice((1, 511, 2048, 70_001, 100 << 10)), chance.random()
                if kind < 0.6:
                    image.write(start, bytes([number]) * length)
                    model[start : start + length] = bytes([number]) * length
                elif kind < 0.9:
                    image.write_zeros(start, length)
                    model[start : start + length] = bytes(length)
                else:
                    image.discard(start, length)
                    model[start : start + length] = image.read(start, length)
                if number == 20:
                    size = len(model)
                    image.resize(size - 70_144)
                    assert data.stat().st_size == size - 70_144
                    image.resize(size + 99_840)
                    model[size - 70_144 :] = bytes(70_144 + 99_840)
            assert image.read(0, image.size) == model
        assert qemu_check(path)[0] == 0
        assert whole(path) == model
        assert data.stat().st_size == len(model)
        if json.loads(qemu_img("info", "--output=json", path))["format-specific"]["data"][
            "data-file-raw"
        ]:
            assert data.read_bytes() == model
        scribble(path, 60 + round_, compressed=False)
        model[:] = whole(path)


def test_the_first_cluster_of_a_data_file_has_subclusters_too(tmp_path: Path) -> None:
    path, piece, seen = tmp_path / "image.qcow2", tmp_path / "piece", tmp_path / "seen"
    words = f"data_file={tmp_path / 'data.raw'},extended_l2=on"
    qemu_img("create", "-f", "qcow2", "-o", words, path, "1M")
    qemu_io(path, "write -P 1 0 2k", "write -P 2 4k 2k", "write -z 6k 2k", "write -P 3 12k 4k")
    piece.write_bytes(os.urandom(2048))
    assert image("write", path, "12k", piece) == 0
    wanted = b"\1" * 2048 + bytes(2048) + b"\2" * 2048 + bytes(6144) + piece.read_bytes()
    assert whole(path)[: len(wanted)] == wanted
    assert image("read", path, "4k", "2k", seen) == 0
    assert seen.read_bytes() == b"\2" * 2048
    assert_read_alike(path)
    assert image("check", path) == 0
    ours = [record._asdict() for record in image_map(path)]
    theirs = json.loads(qemu_img("map", "--output=json", path))
    assert [record | {"offset": record.get("offset")} for record in theirs] == [
        {key: value for key, value in record.items() if key != "path"} for record in ours
    ]


def test_a_preallocated_disk_gives_back_what_lies_beyond_its_new_end(tmp_path: Path) -> None:
    path = tmp_path / "image.qcow2"
    options = "extended_l2=on,cluster_size=16k,preallocation=metadata"
    qemu_img("create", "-f", "qcow2", "-o", options, path, "8M")
    assert image("resize", path, "2M", "--shrink") == 0
    assert qemu_check(path)[1]["allocated-clusters"] == 128
    options = f"data_file={tmp_path / 'data'},data_file_raw=on,extended_l2=on"
    path = tmp_path / "apart.qcow2"
    qemu_img("create", "-f", "qcow2", "-o", options, path, "8M")
    for size in ("2M", "4M"):
        assert image("resize", path, size, "--shrink") == 0
        assert qemu_check(path)[0] == 0
        assert not any(whole(path))


def test_zeros_end_where_a_data_file_ends_within_a_cluster(tmp_path: Path) -> None:
    base, top, written = tmp_path / "base.qcow2", tmp_path / "top.qcow2", tmp_path / "written"
    assert image("create", base, "1034k", "-o", "data_file=data.raw") == 0
    written.write_bytes(os.urandom(1034 << 10))
    assert image("write", base, "0", written) == 0
    qemu_img("create", "-f", "qcow2", "-o", "cluster_size=512", "-b", base.name, "-F", "qcow2", top)
    qemu_io(top, "write -z 1025k 9k")
    assert image("commit", top) == 0
    assert whole(base) == written.read_bytes()[: 1025 << 10] + bytes(9 << 10)
    top.unlink()
    assert image("resize", base, "+3k") == 0
    assert whole(base) == written.read_bytes()[: 1025 << 10] + bytes(12 << 10)


def test_zeros_in_the_first_cluster_of_a_data_file_are_counted_as_by_qemu(tmp_path: Path) -> None:
    path, data = tmp_path / "image.qcow2", tmp_path / "data.raw"
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={data}", path, "1M")
    qemu_io(path, "write -P 1 0 128k", "write -z 0 64k")
    with closing(RawFile.open(path)) as file:
        report = check(file, path)
    assert report.allocated_clusters == qemu_check(path)[1]["allocated-clusters"]


@pytest.mark.parametrize(
    "options", ["", "data_file_raw=on", "extended_l2=on", "preallocation=full,cluster_size=4k"]
)
def test_an_image_with_a_data_file_is_to_qemu_what_its_own_would_be(tmp_path: Path, options: str):
    ours, theirs = tmp_path / "ours.qcow2", tmp_path / "theirs.qcow2"
    create(
        ours, 8 * MIB, CreateOptions.parse(f"data_file=ours.raw{',' if options else ''}{options}")
    )
    words = f"data_file={tmp_path / 'theirs.raw'}{',' if options else ''}{options}"
    qemu_img("create", "-f", "qcow2", "-o", words, theirs, "8M")
    one, two = (json.loads(qemu_img("info", "--output=json", path)) for path in (ours, theirs))
    two["format-specific"]["data"]["data-file"] = str(tmp_path / "ours.raw")
    assert one["format-specific"] == two["format-specific"]
    assert qemu_check(ours)[1]["allocated-clusters"] == qemu_check(theirs)[1]["allocated-clusters"]
    assert "identical" in qemu_img("compare", ours, theirs)
    assert_written_alike(ours, tmp_path / "ours.raw")


def test_what_a_data_file_cannot_do_is_refused_and_nothing_is_written(tmp_path: Path):
    path, data = tmp_path / "image.qcow2", tmp_path / "data.raw"
    create(path, 4 * MIB, CreateOptions(data_file="data.raw"))
    with Qcow2Image.open(path, writable=True) as image:
        image.write(0, b"x" * 100_000)
    before = path.read_bytes(), data.read_bytes()
    with Qcow2Image.open(path, writable=True) as image:
        for operation in (
            lambda: image.create_snapshot("one"),
            lambda: image.apply_snapshot("one"),
            lambda: image.delete_snapshot("one"),
            lambda: image.write_compressed(0, bytes(65536)),
        ):
            with pytest.raises(ImageUnsupported, match="external data file"):
                operation()
    with (
        closing(RawFile.open(path, writable=True)) as file,
        pytest.raises(ImageUnsupported, match="external data file"),
    ):
        Qcow2Image.over(file, path, writable=True)
    assert (path.read_bytes(), data.read_bytes()) == before
    os.truncate(data, MIB)
    with pytest.raises(ImageDamaged, match="shorter"):
        Qcow2Image.open(path, writable=True)
    for name in ("data.raw", "image.qcow2"):
        with pytest.raises(ImageError, match="exists already"):
            create(tmp_path / "new.qcow2", MIB, CreateOptions(data_file=name))
    assert not (tmp_path / "new.qcow2").exists()
