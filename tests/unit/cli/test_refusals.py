"""A refusal touches nothing: exit 3 with what, why, what to do; the image and its folder same."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from growdisk.block.locks import image_writers
from growdisk.units import GiB, MiB
from tests.conftest import Copier
from tests.e2e.process import await_true
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run
from tests.unit.cli.command import (
    GROWDISK,
    environment,
    fingerprint,
    growdisk,
    in_process,
    run_folder,
)
from tests.unit.cli.refusing import refused

_INCOMPATIBLE_FEATURES = 72  # byte offset in a qcow2 v3 header


# --- an image that is open ----------------------------------------------------------------------


@contextmanager
def qemu_with(image: Path, image_format: str) -> Iterator[int]:
    """A real QEMU, stopped before its first instruction, that has the image as its disk.

    Gives its pid.
    """
    drive = f"file={image},format={image_format},if=virtio"
    command = [
        "qemu-system-x86_64", "-S", "-accel", "tcg", "-m", "64", "-nodefaults", "-display", "none",
        "-drive", drive,
    ]  # fmt: skip
    with subprocess.Popen(
        [*command, "-monitor", "stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"info status\n")
            process.stdin.flush()
            # The monitor greets before the drive is open, and answers after it.
            assert any(b"VM status" in line for line in process.stdout)
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize(("name", "image_format"), [("guest.qcow2", "qcow2"), ("guest.raw", "raw")])
def test_image_that_a_guest_runs_on(copied: Copier, name: str, image_format: str) -> None:
    image = copied(name)
    with qemu_with(image, image_format) as pid:
        refused(image, why=f"qemu-system-x86 (pid {pid}) has it open")
        answer = growdisk("expand", image, "+64M", "--json")
        assert answer.json()["error"]["code"] == 3
    assert in_process("plan", image, "+64M").code == 0


def test_image_that_another_tool_writes(copied: Copier) -> None:
    image = copied("guest.qcow2")
    with subprocess.Popen(
        ["qemu-io", "-f", "qcow2", image], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        await_true(lambda: bool(image_writers(image)), 60, "qemu-io has opened the image")
        refused(image, why=f"qemu-io (pid {holder.pid}) has it open")
        assert holder.stdin is not None
        holder.stdin.close()


def test_image_that_is_the_base_of_a_running_guest(copied: Copier, tmp_path: Path) -> None:
    image, overlay = copied("guest.qcow2"), tmp_path / "overlay.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "qcow2", overlay)
    before = fingerprint(image)
    with qemu_with(overlay, "qcow2") as pid:
        answer = in_process("expand", image, "+64M")
    assert (answer.code, f"(pid {pid})" in answer.err) == (3, True)
    assert fingerprint(image) == before


# --- what is not an image ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not a disk image (0 bytes)"),
        (b"just some text\n", "not a disk image (15 bytes)"),
        (b"just some text\n" * 1000, "nothing is recognised"),
        (b"KDMV" + bytes(4096), "it is a VMDK image"),
        (bytes(64) + b"\x7f\x10\xda\xbe" + bytes(4096), "it is a VDI image"),
        (b"QFI\xfb" + b"\0\0\0\x03" + b"\xff" * 4096, ""),
        (b"QFI\xfb", ""),
        (b"QFI\xfb" + b"\0\0\0\x01" + bytes(4096), "version"),
    ],
    ids=[
        "empty",
        "short text",
        "long text",
        "VMDK",
        "VDI",
        "nonsense header",
        "only the magic",
        "version 1",
    ],
)
def test_file_that_is_no_image(tmp_path: Path, content: bytes, why: str) -> None:
    image = tmp_path / "file"
    image.write_bytes(content)
    refused(image, why=why)


def test_images_that_other_tools_made(tmp_path: Path) -> None:
    for kind, why in (
        ("vmdk", "it is a VMDK image"),
        ("vdi", "it is a VDI image"),
        ("vhdx", "it is a VHDX image"),
    ):
        image = tmp_path / f"disk.{kind}"
        run("qemu-img", "create", "-q", "-f", kind, image, "64M")
        refused(image, why=why)


@pytest.mark.parametrize(
    "verb", ["show", "plan", "expand", "status", "resume", "rollback", "commit"]
)
@pytest.mark.parametrize(
    "kind", ["folder", "missing", "loop", "pipe", "device", "root", "long name"]
)
def test_path_that_leads_to_no_file(tmp_path: Path, kind: str, verb: str) -> None:
    path = tmp_path / "x"
    match kind:
        case "folder":
            path.mkdir()
        case "loop":
            path.symlink_to(path)
        case "pipe":
            os.mkfifo(path)
        case "device":
            path = Path("/dev/zero")
        case "root":
            path = Path("/")
        case "long name":
            path = tmp_path / ("x" * 300)
    answer = in_process(verb, path)
    assert (answer.code, answer.out) == (3, "")
    assert answer.err.startswith("growdisk: ")


def test_file_without_permission(copied: Copier, tmp_path: Path) -> None:
    image = copied("guest.qcow2")
    image.chmod(0o600)
    tmp_path.chmod(0o755)
    if os.geteuid() != 0:
        image.chmod(0)
        refused(image, why="Permission denied")
        return
    code = (
        "import sys, os\nfrom growdisk.cli.main import main\nos.setgroups([]); "
        "os.setgid(65534); os.setuid(65534)\n"
    )
    code += "sys.exit(main(['expand', sys.argv[1], '+64M']))"
    python = GROWDISK.with_name("python")
    warm = ["-c", "import growdisk.api.runs, growdisk.cli.dispatch, growdisk.cli.report"]
    subprocess.run([python, *warm], check=True, env=environment())
    preload = (
        "import growdisk.api.runs, growdisk.cli.dispatch, growdisk.cli.report, "
        "growdisk.cli.progress\n"
    )
    done = subprocess.run(
        [python, "-c", preload + code, image],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 3, done.stderr
    assert "Permission denied" in done.stderr


@pytest.mark.parametrize("verb", ["plan", "expand"])
def test_file_on_a_host_file_system_that_is_read_only(copied: Copier, verb: str) -> None:
    image = copied("guest.qcow2")
    walls = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    done = subprocess.run(
        [*walls, GROWDISK, verb, image, "+64M"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert (done.returncode, "mounted read-only" in done.stderr) == (3, True), done.stderr


@contextmanager
def marked(path: Path, flag: str) -> Iterator[None]:
    """With an attribute that not even root gets around."""
    if os.geteuid() != 0:
        pytest.skip("only root may set it")
    run("chattr", f"+{flag}", path)
    try:
        yield
    finally:
        run("chattr", f"-{flag}", path)


def test_file_that_may_only_be_appended_to(copied: Copier) -> None:
    image = copied("guest.qcow2")
    with marked(image, "a"):
        refused(image, why="may only be appended to")


@pytest.mark.parametrize("name", ["guest.qcow2", "guest.raw"])
def test_folder_in_which_no_run_can_be_kept(copied: Copier, name: str) -> None:
    image = copied(name)
    with marked(image.parent, "i"):
        refused(image, why=f"nothing can be made in {image.parent}")


@pytest.mark.parametrize("verb", ["plan", "expand"])
def test_something_else_where_the_folder_of_the_run_would_be(copied: Copier, verb: str) -> None:
    image = copied("guest.qcow2")
    before = fingerprint(image)
    run_folder(image).symlink_to("/nowhere")
    answer = in_process(verb, image, "+64M")
    assert (answer.code, f"{run_folder(image)} is not a folder" in answer.err) == (3, True), (
        answer.err
    )
    assert fingerprint(image) == before
    assert run_folder(image).is_symlink()


def test_image_with_an_external_data_file(copied: Copier, tmp_path: Path) -> None:
    image, data = tmp_path / "split.qcow2", tmp_path / "data"
    run(
        "qemu-img", "convert", "-O", "qcow2", "-o", f"data_file={data}", copied("guest.qcow2"),
        image,
    )  # fmt: skip
    refused(image, why="external data file, where nothing can be kept")


# --- images that cannot be worked on ------------------------------------------------------------


def test_damaged_header(copied: Copier) -> None:
    image = copied("guest.qcow2")
    with image.open("r+b") as file:
        file.seek(8)
        file.write(bytes((7 * n * n + 13) % 256 for n in range(96)))
    refused(image, why="")
    refused(image, "+64M", "-f", "qcow2", why="")


def test_unknown_incompatible_feature(copied: Copier) -> None:
    image = copied("guest.qcow2")
    with image.open("r+b") as file:
        file.seek(_INCOMPATIBLE_FEATURES)
        file.write((1 << 40).to_bytes(8, "big"))
    refused(image, why="feature")


def test_image_marked_corrupt(copied: Copier) -> None:
    image = copied("guest.qcow2")
    with image.open("r+b") as file:
        file.seek(_INCOMPATIBLE_FEATURES)
        file.write((2).to_bytes(8, "big"))
    refused(image, why="corrupt")


def test_backing_file_that_is_missing(copied: Copier, tmp_path: Path) -> None:
    base, image = copied("guest.qcow2"), tmp_path / "overlay.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", image)
    base.unlink()
    refused(image, why="it is the backing file of")


def test_version_2_with_snapshots_and_its_cure(tmp_path: Path) -> None:
    image = make_disk(
        tmp_path / "old.qcow2", SmallDisk(size=128 * MiB, qcow2_options="compat=0.10")
    )
    run("qemu-img", "snapshot", "-c", "before-upgrade", image)
    answer = refused(image, why="version 2 with snapshots")
    cure = answer.err[answer.err.index("qemu-img amend") : answer.err.index(")")]
    run(*cure.split())
    assert in_process("plan", image, "+64M").code == 0


# --- runs ---------------------------------------------------------------------------------------


def test_folder_that_cannot_hold_a_journal(copied: Copier) -> None:
    image = copied("guest.qcow2")
    run_folder(image).write_text("in the way")
    before = fingerprint(image)
    answer = in_process("expand", image, "+64M")
    assert answer.code == 3, answer
    assert ".growdisk" in answer.err
    assert fingerprint(image) == before


def test_disk_of_two_tebibytes_is_refused_as_quickly_as_a_small_one(tmp_path: Path) -> None:
    image = make_disk(tmp_path / "guest.qcow2", SmallDisk(size=128 * MiB))
    shutil.copyfile(image, tmp_path / "large.qcow2")
    run("qemu-img", "resize", "-q", tmp_path / "large.qcow2", str(1990 * GiB))
    started = time.monotonic()
    refused(tmp_path / "large.qcow2", "+1T", why="32 bits")
    assert time.monotonic() - started < 10


def test_a_second_image_in_the_place_of_the_size_is_told_of_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.raw", "b.raw", "+16M"):
        (tmp_path / name).write_bytes(bytes(4096))
    monkeypatch.chdir(tmp_path)
    answer = in_process("expand", "a.raw", "b.raw")
    assert answer.code == 2, answer
    assert "b.raw stands where the size should" in answer.err and "--with b.raw=+10G" in answer.err
    assert in_process("plan", "a.raw", "+16M").code == 3, (
        "a size is a size, also where a file is called like that"
    )


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "disk.qcow2", "+1G", "--state-dir", ""),
        ("list", "disk.qcow2", "--html", ""),
        ("script", "disk.qcow2", "+1G", "-o", ""),
        ("watch", ""),
    ],
    ids=" ".join,
)
def test_an_empty_name_is_not_the_current_folder(words: tuple[str, ...]) -> None:
    answer = in_process(*words)
    assert (answer.code, answer.out) == (2, "")
    assert "the name of a file or folder is empty" in answer.err
