"""Persistent dirty bitmaps stay true when our engine changes an image; QEMU compares."""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from growdisk.cli.main import main
from growdisk.qcow2.image import Qcow2Image
from tests.oracle.qemu import qemu_check, qemu_img, qemu_io
from tests.oracle.verbs import image

KiB, MiB = 1 << 10, 1 << 20


def bitmaps(path: Path) -> list[dict[str, object]]:
    facts = json.loads(qemu_img("info", "--output=json", path))
    found: list[dict[str, object]] = facts["format-specific"]["data"].get("bitmaps", [])
    return found


def dirty(path: Path, name: str) -> list[tuple[int, int]]:
    """The dirty ranges of a bitmap as (start, end), told by qemu-nbd."""
    address = path.with_suffix(".nbd")
    server = subprocess.Popen(["qemu-nbd", "-r", "-f", "qcow2", "-B", name, "-k", address, path])
    try:
        deadline = time.monotonic() + 60
        while not _answers(address):
            assert time.monotonic() < deadline, "qemu-nbd does not answer"
            time.sleep(0.02)
        place = f"driver=nbd,server.type=unix,server.path={address},x-dirty-bitmap=qemu:dirty-bitmap:{name}"  # noqa: E501
        records = json.loads(qemu_img("map", "--output=json", "--image-opts", place))
    finally:
        server.terminate()
        server.wait()
    ranges: list[tuple[int, int]] = []
    for record in records:
        if record["data"]:
            continue  # x-dirty-bitmap shows dirty ranges as holes
        start, end = record["start"], record["start"] + record["length"]
        if ranges and ranges[-1][1] == start:
            start = ranges.pop()[0]
        ranges.append((start, end))
    return ranges


def _answers(address: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(address))
        except OSError:
            return False
        return True


def tracked(
    path: Path, options: str = "compat=1.1", size: str = "8M", granularity: str = "64k"
) -> Path:
    """An image with a bitmap that tracks writes and a disabled one, both with earlier bits."""
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, path, size)
    for name in ("on", "off"):
        qemu_img("bitmap", "--add", "-g", granularity, path, name)
    qemu_io(path, "write -P 1 1M 200k")
    qemu_img("bitmap", "--disable", path, "off")
    return path


def same_done_twice(
    path: Path, ours: Callable[[Path], object], theirs: Callable[[Path], object]
) -> Path:
    """Do it with our engine on a copy and with QEMU on the image; the bitmaps must be equal."""
    copy = path.with_name("ours.qcow2")
    shutil.copy(path, copy)
    ours(copy)
    theirs(path)
    assert bitmaps(copy) == bitmaps(path)
    for name in ("on", "off"):
        assert dirty(copy, name) == dirty(path, name), name
    assert qemu_check(copy)[0] == 0
    assert image("check", copy) == 0
    return copy


@pytest.mark.parametrize("granularity", ("512", "64k", "2M"))
@pytest.mark.parametrize("options", ("cluster_size=4k", "compat=1.1", "cluster_size=512"))
def test_writes_zeros_and_discards_are_noted(
    tmp_path: Path, options: str, granularity: str
) -> None:
    path = tracked(tmp_path / "image.qcow2", options, granularity=granularity)

    def ours(copy: Path) -> None:
        with Qcow2Image.open(copy, writable=True) as disk:
            disk.write(3 * MiB + 512, b"x" * 1024)
            disk.write_zeros(5 * MiB, 256 * KiB)
            disk.discard(6 * MiB, 128 * KiB)
            disk.write(8 * MiB - 512, b"y" * 512)

    actions = ("write 3146240 1k", "write -z 5M 256k", "discard 6M 128k", "write 8388096 512")
    same_done_twice(path, ours, lambda path: qemu_io(path, *actions))


@pytest.mark.parametrize("granularity", ("512", "64k"))
@pytest.mark.parametrize("change", ("8389120b", "+40M", "1G", "4M", "1200k"))
def test_bitmaps_get_the_disks_new_size(tmp_path: Path, change: str, granularity: str) -> None:
    path = tracked(tmp_path / "image.qcow2", "cluster_size=4k", granularity=granularity)
    copy = same_done_twice(
        path,
        lambda copy: image("resize", "--shrink", copy, change),
        lambda path: qemu_img("resize", "-q", "--shrink", path, change.removesuffix("b")),
    )
    assert image("resize", copy, "+1M") == 0
    assert image("resize", "--shrink", copy, "-1M") == 0
    assert qemu_check(copy)[0] == 0


