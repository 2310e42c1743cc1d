"""A run that only its image carries, as its folder did not come along."""

from __future__ import annotations

import shutil

import pytest

from tests.commands.writing_verbs import WRITING, asked
from tests.conftest import Copier
from tests.oracle.qemu import qemu_check, qemu_img
from tests.unit.cli.command import fingerprint, in_process, run_folder
from tests.unit.cli.runs import run_on, snapshots, travelled


@pytest.mark.parametrize("verb", [*WRITING, "resume", "rollback", "status", "show"])
@pytest.mark.parametrize("keep", [False, True])
def test_run_that_an_image_only_carries_is_seen_by_every_verb(
    copied: Copier, verb: str, keep: bool
) -> None:
    image = travelled(copied, keep=keep)
    before = fingerprint(image)
    answer = asked(verb, image) if verb in WRITING else in_process(verb, image)
    reading = verb in ("status", "show")
    assert answer.code == (0 if reading else 3), answer
    told = answer.out if reading else answer.err
    assert f"growdisk commit --force {image}" in told
    assert f"growdisk rollback --force {image}" in told
    assert f"mv {run_folder(image.with_name('guest.qcow2'))} {image}.growdisk" in told
    assert fingerprint(image) == before


@pytest.mark.parametrize("keep", [False, True])
def test_status_of_a_carried_run_tells_programs_how_it_stands(copied: Copier, keep: bool) -> None:
    image = travelled(copied, keep=keep)
    report = in_process("status", image, "--json").json()
    assert report["state"] == ("kept" if keep else "unfinished")
    assert report["next"] == ["rollback --force", "commit --force"]
    assert [step["name"] for step in report["steps"]] == ["resize-image", "rewrite-partitions"][
        : 1 + keep
    ]
    assert in_process("show", image, "--json").json()["run"]["state"] == report["state"]


@pytest.mark.parametrize("how", ["moved", "copied"])
@pytest.mark.parametrize("keep", [False, True])
def test_carried_run_is_taken_back_by_force(copied: Copier, keep: bool, how: str) -> None:
    image, original = travelled(copied, keep=keep, how=how), copied("guest.qcow2", "original")
    answer = in_process("rollback", "--force", image, "--json")
    assert (answer.code, answer.json()["result"]) == (0, "restored")
    assert snapshots(image) == []
    assert qemu_img("compare", image, original)
    assert (qemu_check(image)[0], image.read_bytes()[88:96]) == (0, bytes(8))
    assert in_process("status", image, "--json").json()["state"] == "none"


@pytest.mark.parametrize("keep", [False, True])
def test_carried_run_is_accepted_by_force(copied: Copier, keep: bool) -> None:
    image = travelled(copied, keep=keep)
    qemu_img("snapshot", "-c", "mine", image)  # this clears the mark as well
    size = in_process("show", image, "--json").json()["image"]["virtual_size"]
    answer = in_process("commit", "--force", image, "--json")
    assert (answer.code, answer.json()["result"]) == (0, "changed")
    assert snapshots(image) == ["mine"]
    assert in_process("show", image, "--json").json()["image"]["virtual_size"] == size
    assert qemu_check(image)[0] == 0


def test_folder_that_is_brought_along_lets_the_run_go_on(copied: Copier) -> None:
    image = travelled(copied, keep=False)
    run_folder(image.with_name("guest.qcow2")).rename(run_folder(image))
    assert in_process("status", image, "--json").json()["next"] == ["resume", "rollback"]
    assert in_process("resume", image).code == 0
    assert snapshots(image) == []


def test_force_is_for_what_has_no_folder(copied: Copier) -> None:
    image = copied("guest.qcow2")
    assert in_process("commit", "--force", image).code == 3
    run_on(image, dies_at="rewrite-partitions")
    answer = in_process("rollback", "--force", image)
    assert (answer.code, "its run is recorded beside it" in answer.err) == (3, True)
    assert in_process("rollback", image).code == 0


def test_nothing_goes_back_where_the_first_snapshot_is_gone(copied: Copier) -> None:
    image = travelled(copied, keep=True)
    qemu_img("snapshot", "-d", snapshots(image)[0], image)
    answer = in_process("status", image)
    assert "rollback --force" not in answer.out
    with image.open("r+b") as file:  # as a crash leaves it: dirty, to be repaired by who may write
        file.seek(79)
        file.write(b"\1")
    before = fingerprint(image)
    refused = in_process("rollback", "--force", image)
    assert (refused.code, "the snapshot from before the run is gone" in refused.err) == (3, True)
    assert fingerprint(image) == before, "what is refused is not repaired"
    assert in_process("commit", "--force", image).code == 0
    assert snapshots(image) == []


def test_snapshots_with_names_of_ones_own_are_nobodys_run(copied: Copier) -> None:
    image = copied("guest.qcow2")
    for name in ("growdisk-before", "growdisk-play-20261128-101010-abcd-1", "growdisk-20261128"):
        qemu_img("snapshot", "-c", name, image)
    report = in_process("status", image, "--json").json()
    assert (report["state"], report["run"], report["steps"]) == ("none", None, [])
    assert report["next"] == []
    assert in_process("image", "resize", image, "+1M").code == 0


def test_image_that_came_back_from_a_backup_beside_a_newer_folder(copied: Copier) -> None:
    """The folder's run has ended; what the image carries is the middle of it."""
    image = copied("guest.qcow2")
    run_on(image, dies_at="rewrite-partitions")
    backup = image.with_name("backup")
    shutil.copyfile(image, backup)
    assert in_process("resume", image).code == 0
    backup.replace(image)
    for verb in ("expand", "resume", "commit", "rollback"):
        answer = in_process(verb, image)
        assert (answer.code, f"growdisk rollback --force {image}" in answer.err) == (3, True), verb
    assert in_process("rollback", "--force", image).code == 0
