"""Images with fragmented tables, which are taken whole; qemu-img judges the outcome."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest

from growdisk.api.images.converting import Qcow2Target, RawTarget, Source, convert_image
from growdisk.api.images.mapping import image_map
from growdisk.api.images.snapshots import apply_snapshot, create_snapshot, delete_snapshot
from growdisk.cli.main import main
from growdisk.qcow2.cluster_marks import FragmentedRun
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.image import Qcow2Image
from tests.oracle.qemu import qemu_img
from tests.unit.qcow2.shuffled import Change, shuffled

_MIB = 1 << 20


def _nothing(entries: list[int]) -> None:
    pass


def _some_unallocated(entries: list[int]) -> None:
    for index in range(600, 800, 3):
        entries[index] = 0


def _some_zero(entries: list[int]) -> None:
    entries[700] = 1
    entries[710] |= 1


def _runs_in_between(entries: list[int]) -> None:
    entries[520:540] = sorted(entries[520:540])
    entries[600:1100] = sorted(entries[600:1100])


CHANGES: dict[str, Change] = {
    "all mapped": _nothing, "some unallocated": _some_unallocated,
    "some zero": _some_zero, "with runs": _runs_in_between,
}  # fmt: skip
WRITTEN = ("nothing", "a part", "odd parts", "all")


def _image(folder: Path, change: Change, written: str) -> Path:
    """The image, with guest data that make none, some, or all of its clusters data on the host."""
    path = folder / "image.qcow2"
    shuffled(path, change)
    picked, step = random.Random(5), 4096 if written == "a part" else 512
    writes = [f"write -P 9 {picked.randrange(16 * _MIB // step) * step} {step}" for _ in range(200)]
    actions = {"nothing": ["read 0 512"], "all": ["write -P 3 0 16M"]}.get(written, writes)
    words = [word for action in actions for word in ("-c", action)]
    subprocess.run(["qemu-io", *words, path], check=True, stdout=subprocess.DEVNULL)
    return path


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("name", CHANGES)
def test_it_is_mapped_and_converted_as_qemu_img_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, written: str
) -> None:
    path = _image(tmp_path, CHANGES[name], written)
    theirs = json.loads(qemu_img("map", "--output=json", path))
    assert [json.loads(record.json_text()) for record in image_map(path)] == theirs
    assert main(["--json", "image", "map", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == theirs
    for target, kind in ((RawTarget(), "raw"), (Qcow2Target(CreateOptions()), "qcow2")):
        copy = tmp_path / f"copy.{kind}"
        convert_image(Source(path), copy, target, lambda done, size: None)
        qemu_img("compare", "-F", kind, path, copy)


def test_whole_tables_are_taken_at_once(tmp_path: Path) -> None:
    path = _image(tmp_path, _nothing, "a part")
    with Qcow2Image.open(path) as image:
        pieces = list(image.pieces(0, image.size, holes=True))
        runs = list(image.runs(0, image.size))
    assert all(isinstance(piece, FragmentedRun) for piece in pieces)
    assert len(pieces) == 8
    apart = [
        cluster << 12
        for piece in pieces
        if isinstance(piece, FragmentedRun)
        for cluster in piece.clusters
    ]
    assert apart == [run.host + at for run in runs for at in range(0, run.end - run.start, 4096)]


@pytest.mark.parametrize("name", CHANGES)
def test_snapshots_count_and_free_what_qemu_img_counts(tmp_path: Path, name: str) -> None:
    path = _image(tmp_path, CHANGES[name], "a part")
    # what `change` gave up
    subprocess.run(["qemu-img", "check", "-q", "-r", "leaks", path], check=False)
    before = tmp_path / "before.raw"
    qemu_img("convert", "-O", "raw", path, before)
    create_snapshot(path, "s")
    qemu_img("check", path)
    subprocess.run(
        ["qemu-io", "-c", "write -P 1 1M 3M", path], check=True, stdout=subprocess.DEVNULL
    )
    apply_snapshot(path, "s")
    qemu_img("check", path)
    qemu_img("compare", "-F", "raw", path, before)
    delete_snapshot(path, "s")
    qemu_img("check", path)
    qemu_img("compare", "-F", "raw", path, before)


def test_a_cluster_that_two_entries_name_is_found_before_anything_is_written(
    tmp_path: Path,
) -> None:
    path = tmp_path / "image.qcow2"
    shuffled(path, lambda entries: entries.__setitem__(700, entries[1300]))
    bytes_before = path.read_bytes()
    assert main(["image", "snapshot", "create", str(path), "s"]) == 3
    assert path.read_bytes() == bytes_before