def test_snapshots_are_made_and_deleted_beside_bitmaps(tmp_path: Path) -> None:
    path = tracked(tmp_path / "image.qcow2")
    same_done_twice(
        path,
        lambda copy: (
            image("snapshot", "create", copy, "a"),
            image("snapshot", "delete", copy, "a"),
        ),
        lambda path: (qemu_img("snapshot", "-c", "a", path), qemu_img("snapshot", "-d", "a", path)),
    )


def test_after_going_back_everything_may_differ(tmp_path: Path) -> None:
    path = tracked(tmp_path / "image.qcow2")
    assert image("snapshot", "create", path, "a") == 0
    assert image("resize", path, "+1M") == 0
    off = dirty(path, "off")
    assert image("snapshot", "apply", path, "a") == 0
    assert dirty(path, "on") == [(0, 8 * MiB)]
    assert dirty(path, "off") == off
    assert qemu_check(path)[0] == 0


def test_a_commit_is_noted_in_the_base_and_keeps_the_overlays_bitmaps(tmp_path: Path) -> None:
    base, top = tracked(tmp_path / "base.qcow2"), tmp_path / "top.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top)
    qemu_img("bitmap", "--add", top, "mine")
    qemu_io(top, "write -P 4 4M 64k")
    assert image("commit", top) == 0
    assert dirty(base, "on") == [(MiB, MiB + 256 * KiB), (4 * MiB, 4 * MiB + 64 * KiB)]
    assert dirty(top, "mine") == [(4 * MiB, 4 * MiB + 64 * KiB)]
    assert qemu_check(top)[0] == qemu_check(base)[0] == 0


@pytest.mark.parametrize("store", ("internal", "overlay", "none"))
def test_a_whole_run_leaves_bitmaps_that_are_in_force(tmp_path: Path, store: str) -> None:
    path, raw = tmp_path / "image.qcow2", tmp_path / "image.raw"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", raw, "8M"], check=True)
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, path)
    for name in ("on", "off"):
        qemu_img("bitmap", "--add", path, name)
    qemu_img("bitmap", "--disable", path, "off")
    assert main(["expand", str(path), "40M", "--backend", "direct", "--snapshots", store]) == 0
    assert [found["flags"] for found in bitmaps(path)] == [["auto"], []]
    before, noted = raw.read_bytes(), dirty(path, "on")
    qemu_img("convert", "-O", "raw", path, raw)
    for start, old, new in zip(
        range(0, 8 * MiB, 64 * KiB),
        chunks_of(before),
        chunks_of(raw.read_bytes()[: 8 * MiB]),
        strict=True,
    ):
        assert old == new or any(first <= start < end for first, end in noted), start
    assert noted[0][0] == 0, "the superblock was written"
    assert noted[-1][1] < 40 * MiB, "new space is not marked as a whole"
    assert qemu_check(path)[0] == 0


def chunks_of(data: bytes) -> list[bytes]:
    return [data[start : start + 64 * KiB] for start in range(0, len(data), 64 * KiB)]


def test_going_back_leaves_bitmaps_that_miss_nothing(tmp_path: Path) -> None:
    path, raw = tmp_path / "image.qcow2", tmp_path / "image.raw"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", raw, "8M"], check=True)
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, path)
    qemu_img("bitmap", "--add", path, "on")
    assert main(["expand", str(path), "40M", "--backend", "direct", "--keep-snapshots"]) == 0
    assert main(["rollback", str(path)]) == 0
    assert bitmaps(path)[0]["flags"] == ["auto"]
    assert dirty(path, "on") == [(0, 8 * MiB)]
    assert qemu_check(path)[0] == 0


def test_narrow_refcounts_are_widened_beside_bitmaps(tmp_path: Path) -> None:
    path = tracked(tmp_path / "image.qcow2", "refcount_bits=1,cluster_size=4k")
    before = dirty(path, "on")
    assert image("snapshot", "create", path, "a") == 0
    assert dirty(path, "on") == before
    assert qemu_check(path)[0] == 0


