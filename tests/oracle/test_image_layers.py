"""overlay, commit and rebase by the command line; qemu-img and qemu-io judge the guest's view."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from growdisk.api.images import layers
from growdisk.block.raw import RawFile
from tests.oracle.layered import seen
from tests.oracle.qemu import qemu_check, qemu_img, qemu_io
from tests.oracle.verbs import image, info, make

MiB = 1 << 20


def overlay_on(
    base: Path, path: Path, *actions: str, size: str | None = None, options: str = "compat=1.1"
) -> Path:
    form = info(base)["format"]
    words = [size] if size else []
    qemu_img(
        "create", "-q", "-f", "qcow2", "-o", options, "-b", base.name, "-F", str(form), path, *words
    )
    qemu_io(path, *actions)
    return path


def states(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- overlay --------------------------------------------------------------------------------------


def test_an_overlay_is_empty_and_shows_its_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    make(tmp_path / "base.qcow2", "write -P 1 0 1M")
    monkeypatch.chdir(tmp_path)
    assert image("overlay", "base.qcow2", "sub/new.qcow2") == 0
    assert info(tmp_path / "sub/new.qcow2")["backing-filename"] == "../base.qcow2"
    qemu_io(tmp_path / "sub/new.qcow2", "read -P 1 0 1M")
    assert image("overlay", "base.qcow2", "sub/new.qcow2") == 3
    assert image("overlay", "missing.qcow2", "other.qcow2") == 3
    assert not (tmp_path / "other.qcow2").exists()


def test_a_chain_ten_deep_reads_through(tmp_path: Path) -> None:
    make(tmp_path / "0.qcow2", "write -P 1 0 64k")
    for number in range(1, 11):
        path = tmp_path / f"{number}.qcow2"
        assert image("overlay", tmp_path / f"{number - 1}.qcow2", path) == 0
        qemu_io(
            path,
            f"write -P {number} {number}M 64k"
            if number < 8
            else f"write -P {number} {number * 100}k 4k",
        )
    qemu_io(tmp_path / "10.qcow2", "read -P 1 0 64k", "read -P 3 3M 64k", "read -P 10 1000k 4k")
    assert image("compare", tmp_path / "10.qcow2", tmp_path / "9.qcow2") == 1


# --- commit ---------------------------------------------------------------------------------------

HANDLERS = (
    "write -P 7 0 100k",
    "write -z 1M 200k",
    "write -c -P 8 2M 64k",
    "write -P 9 3500k 3k",
    "discard 5M 64k",
)


@pytest.mark.parametrize("base_format", ["raw", "qcow2"])
@pytest.mark.parametrize("sizes", [("8M", "8M"), ("8M", "16M"), ("16M", "8M")])
def test_committed_data_are_in_the_base_and_the_overlay_is_empty(
    tmp_path: Path, base_format: str, sizes: tuple[str, str]
) -> None:
    base = tmp_path / f"base.{base_format}"
    qemu_img("create", "-q", "-f", base_format, base, sizes[0])
    subprocess.run(
        ["qemu-io", "-f", base_format, "-c", "write -P 1 0 8M", base],
        check=True,
        capture_output=True,
    )
    top = overlay_on(base, tmp_path / "top.qcow2", *HANDLERS, size=sizes[1])
    before = seen(top)
    assert image("commit", top) == 0
    assert seen(top) == before
    assert info(base)["virtual-size"] == max(int(size[:-1]) for size in sizes) * MiB
    assert qemu_check(top)[0] == 0
    assert qemu_check(top)[1]["allocated-clusters"] == 0
    assert top.stat().st_size <= 4 * 65536
    if base_format == "qcow2":
        assert qemu_check(base)[0] == 0
    if sizes[0] == sizes[1]:
        assert seen(base) == before


def test_snapshots_of_an_overlay_outlive_its_commit(tmp_path: Path) -> None:
    base = make(tmp_path / "base.qcow2", "write -P 1 0 8M")
    top = overlay_on(base, tmp_path / "top.qcow2", *HANDLERS)
    qemu_img("snapshot", "-c", "kept", top)
    qemu_io(top, "write -P 3 6M 1M")
    assert image("commit", top) == 0
    assert qemu_check(top)[0] == 0
    qemu_img("snapshot", "-a", "kept", top)
    qemu_io(top, "read -P 7 0 100k", "read -P 8 2M 64k")


def test_a_commit_that_dies_before_the_overlay_is_emptied_can_be_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make(tmp_path / "base.qcow2", "write -P 1 0 8M")
    top = overlay_on(base, tmp_path / "top.qcow2", *HANDLERS)
    before = seen(top)

    def die(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(layers.Qcow2Image, "make_empty", die)
    assert image("commit", top) == 130
    assert (seen(top), seen(base)) == (before, before)
    monkeypatch.undo()
    assert image("commit", top) == 0
    assert (seen(top), seen(base)) == (before, before)


def test_no_commit_into_a_base_that_another_program_reads(tmp_path: Path) -> None:
    base = make(tmp_path / "base.qcow2", "write -P 1 0 8M")
    top = overlay_on(base, tmp_path / "top.qcow2", *HANDLERS)
    before = states(tmp_path)
    holder = RawFile.open(base)
    try:
        assert image("commit", top) == 3
    finally:
        holder.close()
    assert states(tmp_path) == before
    assert image("commit", base) == 3
    assert states(tmp_path) == before


# --- rebase ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["compat=1.1", "compat=0.10", "cluster_size=4k"])
@pytest.mark.parametrize("new", ["middle", "other.qcow2", "short.raw", "long.qcow2", ""])
def test_a_safe_rebase_changes_nothing_that_the_guest_sees(
    tmp_path: Path, options: str, new: str
) -> None:
    base = make(tmp_path / "base.qcow2", "write -P 1 0 5M", "write -P 2 6M 1M", size="7M")
    make(tmp_path / "other.qcow2", "write -P 1 0 2M", "write -P 4 3M 5M")
    make(tmp_path / "long.qcow2", "write -P 1 0 64M", size="64M")
    (tmp_path / "short.raw").write_bytes(b"\1" * 3 * MiB)
    overlay_on(base, tmp_path / "middle", "write -P 5 4M 3k", "write -P 6 5M 100k")
    actions = HANDLERS if options != "compat=0.10" else (*HANDLERS[:1], *HANDLERS[2:4])
    top = overlay_on(
        tmp_path / "middle", tmp_path / "top.qcow2", *actions, size="8M", options=options
    )
    before = seen(top)
    bases = {name: seen(tmp_path / name) for name in ("base.qcow2", "other.qcow2", "middle")}
    words = ["-b", new] if new else []
    assert image("rebase", top, *words) == 0
    assert seen(top) == before
    assert qemu_check(top)[0] == 0
    facts = info(top)
    assert facts.get("backing-filename") == (new or None)
    assert facts.get("backing-filename-format") == (
        {"": None, "short.raw": "raw"}.get(new, "qcow2")
    )
    assert {name: seen(tmp_path / name) for name in bases} == bases


def test_a_rebase_onto_the_same_content_writes_no_clusters(tmp_path: Path) -> None:
    base = make(tmp_path / "base.qcow2", "write -P 1 0 5M")
    qemu_img("convert", "-O", "raw", base, tmp_path / "same.raw")
    top = overlay_on(base, tmp_path / "top.qcow2", "write -P 2 1M 64k")
    assert image("rebase", top, "-b", "same.raw") == 0
    assert qemu_check(top)[1]["allocated-clusters"] == 1


def test_an_unsafe_rebase_only_writes_the_name(tmp_path: Path) -> None:
    base = make(tmp_path / "base.qcow2", "write -P 1 0 5M")
    moved = tmp_path / ("moved-" * 20 + ".qcow2")
    top = overlay_on(base, tmp_path / "top.qcow2", "write -P 2 1M 64k")
    before = seen(top)
    base.rename(moved)
    assert image("rebase", top, "-b", moved.name) == 3  # the old one cannot be compared with
    assert image("rebase", top, "--unsafe", "-b", moved.name) == 0
    assert seen(top) == before
    assert image("rebase", top, "-u", "-b", "not/yet/there", "-F", "raw") == 0
    assert info(top)["backing-filename"] == "not/yet/there"
    assert qemu_check(moved)[0] == 0


@pytest.mark.parametrize(
    "words", [["-b", "top.qcow2"], ["-b", "above.qcow2"], ["-b", "missing"], ["-b", "x" * 1100]]
)
def test_a_rebase_that_is_refused_changes_nothing(tmp_path: Path, words: list[str]) -> None:
    base = make(tmp_path / "base.qcow2", "write -P 1 0 5M")
    top = overlay_on(base, tmp_path / "top.qcow2", "write -P 2 1M 64k")
    overlay_on(top, tmp_path / "above.qcow2")
    before = states(tmp_path)
    assert image("rebase", top, *words) == 3
    assert states(tmp_path) == before


def test_a_rebase_without_room_leaves_the_old_base(tmp_path: Path) -> None:
    base = make(tmp_path / "base.qcow2", "write -P 1 0 7M")
    make(tmp_path / "other.qcow2")
    top = overlay_on(base, tmp_path / "top.qcow2", "write -P 2 1M 64k")
    before = seen(top)
    command = f"ulimit -f 2048; exec python3 -m growdisk.cli.main image rebase {top} -b other.qcow2"
    done = subprocess.run(
        ["bash", "-c", command.replace("python3", sys.executable)], capture_output=True, check=False
    )
    assert done.returncode == 4, done.stderr
    assert info(top)["backing-filename"] == "base.qcow2"
    assert seen(top) == before
    assert qemu_check(top)[0] in (0, 3)
