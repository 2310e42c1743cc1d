"""Every writing verb sees the run of an image."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

from growdisk.api import status
from growdisk.qcow2.create import create
from growdisk.qcow2.create_options import CreateOptions
from growdisk.workflow.run_directory import RunDirectory
from tests.commands.writing_verbs import RAW, WRITING, asked
from tests.conftest import Copier
from tests.guests.loops import loop
from tests.oracle.qemu import qemu_img
from tests.unit.cli.command import fingerprint, in_process, run_folder
from tests.unit.cli.runs import run_on, shown_by, snapshots, travelled, waiting_in


@pytest.mark.parametrize("verb", WRITING)
@pytest.mark.parametrize("state", ["unfinished", "kept"])
def test_verb_that_writes_leaves_the_run_of_an_image_alone(
    copied: Copier, verb: str, state: str
) -> None:
    image = copied("guest.qcow2")
    run_on(image, keep=state == "kept", dies_at=None if state == "kept" else "rewrite-partitions")
    before = fingerprint(image)
    answer = asked(verb, image)
    assert (answer.code, fingerprint(image)) == (3, before), answer
    assert f"growdisk rollback {image}" in answer.err
    assert f"growdisk {'commit' if state == 'kept' else 'resume'} {image}" in answer.err
    assert in_process("rollback", image).code == 0


@pytest.mark.parametrize("verb", RAW)
def test_the_same_of_a_raw_image_whose_folder_alone_tells(copied: Copier, verb: str) -> None:
    image = copied("guest.raw")
    run_on(image, dies_at="rewrite-partitions")
    before = fingerprint(image)
    answer = asked(verb, image)
    assert (answer.code, fingerprint(image)) == (3, before), answer
    assert f"growdisk resume {image}" in answer.err


@pytest.mark.skipif(os.geteuid() != 0, reason="loop devices are root's")
def test_run_on_a_device_is_seen_by_verbs_that_write_there(
    copied: Copier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROWDISK_STATE_DIR", str(tmp_path / "state"))
    image, source = copied("guest.raw"), copied("guest.raw", "source.raw")
    os.truncate(image, image.stat().st_size + (64 << 20))
    with loop(image) as device:
        run_on(device, dies_at="rewrite-partitions", size="")
        before = fingerprint(image)
        for words in (
            ("write", device, "1M", source),
            ("convert", source, device),
            ("copy", source, device),
            ("read", source, "0", "1M", device),
        ):
            answer = in_process("image", *words)
            assert (answer.code, fingerprint(image)) == (3, before), answer
            assert f"growdisk rollback {device}" in answer.err
    for verb in RAW:  # the file alone is as much in the middle of the run
        answer = asked(verb, image)
        assert (answer.code, fingerprint(image)) == (3, before), answer
        assert "still has an unfinished run" in answer.err
    with loop(image) as device:
        assert in_process("rollback", device).code == 0


def test_run_on_a_data_file_is_seen_by_verbs_that_write_to_its_image(
    copied: Copier, tmp_path: Path
) -> None:
    data, image, patch = copied("guest.raw"), tmp_path / "image.qcow2", tmp_path / "bytes"
    create(image, data.stat().st_size, CreateOptions(data_file="empty", data_file_raw=True))
    (tmp_path / "empty").unlink()
    (tmp_path / "empty").symlink_to(data)
    patch.write_bytes(os.urandom(4096))
    run_on(data, dies_at="rewrite-partitions")
    before = fingerprint(data)
    answer = in_process(
        "image", "write", "--trust-references", "--overlays-may-break", image, "1M", patch
    )
    assert (answer.code, fingerprint(data)) == (3, before), answer
    assert "growdisk rollback" in answer.err


def test_repair_waits_for_the_run_as_well(copied: Copier) -> None:
    image = copied("guest.qcow2")
    run_on(image, dies_at="rewrite-partitions")
    before = fingerprint(image)
    answer = in_process("image", "check", "-r", "all", image)
    # could not check
    assert (answer.code, "still has an unfinished run" in answer.err) == (1, True)
    assert fingerprint(image) == before
    assert in_process("image", "check", image).code == 0


def test_new_image_does_not_take_the_place_of_one_with_a_run(copied: Copier) -> None:
    image, source = copied("guest.qcow2"), copied("cloud.qcow2")
    run_on(image, dies_at="rewrite-partitions")
    image.unlink()
    for words in (
        ("create", image, "1G"),
        ("convert", source, image),
        ("copy", source, image),
        ("overlay", source, image),
    ):
        answer = in_process("image", *words)
        assert (answer.code, "still has an unfinished run" in answer.err) == (3, True), words
        assert not image.exists()


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("how", ["recorded", "carried"])
def test_nothing_is_put_on_an_image_with_a_run(
    copied: Copier, tmp_path: Path, keep: bool, how: str
) -> None:
    if how == "carried":
        image = travelled(copied, keep=keep)
    else:
        image = copied("guest.qcow2")
        run_on(image, keep=keep, dies_at=None if keep else "rewrite-partitions")
    (places := tmp_path / "elsewhere").mkdir()
    top = places / "top.qcow2"
    assert in_process("image", "create", top, "1G").code == 0
    before = fingerprint(image), fingerprint(top)
    for words in (
        ("image", "overlay", image, places / "new"),
        ("image", "create", "-b", image, places / "new"),
        ("image", "rebase", "-b", image, top),
        ("image", "rebase", "-u", "-b", image, "-F", "qcow2", top),
        ("provision", image, places / "new", "--size", "2G"),
    ):
        answer = in_process(*words)
        assert (answer.code, "growdisk rollback" in answer.err) == (3, True), answer
    assert (fingerprint(image), fingerprint(top)) == before
    assert sorted(places.iterdir()) == [top]


@pytest.mark.parametrize("keep", [False, True])
def test_nothing_is_put_on_what_shows_an_image_with_a_run(
    copied: Copier, tmp_path: Path, keep: bool
) -> None:
    image, (top, beside) = copied("guest.raw"), shown_by(tmp_path)
    run_on(image, keep=keep, dies_at=None if keep else "rewrite-partitions")
    (places := tmp_path / "elsewhere").mkdir()
    before = sorted(tmp_path.iterdir())
    for each in (top, beside):
        for words in (
            ("image", "overlay", each, places / "new"),
            ("image", "create", "-b", each, places / "new"),
            ("provision", each, places / "new", "--size", "2G"),
        ):
            answer = in_process(*words)
            assert (answer.code, f"growdisk rollback {image}" in answer.err) == (3, True), answer
    assert (list(places.iterdir()), sorted(tmp_path.iterdir())) == ([], before)


def test_link_to_an_image_hides_no_run(copied: Copier, tmp_path: Path) -> None:
    image, link = copied("guest.qcow2"), tmp_path / "elsewhere" / "link.qcow2"
    link.parent.mkdir()
    link.symlink_to(image)
    run_on(image, dies_at="rewrite-partitions")
    assert asked("snapshot delete", link).code == 3
    assert len(snapshots(image)) == 1


def test_status_of_a_run_that_is_going_on_names_process_and_step(copied: Copier) -> None:
    """A process that stops in the middle of a step, as long as one looks."""
    image = copied("guest.qcow2")
    hears, tells = os.pipe()
    child = os.fork()
    if child == 0:
        waiting_in(image, "rewrite-partitions", tells)
    try:
        os.read(hears, 1)
        report = in_process("status", image, "--json").json()
        assert (report["state"], report["pid"]) == ("running", child)
        assert report["step"] == "rewrite-partitions"
        assert (report["next"], report["run"] is None) == ([], False)
        assert (
            f"running (pid {child}, step 2/2 rewrite-partitions)" in in_process("status", image).out
        )
        assert f"(pid {child}) has it open" in in_process("image", "resize", image, "+1M").err
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert in_process("status", image, "--json").json()["state"] == "unfinished"


def test_status_of_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    answer = in_process("status", tmp_path / "gest.qcow2")
    assert (answer.code, "No such file" in answer.err) == (3, True)


def test_run_on_undo_files_survives_a_copy_that_keeps_the_times(
    copied: Copier, tmp_path: Path
) -> None:
    """rsync -a of image and folder: another inode, the same file."""
    image = copied("guest.raw")
    run_on(image, keep=True)
    there = tmp_path / "there"
    there.mkdir()
    subprocess.run(["cp", "-a", image, run_folder(image), there], check=True)
    assert in_process("rollback", there / image.name).code == 0
    assert qemu_img(
        "compare", "-f", "raw", "-F", "raw", there / image.name, copied("guest.raw", "original")
    )


@pytest.mark.parametrize("name", ["link.raw", "elsewhere/link.raw"])
@pytest.mark.parametrize("verb", RAW)
def test_a_run_is_seen_by_another_name_of_the_file(
    copied: Copier, monkeypatch: pytest.MonkeyPatch, verb: str, name: str
) -> None:
    image = copied("guest.raw")
    monkeypatch.chdir(image.parent)
    run_on(Path(image.name), keep=True)
    assert in_process("rollback", image.name, "--to", "rewrite-partitions").code == 0
    monkeypatch.chdir("/")
    link = image.parent / name
    link.parent.mkdir(exist_ok=True)
    link.hardlink_to(image)
    image.with_name("bytes").touch()
    before = fingerprint(image)
    answer = asked(verb, link)
    assert (answer.code, f"growdisk rollback {image}" in answer.err) == (3, True), answer.err
    assert fingerprint(image) == before
    assert in_process("rollback", image).code == 0
    assert (os.listxattr(image), in_process("plan", link, "+64M").code) == ([], 0)


def test_a_copy_with_its_attributes_is_not_the_file_that_has_the_run(
    copied: Copier, tmp_path: Path
) -> None:
    image, copy = copied("guest.raw"), tmp_path / "copy.raw"
    run_on(image, dies_at="rewrite-partitions")
    subprocess.run(["cp", "-a", image, copy], check=True)
    assert os.listxattr(copy) == ["user.growdisk.run"]
    assert asked("resize", copy).code == 0


@pytest.mark.parametrize("snapshots", ["none", "overlay", "no room"])
def test_run_that_was_killed_before_it_began_leaves_no_mark_after_the_next(
    copied: Copier, monkeypatch: pytest.MonkeyPatch, snapshots: str
) -> None:
    image = copied("guest.qcow2")
    run_on(image, dies_at="resize-image")
    os.truncate(f"{image}.growdisk/journal.jsonl", 0)

    def full(directory: RunDirectory) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    if snapshots == "no room":
        monkeypatch.setattr(RunDirectory, "set_aside", full)
        answer = in_process("expand", image, "+64M")
    else:
        answer = in_process("expand", image, "+64M", "--snapshots", snapshots)
    assert answer.code == (3 if snapshots == "no room" else 0), answer
    assert status(image).state == ("none" if snapshots == "no room" else "done")


def test_what_a_private_image_holds_is_not_readable_beside_it(
    copied: Copier, tmp_path: Path
) -> None:
    image, copy = copied("guest.raw"), tmp_path / "copy.raw"
    image.chmod(0o600)
    old = os.umask(0)
    try:
        run_on(image, keep=True)
        assert in_process("image", "copy", image, copy).code == 0
    finally:
        os.umask(old)
    modes = {path.stat().st_mode & 0o077 for path in (*run_folder(image).iterdir(), copy)}
    assert (modes, run_folder(image).stat().st_mode & 0o022) == ({0}, 0)
    assert any(path.suffix == ".undo" for path in run_folder(image).iterdir())


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_what_somebody_keeps_in_a_folder_of_that_name_stays(
    copied: Copier, tmp_path: Path, kind: str
) -> None:
    image, elsewhere = copied("guest.raw"), tmp_path / "elsewhere"
    if kind == "link":
        run_folder(image).symlink_to(elsewhere)
    else:
        elsewhere = run_folder(image)
    elsewhere.mkdir()
    (elsewhere / "plan.txt").touch()
    before = fingerprint(image)
    for verb in ("plan", "expand"):
        answer = in_process(verb, image, "+64M", "--json")
        assert (answer.code, answer.json()["error"]["id"]) == (3, "run-not-recorded"), answer
    RunDirectory.of(image).forget()
    assert (fingerprint(image), [path.name for path in elsewhere.iterdir()]) == (
        before,
        ["plan.txt"],
    )