def test_a_program_that_dies_leaves_bitmaps_that_say_so(tmp_path: Path) -> None:
    path = tracked(tmp_path / "image.qcow2")
    disk = Qcow2Image.open(path, writable=True)
    disk.write(0, b"x")
    disk.flush()
    copy = tmp_path / "copy.qcow2"
    shutil.copy(path, copy)
    disk.close()
    assert [bitmap["flags"] for bitmap in bitmaps(copy)] == [["in-use", "auto"], []]
    assert qemu_check(copy)[0] == 0
    # goes on, and leaves it as it is
    assert image("write", copy, "1M", tmp_path / "image.qcow2") == 0
    assert [bitmap["flags"] for bitmap in bitmaps(copy)] == [["in-use", "auto"], []]
    assert qemu_check(copy)[0] == 0


@pytest.mark.parametrize("seed", range(4))
def test_random_writes_never_miss_a_bit(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    path = tracked(tmp_path / "image.qcow2", "cluster_size=512", size="1G", granularity="512")
    writes = [
        (chance.randrange(0, 2 << 20) * 512, 512 * chance.choice((1, 9, 999))) for _ in range(40)
    ]
    writes = [(offset, length) for offset, length in writes if offset + length <= 1 << 30]

    def ours(copy: Path) -> None:
        for part in (writes[:20], writes[20:]):
            with Qcow2Image.open(copy, writable=True) as disk:
                for offset, length in part:
                    disk.write_zeros(offset, length)

    same_done_twice(
        path,
        ours,
        lambda path: qemu_io(path, *(f"write -z {start} {size}" for start, size in writes)),
    )


def test_bitmaps_that_cannot_be_believed_are_dropped_before_the_first_change(
    tmp_path: Path,
) -> None:
    path = tracked(tmp_path / "image.qcow2")
    raw = bytearray(path.read_bytes())
    place = raw.find((0x23852875).to_bytes(4, "big"))
    directory = int.from_bytes(raw[place + 24 : place + 32], "big")
    raw[directory + 16] = 7  # a type that does not exist
    path.write_bytes(raw)
    (tmp_path / "sector").write_bytes(b"s" * 512)
    assert image("write", path, "0", tmp_path / "sector") == 0
    assert bitmaps(path) == []
    assert qemu_check(path)[0] in (0, 3)


@pytest.mark.parametrize("options", ("compat=1.1", "cluster_size=512", "extended_l2=on"))
def test_compact_takes_bitmaps_along(tmp_path: Path, options: str) -> None:
    path = tracked(tmp_path / "image.qcow2", options, granularity="512")
    before = bitmaps(path), dirty(path, "on"), dirty(path, "off")
    assert image("compact", path) == 0
    assert (bitmaps(path), dirty(path, "on"), dirty(path, "off")) == before
    assert qemu_check(path)[0] == 0


@pytest.mark.parametrize("options", ("compat=1.1", "cluster_size=512", "cluster_size=2M"))
@pytest.mark.parametrize("granularity", ("512", "64k"))
def test_convert_takes_bitmaps_along(tmp_path: Path, options: str, granularity: str) -> None:
    path = tracked(tmp_path / "image.qcow2", "cluster_size=1k", granularity=granularity)
    new = tmp_path / "new.qcow2"
    with Qcow2Image.open(path, writable=True) as disk:
        disk.write_zeros(3 * MiB, 5 * MiB)
    assert image("convert", path, new, "-o", options, "--bitmaps") == 0
    assert bitmaps(new) == bitmaps(path)
    assert [dirty(new, name) for name in ("on", "off")] == [
        dirty(path, name) for name in ("on", "off")
    ]
    assert qemu_check(new)[0] == 0


def test_bitmaps_that_cannot_be_taken_along_are_refused(tmp_path: Path) -> None:
    path = tracked(tmp_path / "image.qcow2")
    plain = tmp_path / "plain.qcow2"
    new = tmp_path / "new.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", plain, "8M")
    qemu_img("snapshot", "-c", "s", path)
    assert image("convert", plain, new, "--bitmaps") == 3
    assert image("convert", path, new, "--bitmaps", "-l", "s") == 3
    assert image("convert", path, new, "--bitmaps", "-o", "compat=0.10") == 3
    assert image("convert", path, new, "--bitmaps", "-O", "raw") == 2
    assert not new.exists()
