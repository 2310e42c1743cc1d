"""`growdisk image` on a full host: a failure takes nothing, freeing frees. qemu-img judges."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from growdisk.api.images.checking import check_image
from growdisk.api.images.compacting import compact_image
from growdisk.api.images.converting import Qcow2Target, RawTarget, Source, convert_image
from growdisk.api.images.creating import create_qcow2, create_raw
from growdisk.api.images.data_copy import copy_image
from growdisk.api.images.resizing import resize_image
from growdisk.api.images.snapshots import apply_snapshot, create_snapshot, delete_snapshot
from growdisk.errors import GrowdiskError, error_id
from growdisk.qcow2.create_options import CreateOptions, Preallocation
from growdisk.qcow2.named_files import trusting_references
from growdisk.units import SizeSpec
from tests.crash.full_host import (
    DATA,
    NAME,
    SHAPES,
    SLACK,
    MiB,
    failing,
    fill,
    free_room,
    make,
    quiet,
)
from tests.guests.tools import run


def grow_to(size: int) -> SizeSpec:
    return SizeSpec(size, relative=False)


@pytest.mark.parametrize("options", SHAPES)
@pytest.mark.parametrize("mode", ["falloc", "full"])
def test_a_preallocation_that_does_not_fit_gives_all_back(
    small: Path, options: str, mode: Preallocation
) -> None:
    image = make(small / "a.qcow2", options)
    before = image.stat().st_size
    all_of_it = grow_to(64 * MiB + free_room(small))  # that leaves none for the tables
    failing(small, lambda: resize_image(image, all_of_it, preallocation=mode))
    assert image.stat().st_size <= before + SLACK
    run("qemu-img", "check", "-q", image)
    resize_image(image, grow_to(128 * MiB))


@pytest.mark.parametrize("mode", ["falloc", "full"])
def test_a_preallocation_that_cannot_fit_is_refused_before_it_begins(
    small: Path, tmp_path: Path, mode: Preallocation
) -> None:
    image, options = make(small / "a.qcow2"), CreateOptions(preallocation=mode)
    elsewhere = make(tmp_path / "b.qcow2", f"data_file={small / 'data'}")
    (small / "a.raw").write_bytes(b"\1" * MiB)
    refused: list[Callable[[], object]] = [
        lambda: resize_image(image, grow_to(128 * MiB), preallocation=mode),
        lambda: resize_image(small / "a.raw", grow_to(128 * MiB), preallocation=mode),
        lambda: resize_image(elsewhere, grow_to(128 * MiB), preallocation=mode),
        lambda: create_raw(small / "new", 64 * MiB, mode),
        lambda: create_qcow2(small / "new", 64 * MiB, options),
        lambda: convert_image(Source(image), small / "new", RawTarget(mode), quiet),
        lambda: convert_image(Source(image), small / "new", Qcow2Target(options), quiet),
    ]
    before, free = {path: path.read_bytes() for path in small.iterdir()}, free_room(small)
    for action in refused:
        with trusting_references(), pytest.raises(GrowdiskError) as failure:
            action()
        assert error_id(failure.value) == "no-room-for-image"
        assert {path: path.read_bytes() for path in small.iterdir()} == before
        assert free_room(small) == free


LARGE = {
    "cluster_size=65536": 20 << 40,
    "cluster_size=16384,extended_l2=on": 100 << 30,
    "cluster_size=4096,data_file=data,data_file_raw=on": 100 << 30,
    "cluster_size=512": 2 << 30,
    "cluster_size=512,refcount_bits=64": 2 << 30,
}


@pytest.mark.parametrize("options", LARGE)
def test_tables_that_do_not_fit_leave_nothing(
    small: Path, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Host and image are full of them by then; so what takes them away again must need no room."""
    monkeypatch.chdir(small)  # a data file lies there for QEMU
    image = make(small / "a.qcow2", options)
    before = [path.stat().st_size for path in small.iterdir()]
    failing(small, lambda: resize_image(image, grow_to(LARGE[options]), preallocation="metadata"))
    assert [path.stat().st_size for path in small.iterdir()] <= [size + SLACK for size in before]
    run("qemu-img", "check", "-q", image)
    run(
        "qemu-io", "-r", "-c", f"read -q -P 1 0 {DATA}",
        "-c", f"read -q -P 0 {DATA} {64 * MiB - DATA}", image,
    )  # fmt: skip
    resize_image(image, grow_to(128 * MiB), preallocation="metadata")
    run("qemu-img", "check", "-q", image)


def test_a_change_that_fails_in_the_holes_of_a_table_is_an_error_with_words(small: Path) -> None:
    image, pristine = small / "a.qcow2", make(small.parent / "pristine", SHAPES[2])
    run("qemu-img", "snapshot", "-c", "one", pristine)
    run("qemu-io", "-c", "write -q -P 2 0 6M", pristine)
    run("cp", "--sparse=always", pristine, image)
    fill(small)
    with pytest.raises(GrowdiskError) as failure:
        delete_snapshot(image, "one")
    assert error_id(failure.value) == "write-failed"


@pytest.mark.parametrize("options", SHAPES)
def test_shrinking_gives_the_room_back(small: Path, options: str) -> None:
    image, free = make(small / "a.qcow2", options), free_room(small)
    resize_image(image, grow_to(2 * MiB), shrink=True)
    assert free_room(small) >= free + DATA - 2 * MiB - SLACK
    run("qemu-img", "check", "-q", image)


