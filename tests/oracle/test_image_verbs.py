"""compare, snapshot, create, resize, read, write by the command line; QEMU's tools judge."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from tests.oracle.qemu import qemu_img, qemu_io
from tests.oracle.verbs import image, info, make

MiB = 1 << 20


# --- compare --------------------------------------------------------------------------------------


def both_compare(one: Path, other: Path, *options: str) -> int:
    theirs = subprocess.run(
        ["qemu-img", "compare", *options, one, other], capture_output=True, check=False
    ).returncode
    ours = image("compare", *options, one, other)
    assert ours == theirs
    return ours


def test_the_same_content_in_other_clusters_is_the_same(tmp_path: Path) -> None:
    one = make(tmp_path / "one.qcow2", "write -P 1 1M 1M", "write -z 3M 64k")
    other = make(tmp_path / "two.qcow2", "write -c -P 1 1M 1M", options="cluster_size=4k")
    assert both_compare(one, other) == 0


def test_one_byte_makes_a_difference_and_its_sector_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = make(tmp_path / "one.qcow2", "write -P 1 1M 1M")
    other = make(tmp_path / "two.qcow2", "write -P 1 1M 1M", "write -P 7 1234567 1")
    assert both_compare(one, other) == 1
    sector = 1234567 // 512 * 512
    assert f"Content mismatch at offset {sector}!" in capsys.readouterr().out


@pytest.mark.parametrize("tail", ["write -z 8M 64k", "write -P 0 8M 64k", "write -P 1 9M 512"])
@pytest.mark.parametrize("options", [[], ["-s"]])
def test_what_is_longer_by_zeros_is_the_same_unless_strict(
    tmp_path: Path, tail: str, options: list[str]
) -> None:
    one = make(tmp_path / "one.qcow2", "write -P 1 1M 1M")
    other = make(tmp_path / "two.qcow2", "write -P 1 1M 1M", tail, size="12M")
    assert both_compare(one, other, *options) == (1 if options or "P 1" in tail else 0)
    assert both_compare(other, one, *options) == (1 if options or "P 1" in tail else 0)


# --- snapshots ------------------------------------------------------------------------------------


def names(path: Path) -> list[str]:
    listed = info(path).get("snapshots", [])
    assert isinstance(listed, list)
    return [snapshot["name"] for snapshot in listed]


def test_snapshots_are_made_applied_and_deleted(tmp_path: Path) -> None:
    path = make(tmp_path / "image.qcow2", "write -P 1 0 1M")
    assert image("snapshot", "create", path, "before") == 0
    qemu_io(path, "write -P 2 0 1M")
    assert image("snapshot", "apply", path, "before") == 0
    qemu_io(path, "read -P 1 0 1M")
    assert names(path) == ["before"]
    assert image("snapshot", "delete", path, "1") == 0
    assert names(path) == []
    qemu_img("check", path)


def test_an_id_that_is_also_a_name_is_refused_until_it_is_said_which(tmp_path: Path) -> None:
    path = make(tmp_path / "image.qcow2")
    for name in ("first", "1", "third"):
        qemu_img("snapshot", "-c", name, path)
    before = path.read_bytes()
    assert image("snapshot", "delete", path, "1") == 3
    assert image("snapshot", "apply", path, "1") == 3
    assert path.read_bytes() == before
    assert image("snapshot", "delete", path, "--name", "1") == 0
    assert names(path) == ["first", "third"]
    assert image("snapshot", "delete", path, "--id", "1") == 0
    assert names(path) == ["third"]
    qemu_img("check", path)


def test_of_two_snapshots_of_one_name_the_id_chooses(tmp_path: Path) -> None:
    path = make(tmp_path / "image.qcow2", "write -P 1 0 64k")
    qemu_img("snapshot", "-c", "twin", path)
    qemu_io(path, "write -P 2 0 64k")
    qemu_img("snapshot", "-c", "twin", path)
    assert image("snapshot", "apply", path, "twin") == 3
    assert image("snapshot", "apply", path, "--id", "1") == 0
    qemu_io(path, "read -P 1 0 64k")
    qemu_img("check", path)


# --- create ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        "compat=0.10", "cluster_size=4k", "cluster_size=2M,refcount_bits=1",
        "lazy_refcounts=on,refcount_bits=64",
        "compression_type=zstd", "preallocation=metadata",
    ],
)  # fmt: skip
def test_a_new_image_is_what_qemu_img_would_have_made(tmp_path: Path, options: str) -> None:
    ours, theirs = tmp_path / "ours" / "image.qcow2", tmp_path / "theirs" / "image.qcow2"
    for path in (ours, theirs):
        path.parent.mkdir()
    assert image("create", "-o", options, ours, "64M") == 0
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, theirs, "64M")
    volatile = ("filename", "actual-size")
    mine, wanted = info(ours), info(theirs)
    assert {k: v for k, v in mine.items() if k not in volatile} == {
        k: v for k, v in wanted.items() if k not in volatile
    }
    qemu_img("check", ours)
    qemu_io(ours, "write -P 1 0 10M", "read -P 0 10M 54M")


def test_an_overlay_takes_the_size_of_its_backing_file_and_records_its_format(
    tmp_path: Path,
) -> None:
    (tmp_path / "sub").mkdir()
    make(tmp_path / "base.qcow2", "write -P 1 0 1M")
    overlay = tmp_path / "sub" / "overlay.qcow2"
    assert image("create", overlay, "-b", "../base.qcow2") == 0
    facts = info(overlay)
    assert facts["backing-filename"] == "../base.qcow2"
    assert facts["backing-filename-format"] == "qcow2"
    assert facts["virtual-size"] == 8 * MiB
    qemu_io(overlay, "read -P 1 0 1M")


@pytest.mark.parametrize(("how", "blocks"), [("off", 0), ("falloc", 4 * MiB), ("full", 4 * MiB)])
def test_raw_images_take_the_room_that_was_asked_for(tmp_path: Path, how: str, blocks: int) -> None:
    path = tmp_path / "disk.raw"
    assert image("create", "-f", "raw", "-o", f"preallocation={how}", path, "4M") == 0
    assert (path.stat().st_size, path.stat().st_blocks * 512) == (4 * MiB, blocks)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["there.qcow2", "1G"], 3), (["new.qcow2", "1G", "-o", "cluster_size=3k"], 2),
        (["new.qcow2", "1G", "-o", "colour=red"], 2), (["new.qcow2"], 2),
        (["new.qcow2", "10GB"], 2),
        (["new.qcow2", "1G", "-b", "missing.qcow2"], 3),
        (["new.qcow2", "1G", "-b", "new.qcow2"], 3),
        (["new.qcow2", "1G", "-b", "loop.qcow2"], 3), (["nowhere/new.qcow2", "1G"], 3),
        (["new.raw", "1G", "-f", "raw", "-o", "preallocation=metadata"], 3),
        (["new.qcow2", "1G", "-b", "nbd:localhost:10809"], 3),
    ],
)  # fmt: skip
def test_a_creation_that_is_refused_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "there.qcow2")
    make(tmp_path / "loop.qcow2")
    qemu_img("rebase", "-u", "-b", "loop.qcow2", "-F", "qcow2", tmp_path / "loop.qcow2")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert image("create", *words) == code
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# --- resize ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("preallocation", ["off", "metadata", "falloc", "full"])
def test_a_grown_image_reads_zeros_behind_its_old_end(tmp_path: Path, preallocation: str) -> None:
    path = make(tmp_path / "image.qcow2", "write -P 1 0 8M")
    assert image("resize", path, "+8M", "--preallocation", preallocation) == 0
    qemu_img("check", path)
    qemu_io(path, "read -P 1 0 8M", "read -P 0 8M 8M")
    assert info(path)["virtual-size"] == 16 * MiB


@pytest.mark.parametrize("name", ["disk.raw", "image.qcow2"])
def test_shrinking_wants_to_be_said(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert image("create", "-f", path.suffix[1:], path, "8M") == 0
    before = path.read_bytes()
    assert image("resize", path, "4M") == 3
    assert path.read_bytes() == before
    assert image("resize", path, "4M", "--shrink") == 0
    assert info(path)["virtual-size"] == 4 * MiB


# --- bytes ----------------------------------------------------------------------------------------


def test_bytes_go_in_and_come_out_again(tmp_path: Path) -> None:
    path = make(tmp_path / "image.qcow2", "write -P 1 0 1M")
    payload = tmp_path / "payload"
    payload.write_bytes(bytes(range(256)) * 20)
    assert image("write", path, "4096b", payload) == 0
    qemu_io(path, "read -P 1 0 4096", "read -P 1 9216 64k")
    assert image("read", path, "4096b", "5k", tmp_path / "out") == 0
    assert (tmp_path / "out").read_bytes() == payload.read_bytes()
    assert image("read", path, "0", "4k", tmp_path / "out") == 0
    assert (tmp_path / "out").read_bytes() == b"\1" * 4096
    qemu_img("check", path)


def test_bytes_behind_the_end_are_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "image.qcow2")
    before = path.read_bytes()
    payload = tmp_path / "payload"
    payload.write_bytes(b"x" * 1024)
    assert image("write", path, "8388000b", payload) == 3
    assert image("read", path, "8M", "1b", tmp_path / "out") == 3
    assert path.read_bytes() == before
    assert not (tmp_path / "out").exists()


def test_whatever_writes_is_kept_out_of_an_image_in_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path / "image.qcow2")
    payload = tmp_path / "payload"
    payload.write_bytes(b"x")
    holder = RawFile.open(path, writable=True)
    try:
        for words in (
            ["resize", path, "+1G"],
            ["snapshot", "create", path, "s"],
            ["write", path, "0", payload],
            ["read", path, "0", "1b", tmp_path / "out"],
            ["info", path],
            ["map", path],
            ["compare", path, path],
        ):
            assert image(*words) == (2 if words[0] == "compare" else 3)
            assert "(pid " in capsys.readouterr().err
        assert image("check", path) == 1
        assert image("info", "-U", path) == 0
    finally:
        holder.close()
