"""Names as users have them: long, strange, folders, files that are none; disks of odd sizes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from growdisk import api
from growdisk.cli.main import main
from tests.oracle.qemu import qemu_img
from tests.oracle.verbs import image, info

NAMES = ("n" * 255, "ü" * 127, "two words 'and' \"quotes\"", "line\nbreak",
    os.fsdecode(b"\xff\xfe"), "json:{}.qcow2",
         "-rf.qcow2", "a,b=c", "%s$(x)")  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_any_name_that_a_file_may_have_is_made_changed_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / name  # to qemu-img json: and - at the beginning mean something else
    assert image("create", "--", name, "1M") == 0
    assert image("snapshot", "create", "--", name, "one") == 0
    assert image("compact", "--", name) == 0
    assert image("resize", "--", name, "2M") == 0
    assert image("overlay", "--", name, "overlay") == 0
    assert {path.name for path in tmp_path.iterdir()} == {name, "overlay"}
    assert info(place)["virtual-size"] == 2 << 20
    qemu_img("check", place)
    assert image("convert", "--", "overlay", "flat.raw") == 0
    assert Path("flat.raw").stat().st_size == 2 << 20


@pytest.mark.parametrize("place", (".", "/", "", "folder", "folder/"))
@pytest.mark.parametrize(
    "verb",
    ("create {} 1M", "convert there.raw {}", "overlay there.raw {}", "info {}", "compact {}"),
)
def test_what_is_no_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("there.raw").write_bytes(b"x" * 4096)
    assert image(*(word.replace("{}", place) for word in verb.split())) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "there.raw"}


@pytest.mark.parametrize(
    "place", ("/proc/self/mem", "/dev/null", "/dev/zero", "/proc/self/environ")
)
def test_a_file_without_a_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert image("create", "there.raw", "1M") == 0
    assert image("info", place) == 3
    for line in (
        "info -f raw {}",
        "convert -f raw {} new",
        "copy {} new",
        "create -b {} -F raw new",
        "write there.raw 0 {}",
    ):
        assert image(*(word.replace("{}", place) for word in line.split())) == 3, line
    assert {path.name for path in tmp_path.iterdir()} == {"there.raw"}


def test_a_comma_in_the_name_of_another_file_is_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for qemu-img, with every option that takes a name."""
    monkeypatch.chdir(tmp_path)
    assert image("create", "a,b.raw", "1M") == 0
    assert image("create", "-o", "backing_file=a,,b.raw,backing_fmt=raw", "over.qcow2") == 0
    assert info(Path("over.qcow2"))["backing-filename"] == "a,b.raw"
    for verb in ("create {} 1M", "convert a,b.raw {}"):
        name = f"{verb.split()[0]}.qcow2"
        words = verb.replace("{}", name).split()
        data = f"{name},data"
        assert image(*words, "-o", f"compat=1.1,data_file={data.replace(',', ',,')}") == 0
        qemu_img("check", name)
        assert Path(data).exists()


def test_a_name_that_leaves_no_room_for_one_with_growdisk_behind_it_has_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where runs of devices are recorded, so that it is looked for."""
    (tmp_path / "state" / "runs" / "lv-other").mkdir(parents=True)
    monkeypatch.setenv("GROWDISK_STATE_DIR", str(tmp_path / "state"))
    disk, patch = tmp_path / ("x" * 249 + ".qcow2"), tmp_path / "patch"
    patch.write_bytes(b"x" * 512)
    assert image("create", disk, "1M") == 0
    assert api.status(disk).state == "none"
    assert image("write", disk, "0", patch) == 0
    assert image("convert", disk, tmp_path / "flat.raw") == 0


def test_control_characters_of_a_name_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "\x1b[31mred\r.qcow2"
    assert image("create", disk, "1M") == 0
    for words in (("resize", disk, "+1M"), ("compact", disk), ("overlay", disk, f"{disk}.top")):
        assert image(*words) == 0
    assert main(["status", str(disk)]) == 0
    said = capsys.readouterr()
    assert not {"\x1b", "\r"} & set(said.out + said.err)
    assert "?[31mred?.qcow2: 1.0 MiB -> 2.0 MiB" in said.err


@pytest.mark.parametrize("size", (513, 70_001, 1_000_001))
def test_a_raw_disk_of_an_odd_size_goes_everywhere(tmp_path: Path, size: int) -> None:
    raw, qcow2, packed, overlay = (
        tmp_path / name for name in ("odd.raw", "plain.qcow2", "packed.qcow2", "over.qcow2")
    )
    raw.write_bytes(os.urandom(size))
    assert image("convert", raw, qcow2) == 0
    assert image("convert", "-c", raw, packed) == 0
    assert image("overlay", raw, overlay) == 0
    for made in (qcow2, packed, overlay):
        qemu_img("compare", raw, made)
        assert info(made)["virtual-size"] == -(-size // 512) * 512
    assert image("write", overlay, "0", raw) == 0
    assert image("commit", overlay) == 0
    qemu_img("compare", raw, qcow2)