def test_shrinking_gives_room_back_from_the_middle_of_the_file(small: Path) -> None:
    image = make(small / "a.qcow2")
    run("qemu-io", "-c", f"write -q -P 2 {40 * MiB} 4M", "-c", "write -q -P 3 20M 1M", image)
    free, length = free_room(small), image.stat().st_size
    # now the end belongs to the start
    run("qemu-io", "-c", "discard -q 0 1M", "-c", "write -q -P 4 12M 1M", image)
    resize_image(image, grow_to(16 * MiB), shrink=True)
    assert image.stat().st_size <= length
    assert free_room(small) >= free + 4 * MiB
    run("qemu-img", "check", "-q", image)
    run("qemu-io", "-r", "-c", "read -q -P 4 12M 1M", "-c", "read -q -P 1 2M 8M", image)


@pytest.mark.parametrize("action", [delete_snapshot, apply_snapshot], ids=["delete", "apply"])
def test_snapshots_give_the_room_back_that_only_they_took(
    small: Path, action: Callable[[Path, str], object]
) -> None:
    image = make(small / "a.qcow2")
    create_snapshot(image, "one")
    free = free_room(small)
    run("qemu-io", "-c", "write -q -P 2 0 6M", image)
    action(image, "one")
    assert free_room(small) >= free - SLACK
    run("qemu-img", "check", "-q", image)
    run("qemu-io", "-r", "-c", f"read -q -P {2 if action is delete_snapshot else 1} 0 6M", image)


def test_a_repair_that_does_not_fit_takes_nothing_and_can_be_done_later(small: Path) -> None:
    """The refcount table is lost, and the new one needs two clusters of 2 MiB."""
    image = make(small / "a.qcow2", "cluster_size=2M")
    with image.open("r+b") as file:
        file.seek(48)
        file.write((1 << 40).to_bytes(8, "big"))
    length = image.stat().st_size
    fill(small)
    os.truncate(small / NAME, (small / NAME).stat().st_size - 3 * MiB)
    failing(small, lambda: check_image(image, "all"))
    assert image.stat().st_size == length
    (small / NAME).unlink()
    check_image(image, "all")
    run("qemu-img", "check", "-q", image)
    run("qemu-io", "-r", "-c", f"read -q -P 1 0 {DATA}", image)


def assert_shrinks_once_there_is_room(small: Path, image: Path) -> None:
    failing(small, lambda: resize_image(image, grow_to(5 * MiB), shrink=True))
    (small / NAME).unlink()
    run("qemu-img", "check", "-q", image)
    run("qemu-io", "-r", "-c", f"read -q -P 1 0 {DATA}", "-c", "read -q -P 0 63M 1M", image)
    resize_image(image, grow_to(5 * MiB), shrink=True)
    run("qemu-img", "check", "-q", image)


@pytest.mark.parametrize("options", [each for each in SHAPES if "size=4096" not in each])
def test_shrinking_that_does_not_fit_in_the_holes_of_a_table_has_not_begun(
    small: Path, options: str
) -> None:
    """It said that all is as before, and the disk had its new size."""
    image, sparse = make(small / "a.qcow2", options), small / "sparse.qcow2"
    run("cp", "--sparse=always", image, sparse)
    image.unlink()
    fill(small)
    assert_shrinks_once_there_is_room(small, sparse)


@pytest.mark.parametrize("options", (SHAPES[0], SHAPES[2]))
def test_shrinking_that_has_no_room_for_its_own_copy_of_a_table_has_not_begun(
    small: Path, options: str
) -> None:
    """The table is a snapshot's too. Disk and snapshot have data beyond the new end."""
    image = make(small / "a.qcow2", options)
    run("qemu-img", "snapshot", "-q", "-c", "one", image)
    fill(small)
    assert_shrinks_once_there_is_room(small, image)
    run("qemu-img", "snapshot", "-q", "-a", "one", image)
    run("qemu-io", "-r", "-c", f"read -q -P 1 0 {DATA}", image)


NEW: dict[str, Callable[[Path], object]] = {
    "raw": lambda image: convert_image(Source(image), image.with_name("new"), RawTarget(), quiet),
    "qcow2": lambda image: convert_image(
        Source(image), image.with_name("new"), Qcow2Target(CreateOptions()), quiet
    ),
    "data-file": lambda image: convert_image(
        Source(image), image.with_name("new"), Qcow2Target(CreateOptions(data_file="data")), quiet
    ),
    "copy": lambda image: copy_image(image, image.with_name("new"), "auto", quiet),
    "compact": compact_image,
    "create": lambda image: create_qcow2(
        image.with_name("new"), free_room(image.parent), CreateOptions(preallocation="falloc")
    ),
}


@pytest.mark.parametrize("action", NEW.values(), ids=NEW)
def test_a_new_file_that_does_not_fit_is_not_there_and_numbers_are_told(
    small: Path, action: Callable[[Path], object]
) -> None:
    image = make(small / "a.qcow2")
    with (small / "other").open("wb") as other:
        other.write(bytes(free_room(small) - 6 * MiB))
    said = failing(small, lambda: action(image))
    assert "it takes up to " in said
    assert "MiB are free" in said
    run("qemu-img", "check", "-q", image)
