"""What an image names is followed inside its own folder, and out of it only if the user says so.

Each hostile image here is one that qemu-img opens without asking, and so reads or writes a file of
the host.
"""

from __future__ import annotations

import hashlib
import os
import pty
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from growdisk import api
from growdisk.api.images.info import image_info
from growdisk.errors import ReferenceOutside, Refused
from growdisk.planner.goal import Goal, RunOptions
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.named_files import trusting, trusting_references
from growdisk.units import SizeSpec
from tests.oracle.qemu import qemu_img, qemu_io
from tests.unit.cli.command import GROWDISK, growdisk

MiB = 1 << 20
SECRET = b"root:$6$secret".ljust(MiB, b"\0")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """Three folders: images, those of somebody else, and the host's own files."""
    for name in ("images", "others", "etc"):
        (tmp_path / name).mkdir()
    (tmp_path / "etc" / "shadow").write_bytes(SECRET)
    return tmp_path


def with_data_file(image: Path, target: Path | str) -> Path:
    """An image with an existing `target` as data file, as an attacker would write it.

    The file has not consented.
    """
    (kept := image.parent / "kept").mkdir()
    create(kept / "image", MiB, CreateOptions(data_file="data", data_file_raw=True))
    data = (kept / "image").read_bytes()
    name, there = os.fsencode(target), os.fsencode(kept / "data")
    at = data.index(b"DATA" + len(there).to_bytes(4, "big"))
    end = at + 8 + -(-len(there) // 8) * 8
    padded = name + bytes(-len(name) % 8)
    changed = data[:at] + b"DATA" + len(name).to_bytes(4, "big") + padded + data[end:]
    image.write_bytes(changed[: 1 << 16].ljust(1 << 16, b"\0") + data[1 << 16 :])
    for file in kept.iterdir():
        file.unlink()
    kept.rmdir()
    return image


def over(image: Path, base: Path | str, base_format: str = "raw") -> Path:
    create(image, MiB, CreateOptions(), backing=base, backing_format=base_format)
    return image


READERS = (
    "map {}",
    "convert -O raw {} new",
    "compare {} patch",
    "read {} 0 4096b new",
    "overlay {} new",
)
WRITERS = ("resize {} +1M", "write {} 0 patch", "rebase {}", "commit {}")


def refused(line: str, image: Path) -> bool:
    """Whether growdisk refuses for this reason, and image, host and folder are unchanged."""
    folder = image.parent
    root = next(parent for parent in folder.parents if (parent / "etc").is_dir() and parent.name)
    (folder / "patch").write_bytes(b"owned" * 1024)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    verb, *words = line.split()
    answer = growdisk(
        "image", verb, *(image if word == "{}" else word for word in words), cwd=folder
    )
    assert (root / "etc" / "shadow").read_bytes() == SECRET
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before, line
    refused_with = 2 if verb == "compare" else 3  # as qemu-img compare, where 1 is a difference
    return (
        answer.code == refused_with
        and "outside its own folder" in answer.err
        and "--trust-references" in answer.err
    )


@pytest.mark.parametrize("line", [*READERS, *WRITERS[:2]])
def test_a_data_file_of_the_host_is_neither_read_nor_written(host: Path, line: str) -> None:
    image = with_data_file(host / "images" / "disk.qcow2", host / "etc" / "shadow")
    assert refused(line, image)


WATCHED = (
    "import sys; sys.addaudithook(lambda event, words: event in ('os.scandir', 'open') "
    "and print('TOUCHED', words[0], file=sys.stderr)); from growdisk.cli.main import main; "
    "sys.exit(main())"
)


@pytest.mark.parametrize("line", ["write IMAGE 0 other", "resize IMAGE +1M", "check -r all IMAGE"])
def test_nothing_beside_a_data_file_of_the_host_is_looked_at(host: Path, line: str) -> None:
    image = with_data_file(host / "images" / "disk", host / "etc" / "shadow")
    (other := host / "images" / "other").write_bytes(b"x" * 512)
    words = [{"IMAGE": str(image), "other": str(other)}.get(word, word) for word in line.split()]
    python = GROWDISK.with_name("python")
    told = subprocess.run(
        [python, "-c", WATCHED, "image", *words], capture_output=True, text=True, check=False
    ).stderr
    touched = [line for line in told.splitlines() if line.startswith("TOUCHED")]
    assert any("images" in line for line in touched)
    assert not any(str(host / "etc") in line for line in touched), touched


@pytest.mark.parametrize("line", [*READERS, *WRITERS])
def test_a_backing_file_of_the_host_is_neither_read_nor_written(host: Path, line: str) -> None:
    assert refused(line, over(host / "images" / "disk.qcow2", host / "etc" / "shadow"))
    assert refused(line, over(host / "images" / "relative.qcow2", "../etc/shadow"))


def test_neither_is_one_of_an_image_below(host: Path) -> None:
    over(host / "images" / "base.qcow2", "../etc/shadow")
    for line in (*READERS, *WRITERS):
        assert refused(
            line, over(host / "images" / f"top{len(line)}{line[0]}.qcow2", "base.qcow2", "qcow2")
        )


def test_a_link_in_the_folder_leads_out_of_it(host: Path) -> None:
    (host / "images" / "base.raw").symlink_to("../etc/shadow")
    (host / "images" / "deep").symlink_to("../etc")
    assert refused("map {}", over(host / "images" / "one.qcow2", "base.raw"))
    assert refused("map {}", over(host / "images" / "two.qcow2", "deep/shadow"))
    assert refused(
        "map {}", with_data_file(host / "images" / "three.qcow2", host / "images" / "base.raw")
    )


def test_a_folder_with_a_longer_name_is_another_one(host: Path) -> None:
    (host / "images-of-others").mkdir()
    (host / "images-of-others" / "base.raw").write_bytes(SECRET)
    assert refused("map {}", over(host / "images" / "disk.qcow2", "../images-of-others/base.raw"))


def test_a_guest_that_writes_a_header_into_its_raw_disk_reaches_nothing(host: Path) -> None:
    disk = with_data_file(host / "images" / "disk.img", host / "etc" / "shadow")
    os.truncate(disk, 4 * MiB)
    assert refused("resize {} +1M", disk) and refused("convert -O raw {} new", disk)
    for command in (("show",), ("plan",), ("expand",)):
        with pytest.raises(Refused):
            growdisk_api(command[0], disk)
    assert growdisk("image", "resize", "-f", "raw", str(disk), "+1M").code == 0
    assert disk.stat().st_size == 5 * MiB


def growdisk_api(verb: str, image: Path) -> object:
    goal = Goal(SizeSpec(MiB, relative=True))
    if verb == "show":
        return api.inspect(image)
    return (
        api.plan(image, goal, RunOptions())
        if verb == "plan"
        else api.expand(image, goal, RunOptions())
    )


@pytest.mark.parametrize("verb", ["show", "plan", "expand"])
def test_the_main_verbs_do_not_follow_it_either(host: Path, verb: str) -> None:
    with pytest.raises(ReferenceOutside) as caught:
        growdisk_api(verb, over(host / "images" / "disk.qcow2", host / "etc" / "shadow"))
    assert caught.value.target == host / "etc" / "shadow"


def test_info_and_check_name_it_and_leave_it_closed(host: Path) -> None:
    os.mkfifo(host / "etc" / "pipe")  # to open it would be to wait
    image = over(host / "images" / "disk.qcow2", host / "etc" / "pipe")
    answer = growdisk("image", "info", image)
    assert answer.code == 0 and f"backing file: {host / 'etc' / 'pipe'}" in answer.out
    answer = growdisk("image", "check", image)
    assert answer.code == 0 and "lies outside its folder and was not looked at" in answer.out
    answer = growdisk("image", "check", "--json", image)  # its keys are those of qemu-img
    assert answer.code == 0 and "lies outside its folder and was not looked at" in answer.err
    data = with_data_file(host / "images" / "data.qcow2", host / "etc" / "shadow")
    assert image_info(data).as_json()["format-specific"]["data"]["data-file"] == str(
        host / "etc" / "shadow"
    )  # type: ignore[index]


# --- what stays as it was -------------------------------------------------------------------------


def test_what_lies_in_the_folder_or_below_is_followed(host: Path) -> None:
    (host / "images" / "bases").mkdir()
    for place in ("base.raw", "bases/base.raw"):
        (host / "images" / place).write_bytes(SECRET)
        image = over(host / "images" / f"{len(place)}.qcow2", place)
        qemu_img("compare", "-F", "raw", image, host / "images" / place)
        assert growdisk("image", "compare", image, host / "images" / place).code == 0


def test_an_image_below_may_name_what_the_one_on_top_may(host: Path) -> None:
    (host / "images" / "bases").mkdir()
    (host / "images" / "first.raw").write_bytes(SECRET)
    over(host / "images" / "bases" / "second.qcow2", "../first.raw")
    over(host / "images" / "third.qcow2", "bases/second.qcow2", "qcow2")
    assert growdisk("image", "map", host / "images" / "third.qcow2").code == 0
    assert refused("map {}", host / "images" / "bases" / "second.qcow2")


def test_the_folder_is_the_one_that_is_named_and_the_one_where_the_image_is(host: Path) -> None:
    (host / "images" / "base.raw").write_bytes(SECRET)
    over(host / "images" / "disk.qcow2", host / "images" / "base.raw")
    (host / "others" / "link.qcow2").symlink_to("../images/disk.qcow2")
    assert growdisk("image", "map", host / "others" / "link.qcow2").code == 0
    (host / "elsewhere").symlink_to("images")
    assert growdisk("image", "map", host / "elsewhere" / "disk.qcow2").code == 0
    assert growdisk("image", "map", "disk.qcow2", cwd=host / "images").code == 0


def test_what_the_user_names_himself_may_lie_anywhere(host: Path) -> None:
    base, images = host / "others" / "base.qcow2", host / "images"
    create(base, MiB, CreateOptions())
    qemu_io(base, "write -P 7 0 64k")
    assert growdisk("image", "create", "-b", base, "-F", "qcow2", images / "one.qcow2").code == 0
    assert growdisk("image", "overlay", base, images / "two.qcow2").code == 0
    create(images / "three.qcow2", MiB, CreateOptions())
    assert (
        growdisk("image", "rebase", "-b", "../others/base.qcow2", images / "three.qcow2").code == 0
    )
    over(images / "four.qcow2", "one.qcow2", "qcow2")
    assert growdisk("image", "rebase", "-u", "-b", base, images / "four.qcow2").code == 0
    for name in ("one", "two", "three", "four"):
        qemu_img("map", images / f"{name}.qcow2")


def test_but_not_what_that_one_names(host: Path) -> None:
    base = over(host / "others" / "base.qcow2", "../etc/shadow")
    for words in (("create", "-b", base), ("overlay", base)):
        assert growdisk("image", *words, host / "images" / "new.qcow2").code == 3
    create(host / "images" / "disk.qcow2", MiB, CreateOptions())
    assert refused(f"rebase -b {base} {{}}", host / "images" / "disk.qcow2")


# --- trust ----------------------------------------------------------------------------------------


def test_who_trusts_the_image_gets_what_qemu_gives(host: Path) -> None:
    image = over(host / "images" / "disk.qcow2", host / "etc" / "shadow")
    for words in (
        ("--trust-references", "image", "convert"),
        ("image", "convert", "--trust-references"),
    ):
        (host / "new").unlink(missing_ok=True)
        assert growdisk(*words, "-O", "raw", image, host / "new").code == 0
        assert (host / "new").read_bytes() == SECRET
    data = with_data_file(host / "images" / "data.qcow2", host / "etc" / "shadow")
    assert growdisk("image", "resize", "--trust-references", data, "2M").code == 0
    assert (host / "etc" / "shadow").stat().st_size == 2 * MiB


def test_trust_can_stand_in_the_environment(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = over(host / "images" / "disk.qcow2", host / "etc" / "shadow")
    for value, code in (("", 3), ("0", 3), ("1", 0)):
        monkeypatch.setenv("GROWDISK_TRUST_REFERENCES", value)
        assert growdisk("image", "map", image).code == code


def test_programs_trust_one_file_or_all_and_only_for_a_while(host: Path) -> None:
    image = over(host / "images" / "disk.qcow2", host / "etc" / "shadow")
    for trust in (
        trusting(host / "etc" / "shadow"),
        trusting_references(),
        api.trusting_references(),
    ):
        with trust, Qcow2Image.open(image) as opened:
            assert opened.read(0, 4) == b"root"
        with pytest.raises(ReferenceOutside), trusting(host / "etc" / "passwd"):
            Qcow2Image.open(image)


def test_an_output_of_provision_stands_on_its_base_wherever_that_is(host: Path) -> None:
    base = host / "others" / "base.raw"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", base, "16m"], check=True, capture_output=True)
    outputs = [api.Output(host / "images" / name) for name in ("one", "two", "three")]
    report = api.provision(base, outputs, api.Recipe(overlay=True), jobs=2)
    assert [output.error for output in report.outputs] == [None] * 3
    for output in outputs:
        qemu_img("check", output.path)


def _all_that_was_said(terminal: int) -> str:
    """Until the other end is closed, which Linux tells by EIO."""
    said = b""
    with suppress(OSError):
        while part := os.read(terminal, 4096):
            said += part
    os.close(terminal)
    return said.decode()


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 3), ("", 3)])
def test_on_a_terminal_it_is_asked_for(host: Path, answer: str, code: int) -> None:
    image = over(host / "images" / "disk.qcow2", host / "etc" / "shadow")
    before = hashlib.sha256(image.read_bytes()).digest()
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    command = [GROWDISK, "image", "map", image]
    result = subprocess.run(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, timeout=60, check=False
    )
    os.close(theirs)
    said = _all_that_was_said(ours)
    assert result.returncode == code
    assert (
        f"its backing file is {host / 'etc' / 'shadow'}, outside its folder. Open it? [y/N]" in said
    )
    assert before == hashlib.sha256(image.read_bytes()).digest()
