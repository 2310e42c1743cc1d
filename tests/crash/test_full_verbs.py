"""`growdisk image` on a full host: a failure takes nothing, freeing frees. qemu-img judges."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from growdisk.api.images.checking import check_image
from growdisk.api.images.compacting import compact_image
from growdisk.api.images.converting import Qcow2Target, RawTarget, Source, convert_image
from growdisk.api.images.creating import create_qcow2, create_raw
from growdisk.api.images.data_copy import copy_image
from growdisk.api.images.guest_bytes import write_bytes
from growdisk.api.images.layers import commit_overlay, rebase_overlay
from growdisk.api.images.resizing import resize_image
from growdisk.api.images.snapshots import apply_snapshot, create_snapshot, delete_snapshot
from growdisk.errors import GrowdiskError, error_id
from growdisk.qcow2.create_options import CreateOptions, Preallocation
from growdisk.qcow2.named_files import trusting_references
from growdisk.units import SizeSpec
from tests.crash.full_host import NAME, MiB, fill, free_room, small_file_system
from tests.guests.tools import run

ROOM, DATA = 24 * MiB, 10 * MiB
SLACK = 256 << 10
SHAPES = (
    "cluster_size=65536",
    "cluster_size=4096,refcount_bits=1",
    "extended_l2=on,cluster_size=131072",
    "compat=0.10",
)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with small_file_system(tmp_path / "small", "tmpfs", ROOM) as place:
        yield place


def make(image: Path, options: str = SHAPES[0], size: int = 64 * MiB) -> Path:
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, image, str(size))
    run("qemu-io", "-c", f"write -q -P 1 0 {DATA}", image)
    return image


def quiet(_done: int, _total: int) -> None:
    pass


def grow_to(size: int) -> SizeSpec:
    return SizeSpec(size, relative=False)


def failing(small: Path, action: Callable[[], object]) -> str:
    """The message; nothing is there afterwards that was not there before, and no room is gone."""
    names, free = sorted(path.name for path in small.iterdir()), free_room(small)
    with pytest.raises(GrowdiskError) as failure:
        action()
    assert error_id(failure.value) in {"write-failed", "not-created"}
    assert sorted(path.name for path in small.iterdir()) == names
    assert free_room(small) >= free - SLACK
    return f"{failure.value}"


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


@pytest.mark.parametrize("options", SHAPES)
def test_a_write_that_does_not_fit_leaves_no_leak(
    small: Path, tmp_path: Path, options: str
) -> None:
    image = make(small / "a.qcow2", options)
    (tmp_path / "bytes").write_bytes(b"\2" * 16 * MiB)
    failing(small, lambda: write_bytes(image, 12 * MiB, tmp_path / "bytes"))
    run("qemu-img", "check", "-q", image)
    run("qemu-io", "-r", "-c", f"read -q -P 1 0 {DATA}", image)


@pytest.mark.parametrize(
    "options",
    [
        *SHAPES,
        "cluster_size=512,refcount_bits=64",
        "data_file=data",
        "data_file=data,data_file_raw=on",
        "preallocation=metadata",
    ],
)
@pytest.mark.parametrize("snapshot", [False, True])
def test_a_write_that_does_not_fit_changes_not_a_byte(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, snapshot: bool
) -> None:
    """Also not of what could be overwritten in place, before room for the rest is wanted."""
    monkeypatch.chdir(small)  # a data file lies there for QEMU
    image = make(small / "a.qcow2", options)
    if snapshot and "data_file" not in options and "refcount_bits=1" not in options:
        run("qemu-img", "snapshot", "-c", "one", image)
    (tmp_path / "bytes").write_bytes(b"\2" * 16 * MiB)
    before = [path.stat().st_size for path in small.iterdir()]
    failing(small, lambda: write_bytes(image, 9 * MiB - 512, tmp_path / "bytes"))
    assert all(
        path.stat().st_size <= size + SLACK
        for path, size in zip(small.iterdir(), before, strict=True)
    )
    run("qemu-img", "check", "-q", image)
    zeros = f"read -q -P 0 {DATA} {64 * MiB - DATA}"
    run("qemu-io", "-r", "-c", f"read -q -P 1 0 {DATA}", "-c", zeros, image)
    (tmp_path / "bytes").write_bytes(b"\2" * 3 * MiB)
    write_bytes(image, 9 * MiB - 512, tmp_path / "bytes")
    run("qemu-img", "check", "-q", image)
    run("qemu-io", "-r", "-c", f"read -q -P 2 {9 * MiB - 512} 3M", image)


@pytest.mark.parametrize("verb", ["write", "commit"])
@pytest.mark.parametrize("options", ["cluster_size=512", "cluster_size=512,compat=0.10"])
def test_what_a_write_took_before_it_began_is_what_it_writes_into(
    small: Path, tmp_path: Path, options: str, verb: str
) -> None:
    """Its clusters lie in refcount blocks that the search for free ones has not reached."""
    image, overlay = make(small / "a.qcow2", options), tmp_path / "overlay.qcow2"
    (tmp_path / "bytes").write_bytes(b"\2" * 3 * MiB)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", overlay)
    run("qemu-io", "-c", "write -q -P 2 12M 3M", overlay)
    fill(small)
    os.truncate(small / NAME, (small / NAME).stat().st_size - 4 * MiB)
    if verb == "write":
        write_bytes(image, 12 * MiB, tmp_path / "bytes", overlays_may_break=True)
    else:
        commit_overlay(overlay, quiet)
    run("qemu-img", "check", "-q", image)
    run(
        "qemu-io", "-r", "-c", f"read -q -P 1 0 {DATA}", "-c", "read -q -P 0 10M 2M",
        "-c", "read -q -P 2 12M 3M", "-c", "read -q -P 0 15M 49M", image,
    )  # fmt: skip


def test_a_raw_disk_that_has_no_room_for_a_write_or_a_commit_is_as_it_was(
    small: Path, tmp_path: Path
) -> None:
    base, top = small / "base.raw", small / "top.qcow2"
    base.write_bytes(b"\1" * MiB)
    os.truncate(base, 40 * MiB + 100)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base.name, "-F", "raw", top, str(50 * MiB))
    run("qemu-io", "-c", "write -q -P 2 512k 14M", "-c", "write -q -z 0 64k", top)
    (tmp_path / "bytes").write_bytes(b"\2" * 16 * MiB)
    before, room = base.read_bytes(), base.stat().st_blocks
    failing(
        small, lambda: write_bytes(base, 512 << 10, tmp_path / "bytes", overlays_may_break=True)
    )
    failing(small, lambda: commit_overlay(top, quiet))
    assert (base.read_bytes(), base.stat().st_blocks) == (before, room)
    run("qemu-io", "-r", "-c", "read -q -P 2 512k 14M", top)


def test_a_commit_that_does_not_fit_leaves_a_smaller_base_as_it_was(small: Path) -> None:
    base, overlay = make(small / "base.qcow2", size=32 * MiB), small / "overlay.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base.name, "-F", "qcow2", overlay, "64M")
    run("qemu-io", "-c", "write -q -P 2 32M 8M", overlay)
    fill(small)
    before = base.read_bytes()
    failing(small, lambda: commit_overlay(overlay, quiet))
    assert base.read_bytes() == before
    run("qemu-io", "-r", "-c", "read -q -P 2 32M 8M", overlay)


def test_a_commit_and_a_rebase_that_do_not_fit_leave_both_layers_whole(small: Path) -> None:
    base, overlay = make(small / "base.qcow2"), small / "overlay.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base.name, "-F", "qcow2", overlay)
    run("qemu-io", "-c", "write -q -P 2 4M 2M", "-c", "write -q -P 2 32M 8M", overlay)
    fill(small)
    failing(small, lambda: commit_overlay(overlay, quiet))
    failing(small, lambda: rebase_overlay(overlay, None, None, quiet))
    for image in (base, overlay):
        run("qemu-img", "check", "-q", image)
    run("qemu-io", "-r", "-c", f"read -q -P 1 0 {DATA}", base)
    run("qemu-io", "-r", "-c", "read -q -P 1 0 4M", "-c", "read -q -P 2 4M 2M", overlay)
    run("qemu-io", "-r", "-c", "read -q -P 2 32M 8M", overlay)


@pytest.mark.parametrize(
    ("options", "cluster", "zeros"),
    [
        ("cluster_size=65536", 65536, "0 64k"),
        ("cluster_size=65536", 4096, "4k 4k"),
        ("extended_l2=on,cluster_size=65536", 65536, "0 64k"),
        ("compat=0.10,backing", 65536, "0 64k"),
    ],
)
def test_zeros_that_a_commit_has_no_room_for_leave_the_base_as_it_was(
    small: Path, options: str, cluster: int, zeros: str
) -> None:
    """The first table is the disk's own and changes in place; the second is a snapshot's too."""
    base, overlay, place = small / "base.qcow2", small / "overlay.qcow2", 600 * MiB
    options, below = options.removesuffix(",backing"), small / "below.qcow2"
    named = ["-b", below.name, "-F", "qcow2"] if options == "compat=0.10" else []
    make(below, size=1024 * MiB)
    run("qemu-io", "-c", f"write -q -P 1 {place} 1M", below)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, *named, base, str(1024 * MiB))
    write = ["-c", "write -q -P 1 0 64k", "-c", f"write -q -P 1 {place} 64k"]
    run("qemu-io", *write, base)
    run("qemu-img", "snapshot", "-c", "one", base)
    run("qemu-io", *write[:2], base)
    words = ["-o", f"cluster_size={cluster}", "-b", base.name, "-F", "qcow2", overlay]
    run("qemu-img", "create", "-q", "-f", "qcow2", *words)
    first, length = zeros.split()
    second = f"{place + (4096 if first == '4k' else 0)} {length}"
    run("qemu-io", "-c", f"write -q -z {zeros}", "-c", f"write -q -z {second}", overlay)
    fill(small)
    failing(small, lambda: commit_overlay(overlay, quiet))
    run("qemu-io", "-r", "-c", "read -q -P 1 0 64k", "-c", f"read -q -P 1 {place} 64k", base)
    run("qemu-img", "check", "-q", base)
    os.truncate(small / NAME, 0)
    commit_overlay(overlay, quiet)
    run("qemu-img", "check", "-q", base)
    run("qemu-io", "-r", "-c", f"read -q -P 0 {zeros}", "-c", f"read -q -P 0 {second}", base)


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
