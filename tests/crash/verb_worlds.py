"""What image verbs do to an image, and what must be true of it wherever they die."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from growdisk.api.images.checking import check_image
from growdisk.api.images.compacting import compact_image
from growdisk.api.images.converting import Qcow2Target, RawTarget, Source, convert_image
from growdisk.api.images.creating import create_qcow2, create_raw
from growdisk.api.images.guest_bytes import write_bytes
from growdisk.api.images.layers import commit_overlay, rebase_overlay, rebase_unsafe
from growdisk.api.images.resizing import resize_image
from growdisk.api.images.snapshots import apply_snapshot, create_snapshot, delete_snapshot
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.image import Qcow2Image
from growdisk.units import SizeSpec
from tests.crash.worlds import KiB, pattern

KEY = b"correct horse"


SIZE = 512 * KiB


Change = Callable[[Path], object]


def quiet(_done: int, _total: int) -> None:
    pass


def write_patch(path: Path) -> None:
    write_bytes(path, 40 * KiB + 512, path.with_name("patch"), key=KEY)


def make_image(
    path: Path, options: CreateOptions | None = None, *, key: bytes | None = None
) -> None:
    path.with_name("patch").write_bytes(pattern(7, 90 * KiB))
    create(path, SIZE, options or CreateOptions(4 * KiB), key=key, key_seconds=0.001)
    fill(path, 1, key)


def fill(path: Path, seed: int, key: bytes | None = None) -> None:
    with Qcow2Image.open(path, writable=True, key=key) as image:
        image.write(seed * 20 * KiB, pattern(seed, 100 * KiB))
        image.write(300 * KiB, pattern(seed + 1, 30 * KiB))


def plain(directory: Path) -> None:
    make_image(directory / "image.qcow2")
    create_snapshot(directory / "image.qcow2", "one")
    fill(directory / "image.qcow2", 3)


def layers(directory: Path) -> None:
    make_image(directory / "base.qcow2")
    create(
        directory / "image.qcow2",
        SIZE,
        CreateOptions(4 * KiB),
        backing=Path("base.qcow2"),
        backing_format="qcow2",
    )
    fill(directory / "image.qcow2", 4)
    with Qcow2Image.open(directory / "image.qcow2", writable=True) as image:
        image.write_zeros(0, 30 * KiB)


def over_raw(directory: Path) -> None:
    (directory / "base.raw").write_bytes(pattern(9, 400 * KiB))
    (directory / "other.raw").write_bytes(pattern(9, 100 * KiB) + pattern(8, 200 * KiB))
    create(
        directory / "image.qcow2",
        SIZE,
        CreateOptions(4 * KiB),
        backing=Path("base.raw"),
        backing_format="raw",
    )
    fill(directory / "image.qcow2", 4)


def encrypted(directory: Path) -> None:
    make_image(directory / "image.qcow2", key=KEY)
    create_snapshot(directory / "image.qcow2", "one")
    fill(directory / "image.qcow2", 3, KEY)


def with_data_file(directory: Path) -> None:
    options = CreateOptions(4 * KiB, data_file=str(directory / "data.raw"))
    make_image(directory / "image.qcow2", options)


IN_PLACE: list[tuple[str, Callable[[Path], None], Change]] = [
    ("commit", layers, lambda path: commit_overlay(path, quiet)),
    ("commit-raw", over_raw, lambda path: commit_overlay(path, quiet)),
    ("rebase", over_raw, lambda path: rebase_overlay(path, "other.raw", "raw", quiet)),
    ("rebase-none", layers, lambda path: rebase_overlay(path, None, None, quiet)),
    ("rebase-unsafe", over_raw, lambda path: rebase_unsafe(path, "other.raw", "raw")),
    ("compact", plain, compact_image),
    ("write", plain, write_patch),
    ("write-encrypted", encrypted, write_patch),
    ("snapshot-encrypted", encrypted, lambda path: create_snapshot(path, "two")),
    ("apply-encrypted", encrypted, lambda path: apply_snapshot(path, "one")),
    ("delete-encrypted", encrypted, lambda path: delete_snapshot(path, "one")),
    ("grow-encrypted", encrypted,
        lambda path: resize_image(path, SizeSpec(1024 * KiB, relative=False))),
    ("write-data-file", with_data_file, write_patch),
    ("grow-data-file", with_data_file,
        lambda path: resize_image(path, SizeSpec(1024 * KiB, relative=False))),
    ("shrink-data-file", with_data_file,
     lambda path: resize_image(path, SizeSpec(256 * KiB, relative=False), shrink=True)),
]  # fmt: skip


def judge(work: Path, before: bytes, after: bytes) -> None:
    now = seen(work / "image.qcow2")
    assert len(now) in (len(before), len(after))
    for start in range(0, len(now), 512):
        sector = slice(start, start + 512)
        assert now[sector] in (before[sector], after[sector]), f"sector at {start:#x}"
    for image in work.glob("*.qcow2"):
        assert check_is_sound(image)


def seen(path: Path) -> bytes:
    """As the next writer opens it, who repairs what is marked as dirty."""
    with Qcow2Image.open(path, writable=True, key=KEY) as image:
        return image.read(0, image.size)


def check_is_sound(path: Path) -> bool:
    report = check_image(path)
    assert report is not None
    errors = [line for line in report.problems if not line.startswith("leaked") and line != "..."]
    assert not errors, (path.name, errors[:3])
    return True


NEW: list[tuple[str, Change]] = [
    ("convert-raw",
        lambda path: convert_image(Source(path), path.with_name("new"), RawTarget(), quiet)),
    ("convert-qcow2", lambda path: convert_image(
        Source(path), path.with_name("new"), Qcow2Target(CreateOptions(4 * KiB)), quiet)),
    ("convert-compressed", lambda path: convert_image(
        Source(path), path.with_name("new"), Qcow2Target(CreateOptions(4 * KiB), compress=True),
        quiet)),
    ("convert-snapshot", lambda path: convert_image(
        Source(path, snapshot="one"), path.with_name("new"), Qcow2Target(CreateOptions(4 * KiB)),
        quiet)),
    ("create", lambda path: create_qcow2(path.with_name("new"), SIZE, CreateOptions(4 * KiB))),
    ("create-metadata", lambda path: create_qcow2(
        path.with_name("new"), SIZE, CreateOptions(4 * KiB, preallocation="metadata"))),
    ("create-overlay",
        lambda path: create_qcow2(path.with_name("new"), None, CreateOptions(), "image.qcow2",
            "qcow2")),
    ("create-raw-full", lambda path: create_raw(path.with_name("new"), SIZE, "full")),
]  # fmt: skip


def world(
    tmp_path: Path, prepare: Callable[[Path], None], action: Change
) -> tuple[Path, Path, bytes, bytes]:
    """(the files before, where to work on copies of them,
    the guest before, the guest afterwards).
    """
    pristine, work = tmp_path / "pristine", tmp_path / "work"
    work.mkdir()
    prepare(work)
    before = seen(work / "image.qcow2")
    shutil.copytree(work, pristine)
    action(work / "image.qcow2")
    return pristine, work, before, seen(work / "image.qcow2")


def renew(pristine: Path, work: Path) -> None:
    if work.exists():
        shutil.rmtree(work)
    shutil.copytree(pristine, work)
