"""status, resume, rollback, commit: their answers in each state, by each name of an image."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from growdisk.api import Refused, commit
from growdisk.workflow.run_places import record_folder
from tests.conftest import Copier
from tests.oracle.qemu import qemu_check, qemu_img
from tests.unit.cli.command import (
    GUESTFS,
    NO_APPLIANCE,
    Answer,
    fingerprint,
    growdisk,
    in_process,
    run_folder,
)
from tests.unit.cli.runs import run_on

IMAGES = ("guest.qcow2", "guest.raw")


def status(image: Path) -> Any:
    answer = in_process("status", image, "--json")
    assert answer.code == 0
    return answer.json()


def content(image: Path) -> Answer:
    """What a guest sees, in short."""
    return in_process("show", image)


@pytest.mark.parametrize("name", IMAGES)
def test_kept_run_goes_back_step_by_step(copied: Copier, name: str) -> None:
    image, original = copied(name), copied(name, "original")
    run_on(image, keep=True)
    assert (status(image)["state"], status(image)["next"]) == ("kept", ["rollback", "commit"])
    assert (
        "nothing to do: all steps are done, and the way back is kept"
        in in_process("resume", image).out
    )

    back = growdisk("rollback", image, "--to", "rewrite-partitions")
    assert back.code == 0
    assert back.out.startswith("undone: rewrite-partitions; growdisk resume does it again")
    assert (status(image)["state"], status(image)["next"]) == ("unfinished", ["resume", "rollback"])

    back = in_process("rollback", image, "--json")
    assert (back.code, back.json()["result"]) == (0, "restored")
    assert (status(image)["state"], status(image)["next"]) == ("undone", [])
    assert qemu_img("compare", image, original)


@pytest.mark.parametrize(
    "inside", [("--ssh", "root@nowhere"), ("--online", "agent"), ("--online", "auto")]
)
def test_a_guest_that_is_off_goes_the_offline_way_whatever_way_inside_is_named(
    copied: Copier, inside: tuple[str, ...]
) -> None:
    planned = in_process("plan", copied("guest.qcow2"), "+1G", *inside, "--json")
    assert (planned.code, planned.json()["result"]) == (0, "planned")
    assert planned.json()["backend"] not in (None, "online")


@pytest.mark.parametrize("name", IMAGES)
def test_kept_run_is_accepted(copied: Copier, name: str) -> None:
    image = copied(name)
    run_on(image, keep=True)
    committed = in_process("commit", image)
    assert committed.code == 0
    assert committed.out == f"{image} stays as it is (192.0 MiB), and the way back is forgotten\n"
    assert (status(image)["state"], status(image)["next"]) == ("done", [])
    assert "sda5" not in in_process("show", image).out
    assert in_process("rollback", image).code == 3
    if name.endswith("qcow2"):
        assert qemu_check(image)[0] == 0


@pytest.mark.parametrize("name", IMAGES)
def test_run_that_died_is_finished(copied: Copier, name: str) -> None:
    image = copied(name)
    run_on(image, dies_at="rewrite-partitions")
    assert [step["state"] for step in status(image)["steps"]] == ["done", "pending"]
    resumed = in_process("resume", image, "--json")
    assert (resumed.code, resumed.json()["result"]) == (0, "changed")
    assert [step["state"] for step in resumed.json()["steps"]] == ["done", "done"]
    assert "the last run is done already" in in_process("resume", image).out


@pytest.mark.parametrize("name", IMAGES)
def test_run_that_died_stands_in_the_way_of_another(copied: Copier, name: str) -> None:
    image = copied(name)
    run_on(image, dies_at="rewrite-partitions")
    before = fingerprint(image)
    for verb in ("expand", "plan"):
        answer = in_process(verb, image, "+1G")
        assert (answer.code, "still has an unfinished run" in answer.err) == (3, True)
        assert f"growdisk resume {image}, or growdisk rollback {image}" in answer.err
    assert fingerprint(image) == before
    assert status(image)["state"] == "unfinished"


def partitions(image: Path) -> Any:
    return in_process("show", image, "--json").json()["partitions"]


def not_accepted(image: Path, step: str) -> None:
    before = fingerprint(image)
    answer = in_process("commit", image)
    assert (answer.code, f"step {step} is not done" in answer.err) == (3, True), answer
    assert "commit --force keeps the disk as it is" in answer.err
    with pytest.raises(Refused, match="resume or roll back first"):
        commit(image)
    assert fingerprint(image) == before
    assert (status(image)["state"], status(image)["next"]) == ("unfinished", ["resume", "rollback"])


@pytest.mark.parametrize("name", IMAGES)
def test_run_that_was_taken_back_in_part_is_not_accepted_but_by_force(
    copied: Copier, name: str
) -> None:
    image = copied(name)
    run_on(image, keep=True)
    assert in_process("rollback", image, "--to", "rewrite-partitions").code == 0
    seen = partitions(image)
    not_accepted(image, "rewrite-partitions")
    assert in_process("commit", "--force", image).code == 0
    assert (status(image)["state"], partitions(image)) == ("done", seen)
    assert qemu_check(image)[0] == 0 if name == "guest.qcow2" else True


@pytest.mark.parametrize("name", IMAGES)
def test_unfinished_run_is_not_accepted_but_by_force(copied: Copier, name: str) -> None:
    image = copied(name)
    run_on(image, dies_at="rewrite-partitions")
    not_accepted(image, "rewrite-partitions")
    assert in_process("commit", "--force", image).code == 0
    assert status(image)["state"] == "done"
    assert not run_folder(image).exists()


def test_rollback_to_a_step_that_a_run_does_not_have_is_refused(copied: Copier) -> None:
    image = copied("guest.qcow2")
    run_on(image, keep=True)
    answer = in_process("rollback", image, "--to", "grow-everything")
    assert answer.code == 3
    assert "its steps are: resize-image, rewrite-partitions" in answer.err


def test_image_that_was_changed_since_is_left_alone(copied: Copier) -> None:
    image = copied("guest.qcow2")
    run_on(image, dies_at="rewrite-partitions")
    qemu_img("snapshot", "-c", "mine", image)
    before = fingerprint(image)
    for verb in ("resume", "rollback"):
        answer = in_process(verb, image)
        assert (answer.code, "is not as growdisk left it" in answer.err) == (3, True)
    assert fingerprint(image) == before


def test_words_of_an_unfinished_run(copied: Copier) -> None:
    image = copied("guest.qcow2", "my disk.qcow2")
    run_on(image, dies_at="rewrite-partitions")
    lines = in_process("status", image).out.splitlines()
    assert lines[0].startswith("run 20")
    assert lines[0].endswith(": unfinished")
    assert lines[1:3] == [
        "  resize-image        done       128.0 MiB -> 192.0 MiB",
        "  rewrite-partitions  pending    sda1 109.0 MiB -> 191.0 MiB; sda2 removed; sda5 removed",
    ]
    assert lines[3:] == [
        f"next: growdisk {verb} {shlex.quote(str(image))}" for verb in ("resume", "rollback")
    ]


def test_failed_run_says_what_why_and_what_to_do(copied: Copier) -> None:
    image, original = copied("guest.qcow2"), copied("guest.qcow2", "original")
    answer = growdisk("expand", image, "+64M", *GUESTFS, env=NO_APPLIANCE)
    assert answer.code == 4
    assert answer.out == f"{image} is as it was before the run\n"
    what, why, cure = answer.err.splitlines()[-3:]
    assert what == "growdisk: step reread-partitions failed; everything is back as it was"
    assert why.startswith("  why:  the libguestfs appliance did not start: ")
    assert cure == "  do:   growdisk doctor says what is missing on this machine"
    assert status(image)["state"] == "undone"
    assert qemu_img("compare", image, original)
    assert qemu_img("snapshot", "-l", image) == ""
    assert qemu_check(image)[0] == 0


def test_failed_run_as_a_document(copied: Copier) -> None:
    answer = growdisk("expand", copied("guest.raw"), "+64M", "--json", *GUESTFS, env=NO_APPLIANCE)
    result = answer.json()
    assert (answer.code, result["result"], result["error"]["code"]) == (4, "restored", 4)
    assert result["before"]["partitions"] == result["after"]["partitions"]
    assert [step["state"] for step in result["steps"]] == ["restored"] * 3 + ["pending"] * 2


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["my disk.qcow2", "größe – 大.qcow2", "a'b\"c.qcow2", "x" * 240 + ".qcow2"]
)
def test_odd_names(copied: Copier, name: str) -> None:
    image = copied("guest.qcow2", name)
    run_on(image, keep=True)
    assert status(image)["state"] == "kept"
    assert in_process("rollback", image).code == 0
    assert in_process("plan", image, "+64M").code == 0


def test_name_that_leaves_no_room_for_the_journals_is_refused(copied: Copier) -> None:
    image = copied("guest.qcow2", "x" * 250)
    before = fingerprint(image)
    assert in_process("show", image).code == 0
    for verb in ("plan", "expand"):
        answer = in_process(verb, image, "+64M")
        assert (answer.code, "a name has 255 bytes at most" in answer.err) == (3, True), answer.err
        assert "give the image a shorter name" in answer.err
    assert fingerprint(image) == before


def test_name_that_looks_like_an_option(copied: Copier, monkeypatch: pytest.MonkeyPatch) -> None:
    image = copied("guest.qcow2", "-x.qcow2")
    monkeypatch.chdir(image.parent)
    assert in_process("show", "--", "-x.qcow2").code == 0
    assert in_process("plan", "--", "-x.qcow2", "+64M").code == 0
    assert in_process("plan", "--swap", "move", "--", "-x.qcow2", "+64M").code == 0
    run_on(Path("-x.qcow2"), dies_at="rewrite-partitions")
    assert "next: growdisk resume ./-x.qcow2\n" in in_process("status", "--", "-x.qcow2").out
    assert in_process("rollback", "--", "-x.qcow2").code == 0


def test_link_leads_to_the_run_of_the_image(copied: Copier, tmp_path: Path) -> None:
    image, link = copied("guest.qcow2"), tmp_path / "elsewhere" / "link.qcow2"
    link.parent.mkdir()
    link.symlink_to(image)
    run_on(link, dies_at="rewrite-partitions")
    assert run_folder(image).is_dir()
    assert not run_folder(link).exists()
    assert status(link)["state"] == status(image)["state"] == "unfinished"
    assert in_process("rollback", link).code == 0
    assert link.is_symlink()
    assert in_process("plan", link, "+64M").code == 0


def test_a_new_image_that_got_the_inode_of_a_deleted_one_has_no_run(copied: Copier) -> None:
    image = copied("guest.qcow2")
    assert in_process("expand", image, "+64M", "--json").json()["result"] == "changed"
    assert status(image)["state"] == "done"
    file = record_folder(image) / "image.json"
    identity = json.loads(file.read_text())
    if not identity["generation"]:
        pytest.skip("this file system does not tell an inode's generation")
    file.write_text(json.dumps(identity | {"generation": identity["generation"] ^ 1}))
    assert status(image)["state"] == "none"
    # A record of an older growdisk has none.
    file.write_text(json.dumps({"path": identity["path"], "inode": identity["inode"]}))
    assert status(image)["state"] == "done"


def test_relative_path(copied: Copier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copied("guest.qcow2")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    image = Path(os.pardir) / "guest.qcow2"
    run_on(image, keep=True)
    assert status(image)["state"] == "kept"
    assert in_process("commit", image).code == 0
    assert in_process("show", image).out.startswith("guest.qcow2: qcow2, MBR, 192.0 MiB")


@pytest.mark.parametrize(
    "words",
    [
        ("+64M", "--swap", "move"),
        ("--swap", "move", "+64M"),
        ("--swap=move", "+64M"),
        ("--swap", "move", "192M"),
    ],
    ids=" ".join,
)
def test_size_may_stand_behind_options(classic: Path, words: tuple[str, ...]) -> None:
    answer = in_process("plan", classic, *words)
    assert (answer.code, "remake-swap" in answer.out) == (0, True)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize(
    "plan", [b"", b"garbage", b"[]", b'{"run": 1}', b'{"run": "r", "steps": [1]}', None]
)
def test_a_plan_that_cannot_be_read_is_told_and_changes_nothing(
    copied: Copier, name: str, plan: bytes | None
) -> None:
    image = copied(name)
    run_on(image, keep=True)
    file, before = run_folder(image) / "plan.json", fingerprint(image)
    if plan is None:
        file.unlink()
        os.mkfifo(file)
    else:
        file.write_bytes(plan)
    for verb in ("resume", "rollback", "commit"):
        answer = in_process(verb, image, "--json")
        told = answer.json()["error"]["id"]
        assert answer.code == 3, answer
        assert told == "record-unreadable" or (
            told == "run-without-folder" and image.suffix == ".qcow2"
        )
        assert fingerprint(image) == before


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_a_journal_that_is_no_file_is_told_and_waited_for_by_nobody(
    copied: Copier, name: str, make: Callable[[Path], None]
) -> None:
    image = copied(name)
    run_on(image, keep=True)
    journal, before = run_folder(image) / "journal.jsonl", fingerprint(image)
    journal.unlink()
    make(journal)
    for verb in ("status", "resume", "rollback", "commit"):
        answer = growdisk(verb, image, "--json")
        told = answer.json()["error"]["id"]
        assert answer.code == 3, answer
        assert told == "record-unreadable" or (
            told == "run-without-folder" and image.suffix == ".qcow2"
        )
        assert fingerprint(image) == before


@pytest.mark.parametrize("name", ["plan.json", "journal.jsonl", "image.json"])
@pytest.mark.parametrize("kept", [0, 0.5, 0.9])
def test_what_a_power_cut_has_left_of_a_record_hinders_nobody(
    copied: Copier, name: str, kept: float
) -> None:
    """A record is not flushed, and may be cut anywhere.

    A finished run must not become unfinished.
    """
    image = copied("guest.raw")
    assert in_process("expand", image, "+64M", "--json").json()["result"] == "changed"
    record = record_folder(image) / name
    os.truncate(record, int(record.stat().st_size * kept))
    assert in_process("status", image, "--json").json()["state"] == "none"
    error = in_process("rollback", image, "--json").json()["error"]
    assert error["id"] == "no-such-run" and f"growdisk list {image.parent} says" in error["do"]
    assert in_process("expand", image, "+64M", "--json").json()["result"] == "changed"
    assert in_process("status", image, "--json").json()["state"] == "done"


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b"\0" * 40, None])
def test_what_else_a_folder_holds_may_be_damaged_and_the_run_still_goes_back(
    copied: Copier, damage: bytes | None
) -> None:
    image, original = copied("guest.raw"), copied("guest.raw", "original")
    run_on(image, keep=True)
    for name in ("pin", "held-room.json"):
        file = run_folder(image) / name
        file.rename(file.with_suffix(".aside"))
        os.mkfifo(file) if damage is None else file.write_bytes(damage)
        answer = growdisk("rollback", image, "--json")
        if name == "pin":  # the image may have been changed
            assert (answer.code, answer.json()["error"]["id"]) == (3, "record-unreadable"), answer
            file.with_suffix(".aside").rename(file)
    assert answer.code == 0
    assert fingerprint(image)[0] == fingerprint(original)[0]
