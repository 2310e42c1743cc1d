"""A file named qcow2 that is none is not written to as raw; nor is one with a false header."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Copier
from tests.oracle.qemu import qemu_img
from tests.unit.cli.command import fingerprint, in_process

WRITING = (
    ("image", "write", "IMAGE", "0", "FILE"),
    ("image", "resize", "IMAGE", "+1M"),
    ("image", "check", "-r", "all", "IMAGE"),
    ("image", "snapshot", "create", "IMAGE", "x"),
    ("image", "compact", "IMAGE"),
    ("image", "convert", "IMAGE", "NEW"),
    ("image", "create", "-b", "IMAGE", "NEW"),
    ("image", "overlay", "IMAGE", "NEW"),
    ("expand", "IMAGE", "+64M"),
    ("plan", "IMAGE", "+64M"),
    ("provision", "IMAGE", "NEW"),
)


def words(image: Path, line: tuple[str, ...]) -> list[str]:
    file = image.with_name("bytes")
    file.write_bytes(bytes(512))
    return [
        {"IMAGE": str(image), "FILE": str(file), "NEW": str(image.with_name("new.qcow2"))}.get(w, w)
        for w in line
    ]


@pytest.mark.parametrize("line", WRITING, ids=lambda line: " ".join(line))
@pytest.mark.parametrize("name", ["guest.qcow2", "GUEST.QCOW2"])
def test_what_lost_its_header_is_not_taken_for_raw(
    copied: Copier, line: tuple[str, ...], name: str
) -> None:
    image = copied("guest.raw", name)
    before = fingerprint(image)
    answer = in_process(*words(image, line))
    assert answer.code == (1 if "check" in line else 3), answer
    assert ("its name says qcow2" in answer.err, "-f raw" in answer.err) == (True, True)
    assert fingerprint(image) == before
    assert not image.with_name("new.qcow2").exists()


def test_who_says_raw_is_believed_and_looking_is_free(copied: Copier) -> None:
    image = copied("guest.raw", "guest.qcow2")
    assert in_process("show", image).code == 0
    assert in_process("image", "info", image).code == 0
    assert in_process("image", "resize", "-f", "raw", image, "+1M").code == 0
    assert in_process("plan", "-f", "raw", image, "+64M").code == 0


def extensions_end(image: Path) -> int:
    """Where the extension of type 0 stands in a version 3 header."""
    header = image.read_bytes()[:4096]
    position = int.from_bytes(header[100:104], "big")
    while True:
        kind, length = struct.unpack_from(">II", header, position)
        if kind == 0:
            return position
        position += 8 + -(-length // 8) * 8


@pytest.mark.parametrize("length", [1 << 31, 0xFFFFFFFF, 65536])
@pytest.mark.parametrize("backed", [False, True])
def test_end_of_the_extensions_that_reaches_out_of_the_header_is_corruption(
    tmp_path: Path, length: int, backed: bool
) -> None:
    image = tmp_path / "x.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", tmp_path / "base.qcow2", "1M")
    qemu_img(
        "create", "-q", "-f", "qcow2",
        *(("-b", tmp_path / "base.qcow2", "-F", "qcow2") if backed else ()), image, "1M",
    )  # fmt: skip
    position = extensions_end(image)
    with image.open("r+b") as file:
        file.seek(position + 4)
        file.write(length.to_bytes(4, "big"))
    assert (
        subprocess.run(["qemu-img", "info", image], capture_output=True, check=False).returncode
        == 1
    )
    before = fingerprint(image)
    for line in (("image", "check", "IMAGE"), *WRITING[:5]):
        answer = in_process(*words(image, line))
        assert (answer.code in (1, 3), "its header is corrupt" in answer.err) == (True, True), line
    assert fingerprint(image) == before


def test_end_of_the_extensions_with_data_inside_the_header_is_fine(tmp_path: Path) -> None:
    image = tmp_path / "x.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", image, "1M")
    with image.open("r+b") as file:
        file.seek(extensions_end(image) + 4)
        file.write((16).to_bytes(4, "big"))
    assert in_process("image", "info", image, "--json").json() == json.loads(
        qemu_img("info", "--output=json", image)
    )


@pytest.mark.parametrize("size", ["+0", "+0G", "128M"])
def test_growth_of_nothing_is_nothing_to_do(copied: Copier, size: str) -> None:
    for name in ("guest.qcow2", "guest.raw"):
        image = copied(name)
        before = fingerprint(image)
        answer = in_process("image", "resize", image, size)
        assert (answer.code, "nothing to do" in answer.err) == (0, True)
        assert in_process("plan", image, size, "--grow", "sda1=+0").code == 0
        assert fingerprint(image) == before


def test_who_calls_a_raw_disk_qcow2_is_told_to_leave_that_out(copied: Copier) -> None:
    answer = in_process("plan", "-f", "qcow2", copied("guest.raw", "guest.raw"), "+64M")
    assert answer.code == 3 and "leave -f qcow2 out" in answer.err
    assert "check -r all" not in answer.err
