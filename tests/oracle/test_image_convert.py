"""convert and copy through the command line: qemu-img compares, checks, and counts the clusters."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from tests.crash.full_host import free_room, small_file_system
from tests.oracle.image_matrix import READABLE
from tests.oracle.qemu import qemu_check, qemu_img, qemu_io
from tests.oracle.verbs import image, info, make

MiB = 1 << 20


@pytest.mark.parametrize("kind", READABLE)
def test_every_kind_of_image_converts_to_every_form(kind: str, tmp_path: Path) -> None:
    source = READABLE[kind](tmp_path)
    targets = {
        "raw": ["-O", "raw"],
        "qcow2": ["-O", "qcow2"],
        "packed": ["-O", "qcow2", "-c", "-o", "cluster_size=4k"],
    }
    for name, options in targets.items():
        target = tmp_path / f"target.{name}"
        assert image("convert", source, target, *options) == 0
        assert "identical" in qemu_img("compare", source, target)
        assert info(target)["virtual-size"] == info(source)["virtual-size"]
        if name != "raw":
            assert qemu_check(target)[0] == 0
    assert {path.name for path in tmp_path.iterdir() if "growdisk" in path.name} == set()


@pytest.mark.parametrize(
    "options",
    ["compat=0.10", "cluster_size=1k", "cluster_size=2M,refcount_bits=1", "preallocation=metadata"],
)
def test_options_are_those_of_create(options: str, tmp_path: Path) -> None:
    source, target = READABLE["sparse raw"](tmp_path), tmp_path / "target.qcow2"
    assert image("convert", source, target, "-o", options) == 0
    assert "identical" in qemu_img("compare", source, target)
    assert qemu_check(target)[0] == 0


@pytest.mark.parametrize("target", ["qcow2", "raw"])
def test_as_few_clusters_are_used_as_by_qemu_img(tmp_path: Path, target: str) -> None:
    source = make(
        tmp_path / "source.qcow2", "write -P 1 0 1M", "write -P 0 2M 1M", "write -P 2 4M 100k",
        "write -P 0 5M 4k", "write -P 3 5332k 4k",
    )  # fmt: skip
    ours, theirs = tmp_path / f"ours.{target}", tmp_path / f"theirs.{target}"
    assert image("convert", source, ours, "-O", target) == 0
    qemu_img("convert", "-O", target, source, theirs)
    if target == "qcow2":
        assert (
            qemu_check(ours)[1]["allocated-clusters"] <= qemu_check(theirs)[1]["allocated-clusters"]
        )
    assert ours.stat().st_blocks <= theirs.stat().st_blocks


@pytest.mark.parametrize("how", ["zlib", "zstd"])
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_compressed_images_are_as_small_as_qemu_img_makes_them(
    tmp_path: Path, how: str, jobs: str
) -> None:
    source = tmp_path / "source.raw"
    source.write_bytes(b"".join(bytes([i % 251]) * 700 + os.urandom(100) for i in range(8000)))
    ours, theirs = tmp_path / "ours.qcow2", tmp_path / "theirs.qcow2"
    assert image("convert", source, ours, "--compression", how, "-j", jobs) == 0
    qemu_img("convert", "-c", "-O", "qcow2", "-o", f"compression_type={how}", source, theirs)
    assert "identical" in qemu_img("compare", source, ours)
    counts = qemu_check(ours)
    assert counts[0] == 0
    assert counts[1]["compressed-clusters"] == qemu_check(theirs)[1]["compressed-clusters"]
    assert ours.stat().st_size <= 1.02 * theirs.stat().st_size + 65536


@pytest.mark.parametrize("later", ["4M", "32M"])
def test_a_snapshot_converts_at_its_own_size(tmp_path: Path, later: str) -> None:
    source = make(tmp_path / "source.qcow2", "write -P 1 0 1M", "write -P 2 7M 1M")
    qemu_img("snapshot", "-c", "then", source)
    qemu_img("resize", "-q", *(["--shrink"] if later == "4M" else []), source, later)
    qemu_io(source, "write -P 9 0 2M")
    target = tmp_path / "then.qcow2"
    assert image("convert", source, target, "-l", "then") == 0
    assert info(target)["virtual-size"] == 8 * MiB
    qemu_io(target, "read -P 1 0 1M", "read -P 0 1M 6M", "read -P 2 7M 1M")
    assert image("convert", source, tmp_path / "no.qcow2", "-l", "never") == 3


def test_the_name_tells_the_format_where_it_is_not_said(tmp_path: Path) -> None:
    source = make(tmp_path / "source.qcow2", "write -P 1 0 1M")
    for name, wanted in (
        ("a.qcow2", "qcow2"),
        ("a.raw", "raw"),
        ("a.img", "raw"),
        ("plain", "raw"),
    ):
        assert image("convert", source, tmp_path / name) == 0
        assert info(tmp_path / name)["format"] == wanted


# --- what is refused, and what fails --------------------------------------------------------------


def listing(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["source.qcow2", "there"], 3), (["missing", "new"], 3), (["cut.qcow2", "new"], 3),
        (["loop.qcow2", "new"], 3), (["source.qcow2", "nowhere/new"], 3),
        (["held.qcow2", "new"], 3),
        (["source.qcow2", "new", "-O", "raw", "-c"], 2),
        (["source.qcow2", "new.qcow2", "-o", "size=3"], 2),
        (["source.qcow2", "new.qcow2", "-c", "-o", "preallocation=full"], 3),
        (["source.qcow2", "new", "-l", "nothing"], 3), (["source.qcow2", "source.qcow2"], 3),
    ],
)  # fmt: skip
def test_a_refused_conversion_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("source.qcow2", "held.qcow2", "loop.qcow2"):
        make(tmp_path / name, "write -P 1 0 1M")
    qemu_img("rebase", "-u", "-b", "loop.qcow2", "-F", "qcow2", "loop.qcow2")
    (tmp_path / "cut.qcow2").write_bytes((tmp_path / "source.qcow2").read_bytes()[:200_000])
    (tmp_path / "there").touch()
    before = listing(tmp_path)
    holder = RawFile.open(tmp_path / "held.qcow2", writable=True)
    try:
        assert image("convert", *words) == code
    finally:
        holder.close()
    assert listing(tmp_path) == before


def started(*words: str | Path, limit: int | None = None) -> subprocess.Popen[bytes]:
    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "growdisk.cli.main", *map(str, words)]
    return subprocess.Popen(
        command, preexec_fn=limited, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize("options", [["-O", "raw"], ["-O", "qcow2"], ["-O", "qcow2", "-c"]])
@pytest.mark.parametrize("verb", ["convert", "copy"])
def test_a_full_host_leaves_nothing(tmp_path: Path, options: list[str], verb: str) -> None:
    source = tmp_path / "source.raw"
    source.write_bytes(os.urandom(4 * MiB))
    words = [verb, source, tmp_path / "new", *(options if verb == "convert" else [])]
    process = started("--json", "image", *words, limit=2 * MiB)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, json.loads(out)["error"]["code"]) == (3, 3), err
    assert [path.name for path in tmp_path.iterdir()] == ["source.raw"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_what_is_stopped_leaves_nothing_that_stands_in_the_way(
    tmp_path: Path, number: signal.Signals
) -> None:
    source, target = tmp_path / "source.raw", tmp_path / "new.qcow2"
    source.write_bytes(os.urandom(MiB) * 400)
    process = started("image", "convert", source, target, "-c", "-j", "1")
    while not list(tmp_path.glob(".*")):
        assert process.poll() is None, "it has ended before it could be stopped"
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert not target.exists()
    if number != signal.SIGKILL:
        assert [path.name for path in tmp_path.iterdir()] == ["source.raw"]
    assert image("convert", source, target) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.qcow2", "source.raw"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("name", ["disk.qcow2", "disk.raw"])
@pytest.mark.parametrize("verb", ["create", "resize"])
def test_room_that_was_taken_is_given_back_if_it_is_stopped(
    tmp_path: Path, number: signal.Signals, name: str, verb: str
) -> None:
    disk = tmp_path / name
    options = ["-o", "preallocation=full"]
    if verb == "resize":
        assert image("create", disk, "1M") == 0
        options = ["--preallocation", "full"]
    before = {path.name for path in tmp_path.iterdir()}
    process = started("image", verb, disk, "4G", *options)
    while taken(tmp_path) < 32 * MiB:
        assert process.poll() is None, "it has ended before it could be stopped"
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(timeout=60) == 130
    assert ({path.name for path in tmp_path.iterdir()}, taken(tmp_path) < MiB) == (before, True)
    if verb == "resize":
        assert json.loads(qemu_img("info", "--output=json", disk))["virtual-size"] == MiB


def taken(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir())


def test_a_hangup_that_is_ignored_stays_so(tmp_path: Path) -> None:
    """As by nohup."""
    source = tmp_path / "source.raw"
    source.write_bytes(os.urandom(MiB) * 100)
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        process = started("image", "convert", source, tmp_path / "new.qcow2", "-c", "-j", "1")
    finally:
        signal.signal(signal.SIGHUP, old)
    while not list(tmp_path.glob(".*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 0


# --- copy -----------------------------------------------------------------------------------------


def test_copies_have_the_holes_that_were_asked_for(tmp_path: Path) -> None:
    source = tmp_path / "source.raw"
    with source.open("wb") as file:
        file.write(b"x" * MiB + bytes(MiB))  # the second half is written zeros
        file.truncate(4 * MiB + 100)
    blocks = {}
    for how in ("auto", "always", "never"):
        copy = tmp_path / how
        assert image("copy", source, copy, "--sparse", how) == 0
        assert copy.read_bytes() == source.read_bytes()
        blocks[how] = copy.stat().st_blocks * 512 // MiB
    assert blocks == {"auto": 2, "always": 1, "never": 4}


@pytest.mark.parametrize("kind", ["xfs", "btrfs", "ext4"])
def test_a_copy_shares_its_blocks_where_the_file_system_can_do_that(
    tmp_path: Path, kind: str
) -> None:
    with small_file_system(tmp_path / "small", kind, 320 * MiB) as place:
        source, copy, packed = place / "source.raw", place / "copy.raw", place / "converted.qcow2"
        with source.open("wb") as file:
            file.write(os.urandom(8 * MiB))
            file.truncate(64 * MiB + 100)
        before = free_room(place)
        assert image("copy", source, copy) == 0
        assert (before - free_room(place) < 4 * MiB) == (kind != "ext4")
        assert copy.read_bytes() == source.read_bytes()
        assert copy.stat().st_blocks * 512 < 9 * MiB
        with copy.open("r+b") as file:
            file.write(b"changed")
        assert source.read_bytes()[:7] != b"changed"
        assert image("copy", "--sparse", "always", source, place / "other") == 0
        assert (place / "other").read_bytes() == source.read_bytes()
        assert image("convert", copy, packed) == 0
        assert "identical" in qemu_img("compare", "-f", "raw", "-F", "qcow2", copy, packed)


def test_no_copy_is_made_of_an_image_that_is_written_to_nor_onto_one(tmp_path: Path) -> None:
    source = make(tmp_path / "source.qcow2")
    (tmp_path / "there").touch()
    assert image("copy", source, tmp_path / "there") == 3
    holder = RawFile.open(source, writable=True)
    try:
        assert image("copy", source, tmp_path / "new") == 3
    finally:
        holder.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.qcow2", "there"]
