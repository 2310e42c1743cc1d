"""info, map and check answer as qemu-img does, key by key, over images of every kind."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from growdisk.api.images.checking import check_image
from growdisk.api.images.info import image_info
from growdisk.api.images.mapping import image_map
from growdisk.cli.main import main
from tests.oracle.image_matrix import DESCRIBABLE, READABLE
from tests.oracle.qemu import qemu_img


def growdisk_json(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, object]:
    code = main(["--json", *map(str, words)])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("kind", DESCRIBABLE)
def test_info_has_the_keys_and_values_of_qemu_img(kind: str, tmp_path: Path) -> None:
    path = DESCRIBABLE[kind](tmp_path)
    theirs = json.loads(qemu_img("info", "--output=json", path))
    assert image_info(path).as_json() == theirs


def test_names_in_an_image_end_before_their_first_nul(tmp_path: Path) -> None:
    path = tmp_path / "image.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", path, "1M")
    qemu_img("bitmap", "--add", path, "dirty-bits")
    qemu_img("snapshot", "-c", "clean-state", path)
    data = path.read_bytes()
    for name in (b"dirty-bits", b"clean-state"):
        assert name in data
        data = data.replace(name, name.replace(b"-", b"\0"))
    path.write_bytes(data)
    theirs = json.loads(qemu_img("info", "--output=json", path))
    assert image_info(path).as_json() == theirs
    assert theirs["snapshots"][0]["name"] == "clean"


@pytest.mark.parametrize("kind", READABLE)
def test_map_has_the_records_of_qemu_img(kind: str, tmp_path: Path) -> None:
    path = READABLE[kind](tmp_path)
    theirs = json.loads(qemu_img("map", "--output=json", path))
    assert [json.loads(record.json_text()) for record in image_map(path)] == theirs


@pytest.mark.parametrize("kind", [kind for kind in READABLE if "raw" not in kind])
def test_check_has_the_keys_and_the_exit_code_of_qemu_img(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = READABLE[kind](tmp_path)
    theirs = subprocess.run(
        ["qemu-img", "check", "--output=json", path], capture_output=True, check=False
    )
    assert growdisk_json(capsys, "image", "check", path) == (
        theirs.returncode,
        json.loads(theirs.stdout),
    )


def test_repair_of_leaks_is_told_as_qemu_img_tells_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = READABLE["leaky"](tmp_path)
    copy = tmp_path / "theirs" / path.name
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    theirs = subprocess.run(
        ["qemu-img", "check", "-r", "leaks", "--output=json", copy.name],
        cwd=copy.parent, capture_output=True, check=False,
    )  # fmt: skip
    code, answer = growdisk_json(capsys, "image", "check", "-r", "leaks", path)
    assert isinstance(answer, dict)
    assert code == theirs.returncode
    assert answer | {"filename": copy.name} == json.loads(theirs.stdout)
    qemu_img("check", path)


def test_a_raw_image_has_nothing_to_check_and_says_so_as_qemu_img_does(tmp_path: Path) -> None:
    path = READABLE["sparse raw"](tmp_path)
    assert check_image(path) is None
    assert main(["image", "check", str(path)]) == 63


def test_what_cannot_be_checked_is_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.qcow2"
    path.write_bytes(b"QFI\xfb" + bytes(20))
    code, answer = growdisk_json(capsys, "image", "check", path)
    assert code == 1
    assert isinstance(answer, dict)
    assert answer["error"]["code"] == 1


@pytest.mark.parametrize(
    "kind", ["chain", "snapshots and bitmaps", "qcow2 compat=0.10", "encrypted", "odd raw"]
)
def test_info_reads_as_qemu_img_info(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = DESCRIBABLE[kind](tmp_path)
    assert main(["image", "info", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == qemu_img("info", path).splitlines()


@pytest.mark.parametrize("kind", ["chain", "sparse raw", "qcow2 preallocation=metadata"])
def test_map_reads_as_qemu_img_map(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = READABLE[kind](tmp_path)
    assert main(["image", "map", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == qemu_img("map", path).splitlines()


def test_snapshots_are_listed_with_the_keys_of_qemu_img(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = READABLE["snapshots and bitmaps"](tmp_path)
    code, answer = growdisk_json(capsys, "image", "snapshot", "list", path)
    assert (code, answer) == (0, json.loads(qemu_img("info", "--output=json", path))["snapshots"])
    assert main(["image", "snapshot", "list", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == qemu_img("snapshot", "-l", path).splitlines()
