"""What a message says to do is done, and helps."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from growdisk.playbook.perform import perform
from tests.conftest import Copier
from tests.oracle.qemu import qemu_check, qemu_img, qemu_io
from tests.unit.cli.command import fingerprint, in_process, run_folder
from tests.unit.cli.runs import run_on


def advice(*words: str | Path, code: int = 3) -> str:
    answer = in_process(*words, "--json")
    assert answer.code == code, answer
    return str(answer.json()["error"]["do"])


def done(command: str) -> None:
    """A command of growdisk as a message has it: pasted into a shell, with growdisk in PATH."""
    venv = Path(sys.executable).parent
    subprocess.run(["sh", "-c", f"PATH={venv}:$PATH; {command}"], check=True)


def test_a_step_that_the_run_does_not_have(copied: Copier) -> None:
    image = copied("guest.qcow2")
    run_on(image, keep=True)
    before = fingerprint(image)
    assert advice("rollback", image, "--to", "rewrite-partition") == "write rewrite-partitions"
    assert advice("rollback", image, "--to", "nosuch").startswith("name one of them")
    assert fingerprint(image) == before
    assert in_process("rollback", image, "--to", "rewrite-partitions").code == 0


@pytest.mark.parametrize("renamed", [True, False])
def test_an_image_that_was_renamed_or_copied_without_its_folder(
    copied: Copier, renamed: bool
) -> None:
    image, original = copied("guest.qcow2"), copied("guest.qcow2", "original")
    run_on(image, keep=True)
    other = image.with_name("other one.qcow2")
    image.rename(other) if renamed else shutil.copy2(image, other)
    hint = advice("rollback", other)
    assert hint in in_process("status", other).out
    done(hint.split(";")[0])
    assert run_folder(image).exists() != renamed
    done(f"growdisk rollback '{other}'")
    assert qemu_img("compare", other, original)


def test_an_image_whose_folder_is_lost(copied: Copier) -> None:
    image, original = copied("guest.qcow2"), copied("guest.qcow2", "original")
    run_on(image, keep=True)
    shutil.rmtree(run_folder(image))
    hint = advice("expand", image, "+1G")
    done(re.findall(r"growdisk rollback --force \S+", hint)[0])
    assert qemu_img("compare", image, original)


@pytest.mark.parametrize("name", ["guest.qcow2", "guest.raw"])
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "unfinished"])
def test_an_image_that_somebody_else_has_written_to(copied: Copier, name: str, kept: bool) -> None:
    image = copied(name)
    run_on(image, keep=True)
    if not kept:
        assert in_process("rollback", image, "--to", "rewrite-partitions").code == 0
    elif name == "guest.qcow2":
        pytest.skip("its snapshots are whole, whatever was written since")
    subprocess.run(["qemu-io", "-f", image.suffix[1:], "-c", "write 0 512", image], check=True)
    size = in_process("show", image, "--json").json()["image"]["virtual_size"]
    hint = advice("rollback", image)
    done(hint.partition(": ")[2].replace("remove ", "rm -r ").replace(", then run ", "; "))
    assert in_process("status", image, "--json").json()["state"] in ("none", "done")
    assert in_process("show", image, "--json").json()["image"]["virtual_size"] == size
    if name == "guest.qcow2":
        assert qemu_check(image)[0] == 0


def test_an_image_in_use_can_be_described(copied: Copier) -> None:
    image = copied("guest.qcow2")
    words = ["qemu-io", "-f", "qcow2", image]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdin and user.stdout
        user.stdin.write(b"read 0 512\n")
        user.stdin.flush()
        user.stdout.readline()
        hint = advice("image", "info", image)
        assert in_process(*re.findall(r"growdisk (image info -U \S+)", hint)[0].split()).code == 0
        user.communicate(b"quit\n")


def test_a_raw_image_becomes_qcow2(
    copied: Copier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    image = copied("guest.raw")
    done(advice("image", "snapshot", "create", image, "one").removesuffix(" makes it qcow2"))
    assert in_process("image", "snapshot", "create", "NEW.qcow2", "one").code == 0
    assert qemu_img("compare", "NEW.qcow2", image)


def test_an_image_with_a_data_file_is_not_said_to_be_expanded(copied: Copier) -> None:
    source = copied("guest.qcow2")
    image, copy = source.with_name("data.qcow2"), source.with_name("copy.qcow2")
    options = f"data_file={source.with_name('data.raw')}"
    qemu_img("convert", "-O", "qcow2", "-o", options, source, image)
    resized = in_process("image", "resize", image, "+1G")
    assert (resized.code, "growdisk expand" in resized.err) == (0, False)
    assert "a tool inside the guest" in resized.err
    assert "growdisk image convert makes a copy without one" in advice("expand", image)
    assert in_process("image", "convert", image, copy).code == 0
    assert in_process("expand", copy).code == 0


def test_an_image_that_another_one_lies_on(copied: Copier) -> None:
    image = copied("guest.qcow2")
    overlay = image.with_name("overlay.qcow2")
    assert in_process("image", "overlay", image, overlay).code == 0
    qemu_io(overlay, "write 100k 512")
    assert "merge it down (growdisk image commit) and remove it" in advice("expand", image, "+1G")
    assert in_process("image", "commit", overlay).code == 0
    overlay.unlink()
    assert in_process("expand", image, "+1G").code == 0


def test_an_image_with_several_overlays_that_one_of_them_is_merged_into(
    copied: Copier, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = copied("guest.qcow2")
    monkeypatch.chdir(image.parent)
    for name in ("one.qcow2", "two.qcow2"):
        assert in_process("image", "overlay", image, name).code == 0
    command = re.search(
        r"growdisk image rebase OVERLAY -b ''", advice("image", "commit", "one.qcow2")
    )
    assert command is not None
    done(command[0].replace("OVERLAY", "two.qcow2"))
    assert in_process("image", "commit", "one.qcow2").code == 0


@pytest.mark.parametrize("command", ["plan", "expand"])
def test_an_image_whose_counts_cannot_be_read(copied: Copier, command: str) -> None:
    image = copied("guest.qcow2")
    with image.open("r+b") as file:
        file.seek(48)
        file.seek(int.from_bytes(file.read(8)))
        file.write(b"\xff" * 8)  # the first entry of the refcount table
    hint = advice(command, image, "+1G")
    done(hint.removeprefix("mend it: ").partition(";")[0])
    assert in_process(command, image, "+1G").code == 0


def test_images_that_lie_on_each_other(
    copied: Copier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    image = copied("guest.qcow2")
    one, other = image.with_name("one.qcow2"), image.with_name("other.qcow2")
    for path, below in ((one, other), (other, one)):
        qemu_img("create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", below, path, "1G")
    words = re.findall(r"growdisk (image rebase .*?)\)", advice("show", one))[0].split()
    assert in_process(*words, one, "-b", image).code == 0
    assert in_process("show", other).code == 0


def test_a_raw_luks_image_is_converted_whatever_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    image, secret = Path("my disk,1.luks"), "secret,id=key,file=KEYFILE"
    Path("KEYFILE").write_text("secret")
    source = "driver=luks,key-secret=key,file.filename=my disk,,1.luks"
    target = "driver=qcow2,file.filename=my disk,,1.qcow2"
    create = ("create", "-q", "--object", secret, "-f", "luks")
    qemu_img(*create, "-o", "key-secret=key,iter-time=10", image, "4M")
    hint = advice("image", "info", image)
    done(hint.split(" makes it")[0])
    assert qemu_img("compare", "--object", secret, "--image-opts", source, target)


def test_another_disk_is_to_grow_too_whatever_its_name(copied: Copier) -> None:
    image, other = copied("guest.qcow2"), copied("guest.raw", "another disk.raw")
    hint = advice("plan", image, "+1G", "--with", other)
    done(f"growdisk plan '{image}' +1G --swap move {hint.partition(': ')[2]}")


def test_an_image_that_is_only_upgraded_is_changed(tmp_path: Path) -> None:
    image = tmp_path / "old.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", "compat=0.10", image, "4M")
    words = ("image", "resize", image, "+0", "--upgrade")
    first, again = in_process(*words), in_process(*words, "--json")
    assert first.err == f"{image}: version 2 -> 3\n"
    assert again.json()["result"] == "nochange"


def test_provision_and_tasks_have_other_options_than_expand(tmp_path: Path) -> None:
    base = two_partitions(tmp_path / "base.raw")
    words = ("provision", base, tmp_path / "new.qcow2", "--size", "1G", "--partition", "1")
    assert "growdisk expand has, for a copy" in advice(*words)
    task = perform("expand", {"image": str(base), "size": "+1G", "partition": "1"})
    assert "(keys of the task: move, delete, partition)" in task.message
    assert "(keys of the task: move, delete, partition)" in task.result["error"]["do"]


def two_partitions(path: Path, second: str = "", signature: bytes = b"", files: str = "") -> Path:
    """ext4 in a first partition, and in a second one, whose entry and first bytes are given."""
    path.write_bytes(bytes(64 << 20))
    table = f"label: gpt\nstart=2048, size=40960\nstart=43008, size=20480{second}\n"
    subprocess.run(["sfdisk", "-q", path], input=table.encode(), check=True)
    content = path.with_name("content")
    for name in filter(None, files.split()):
        (content / name).mkdir(parents=True)
    for start, size, populated in ((1, 20, ()), (21, 10, ("-d", content) if files else ())):
        ext4 = ("mkfs.ext4", "-q", "-F", *populated, "-E", f"offset={start << 20}", path)
        subprocess.run((*ext4, f"{size}M"), check=True)
    with path.open("r+b") as file:
        file.seek(21 << 20)
        file.write(signature)
    return path


ESP = ", type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B"


@pytest.mark.parametrize(
    ("behind", "ways"),
    [
        ({}, ["--move 2", "--delete 2"]),
        ({"files": "etc usr"}, ["--move 2"]),
        ({"files": "grub"}, ["--move 2"]),
        ({"second": ESP}, ["--move 2"]),
        ({"signature": b"hsqs" + bytes(4092)}, []),
        ({"signature": b"-unknown" + bytes(4088)}, ["--move 2", "--delete 2"]),
    ],
    ids=["data", "a system", "its boot", "ESP", "OpenWrt", "unknown"],
)
def test_what_a_guest_cannot_do_without_is_not_advised_to_be_removed(
    tmp_path: Path, behind: dict[str, Any], ways: list[str]
) -> None:
    disk = two_partitions(tmp_path / "disk.raw", **behind)
    (blocker,) = in_process("show", disk, "--json").json()["blockers"]
    hint = advice("plan", disk, "+1G", "--partition", "1")
    assert blocker["options"] == ways == [way for way in ("--move 2", "--delete 2") if way in hint]
    assert ways or "it has to stay" in hint
