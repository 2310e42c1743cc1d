"""growdisk script: a folder of files, and nothing else touched."""

from __future__ import annotations

import base64
import io
import os
import re
import tarfile
from pathlib import Path

import pytest
import yaml

from growdisk.block.raw import RawFile
from growdisk.guest_scripts.script_plan import DRIVER, Phase
from tests.guests.layouts import Layout
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run
from tests.unit.cli.command import fingerprint, growdisk, in_process

FILES = sorted([*(phase.file_name for phase in Phase), DRIVER, "README.md", "user-data"])


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_disk(tmp_path_factory.mktemp("script") / "guest.qcow2", SmallDisk())


def test_it_writes_the_scripts_and_touches_nothing_else(image: Path, tmp_path: Path) -> None:
    before = fingerprint(image)
    answer = growdisk("script", image, "+1G", "--swap", "move", "-o", tmp_path / "out", "--json")
    assert (answer.code, answer.json()["result"], answer.json()["files"]) == (0, "written", FILES)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    assert fingerprint(image) == before
    assert [path.name for path in image.parent.iterdir()] == [image.name]
    text = (tmp_path / "out" / "README.md").read_text()
    assert f"virsh blockresize GUEST DISK {1280 << 20}B" in text


def test_user_data_carries_the_same_scripts_and_tells_growpart_to_keep_out(
    image: Path, tmp_path: Path
) -> None:
    assert in_process("script", image, "+1G", "-o", tmp_path / "out").code == 0
    text = (tmp_path / "out" / "user-data").read_text()
    assert text.startswith("#cloud-config\n")
    data = yaml.safe_load(text)
    assert (data["growpart"]["mode"], data["resize_rootfs"]) == ("off", False)
    archive, each_boot = data["write_files"]
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(archive["content"]))) as tar:
        for member in tar.getmembers():
            file = tar.extractfile(member)
            assert file
            script = (tmp_path / "out" / member.name).read_text()
            said, written = (
                re.findall(r"^ *(?!#[^!])(\S.*)", text, re.M)
                for text in (file.read().decode(), script)
            )
            assert said == written
    folder, name = archive["path"].removesuffix(".tar.xz"), Path(archive["path"]).name
    assert f"cd {folder}\ntar -xJf ../{name} ||\n" in each_boot["content"]
    assert (each_boot["permissions"], "per-boot" in each_boot["path"]) == ("0700", True)
    (tmp_path / "each-boot").write_text(each_boot["content"])
    run("shellcheck", tmp_path / "each-boot")


def test_an_image_that_a_guest_has_open_is_read_all_the_same(image: Path, tmp_path: Path) -> None:
    guest = RawFile.open(image, writable=True)
    try:
        assert in_process("script", image, "+1G", "-o", tmp_path / "out").code == 0
    finally:
        guest.close()


def test_an_empty_folder_will_do_and_a_full_one_is_refused(image: Path, tmp_path: Path) -> None:
    assert growdisk("script", image, "+1G", "-o", ".", cwd=tmp_path).code == 0
    (tmp_path / "README.md").write_text("mine")
    answer = in_process("script", image, "+1G", "-o", tmp_path)
    assert (answer.code, "exists already" in answer.err) == (3, True)
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize("folder", ["nowhere/out", "/proc/out", "/etc/passwd", "\0"])
def test_a_folder_that_cannot_be_is_refused_and_nothing_is_left(
    image: Path, tmp_path: Path, folder: str
) -> None:
    answer = in_process("script", image, "+1G", "-o", tmp_path / folder)
    assert (answer.code, "Traceback" in answer.err) == (3, False)
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_leaves_no_room_for_a_temporary_one_is_refused(
    image: Path, tmp_path: Path
) -> None:
    answer = in_process("script", image, "+1G", "-o", tmp_path / ("a" * 250), "--json")
    assert (answer.code, answer.json()["error"]["id"]) == (3, "folder-not-writable")
    assert list(tmp_path.iterdir()) == []


def test_with_nothing_to_do_nothing_is_written(image: Path, tmp_path: Path) -> None:
    answer = in_process("script", image, "-o", tmp_path / "out", "--json")
    assert (answer.code, answer.json()["result"]) == (0, "nochange")
    assert list(tmp_path.iterdir()) == []


def test_what_only_a_guest_at_rest_can_have_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "guest.raw"
    image.write_bytes(b"")
    os.truncate(image, 256 << 20)
    run("mkfs.f2fs", "-q", image)
    answer = in_process("script", image, "+1G", "-o", tmp_path / "out")
    assert (answer.code, "shut the guest down" in answer.err) == (3, True), answer
    assert not (tmp_path / "out").exists()


def test_a_file_system_on_a_whole_disk_has_its_scripts(tmp_path: Path) -> None:
    image = make_disk(tmp_path / "guest.qcow2", SmallDisk(Layout.NO_TABLE))
    assert in_process("script", image, "+1G", "-o", tmp_path / "out").code == 0
    text = (tmp_path / "out" / "README.md").read_text()
    assert "for one disk: the one that is all `ext4`" in text
    assert "table `" not in text


def test_the_folder_has_to_be_named(image: Path) -> None:
    assert in_process("script", image, "+1G").code == 2
