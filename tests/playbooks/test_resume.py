"""A play that was cut short anywhere is resumed or taken back; nothing is done twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
from contextlib import closing

import pytest

from growdisk import api
from growdisk.block.raw import RawFile
from growdisk.playbook.reports import HostEnded
from growdisk.playbook.run import Listener, resume_playbook
from growdisk.units import MiB
from growdisk.workflow.journal import Event, read_journal
from tests.e2e.judges import virtual_size
from tests.guests.tools import run
from tests.oracle.qemu import qemu_img
from tests.playbooks.conftest import Place, die_at, wait_until
from tests.unit.cli.runs import run_on

PLAY = """\
- name: Step by step
  hosts: "*.qcow2"
  vars:
    growdisk_on_failure: {how_far}
  tasks:
    - name: Enlarge
      growdisk.disk.resize_image: {{image: "{{{{ image }}}}", size: +16M}}
    - name: Enlarge again
      growdisk.disk.image: {{image: "{{{{ image }}}}", size: +16M}}
    - name: Recreate
      growdisk.disk.rewrite_partitions: {{image: "{{{{ image }}}}", partition: 1, delete: [2, 5]}}
      register: table
    - name: Remember
      growdisk.disk.snapshot: {{image: "{{{{ image }}}}", name: "{{{{ table.gone_swaps[0].partuuid }}}}"}}
"""  # noqa: E501
RECORDS = 14  # what the journal of this play gets before the last one


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_play_that_died_at_any_record_is_gone_on_with(place: Place, before: bool) -> None:
    playbook = place.playbook(PLAY.format(how_far="play"))
    for record in range(RECORDS + 1):
        image = place.disk()
        code = die_at(place, record, playbook, before=before)
        if code != 5:  # all is recorded
            assert record >= 12, record
            break
        if record == 5:
            again = place.run(playbook)
            assert (again.code, "was cut short" in again.json()["error"]["why"]) == (3, True)
        ended = place.run(playbook, "--resume")
        assert (ended.code, ended.json()["result"]) == (0, "changed"), (record, ended)
        assert virtual_size(image) == 160 * MiB, record
        assert [line.split()[1] for line in qemu_img("snapshot", "-l", image).splitlines()[2:]] == [
            "5ca1ab1e-05"
        ]
        run("qemu-img", "check", "-q", image)
        assert place.left() == []
        shutil.rmtree(f"{image}.growdisk", ignore_errors=True)


def test_a_play_that_died_is_taken_back(place: Place) -> None:
    playbook = place.playbook(PLAY.format(how_far="play"))
    for record in (5, 8):
        image, original = place.disk(), place.disk("original")
        assert die_at(place, record, playbook, before=True) == 5
        ended = place.run(playbook, "--undo")
        assert (ended.code, ended.json()["hosts"][0]["result"]) == (0, "restored"), ended
        assert qemu_img("compare", image, original)
        assert virtual_size(image) == 128 * MiB and qemu_img("snapshot", "-l", image).strip() == ""
        assert place.left() == []
        shutil.rmtree(f"{image}.growdisk", ignore_errors=True)


def test_a_play_whose_way_back_is_gone_is_not_taken_back(place: Place) -> None:
    playbook, image = place.playbook(PLAY.format(how_far="play")), place.disk()
    assert die_at(place, RECORDS, playbook, before=True) == 5
    for _ in range(2):
        refused = place.run(playbook, "--undo")
        assert (refused.code, refused.json()["error"]["id"]) == (3, "play-has-ended"), refused
        assert virtual_size(image) == 160 * MiB
    ended = place.run(playbook, "--resume")
    assert (ended.code, ended.json()["result"]) == (0, "changed"), ended
    assert (virtual_size(image), place.left()) == (160 * MiB, [])


def test_a_play_that_has_ended_on_an_image_in_use_again_waits_for_it(place: Place) -> None:
    playbook, image = place.playbook(PLAY.format(how_far="play")), place.disk()
    assert die_at(place, RECORDS - 1, playbook, before=False) == 5
    with closing(RawFile.open(image, writable=True)):
        stuck = place.run(playbook, "--resume")
        why = stuck.json()["hosts"][0]["error"]["why"]
        assert (stuck.code, "in use" in why) == (5, True), stuck
    ended = place.run(playbook, "--resume")
    assert (ended.code, ended.json()["result"]) == (0, "changed"), ended
    assert "growdisk-play" not in qemu_img("snapshot", "-l", image)
    assert place.left() == []


@pytest.mark.parametrize("verb", ["--resume", "--undo"])
def test_a_play_whose_variables_cannot_be_read_any_more_can_still_be_ended(
    place: Place, verb: str
) -> None:
    variables, image = place.playbook("spare: 1\n", "vars.yml"), place.disk()
    text = PLAY.format(how_far="play").replace("  tasks:", "  vars_files: [vars.yml]\n  tasks:")
    playbook = place.playbook(text)
    assert die_at(place, 5, playbook, before=True) == 5
    variables.write_text("spare: [\n")
    stuck = place.run(playbook, verb)
    assert (stuck.code, "vars.yml" in stuck.json()["hosts"][0]["error"]["why"]) == (5, True), stuck
    variables.write_text("spare: 1\n")
    back = place.run(playbook, "--undo")
    assert (back.code, back.json()["result"]) == (0, "restored"), back
    assert (virtual_size(image), place.left()) == (128 * MiB, [])


def test_a_file_that_has_two_names_when_growdisk_is_killed_keeps_one(place: Place) -> None:
    place.disk()
    playbook = place.playbook(
        "- hosts: guest.qcow2\n  tasks:\n"
        "    - growdisk.disk.convert: {image: '{{ image }}', dest: new.raw}\n"
    )
    assert die_at(place, 3, playbook, before=True) == 5
    made, second = place.folder / "new.raw", place.folder / ".new.raw.growdisk-new"
    second.hardlink_to(made)  # as between the last two calls of the conversion
    ended = place.run(playbook, "--resume")
    assert (ended.code, ended.json()["result"]) == (0, "changed"), ended
    assert (made.exists(), second.exists()) == (True, False)


ENLARGED = (
    "- hosts: '{hosts}'\n  tasks:\n"
    "    - growdisk.disk.resize_image: {{image: '{{{{ image }}}}', size: +1M}}\n      loop: '{{{{ "
    "range(40) | list }}}}'\n"
)


def begun(place: Place, least: int) -> bool:
    """Whether so many tasks have begun on each host."""
    found = list((place.folder / "state/growdisk/plays").rglob("*.jsonl"))
    applied = [sum(r.event is Event.APPLYING for r in read_journal(one)) for one in found]
    return bool(applied) and min(applied) > least


def test_a_play_that_is_killed_within_a_task_is_gone_on_with(place: Place) -> None:
    image = place.disk()
    playbook = place.playbook(ENLARGED.format(hosts="guest.qcow2"))
    process = place.start("run", playbook, "--json")
    wait_until(lambda: begun(place, 10), "ten of the forty have begun")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert place.run(playbook).code == 3
    ended = place.run(playbook, "--resume")
    assert (ended.code, virtual_size(image)) == (0, 168 * MiB), ended
    run("qemu-img", "check", "-q", image)


def test_hosts_stop_if_the_process_that_began_them_is_killed(place: Place) -> None:
    images = place.disk(), place.disk("other.qcow2")
    playbook = place.playbook(ENLARGED.format(hosts="*.qcow2"))
    process = place.start("run", playbook, "-j2")
    wait_until(lambda: begun(place, 10), "ten of the forty have begun")
    process.kill()
    process.communicate()

    def refusal() -> str:
        claimed = place.run(playbook)
        assert claimed.code == 3
        return str(claimed.json()["error"]["id"])

    wait_until(lambda: refusal() == "play-unfinished", "nobody is at work any more")
    ended = place.run(playbook, "--resume")
    assert (ended.code, "the end of growdisk run" in ended.err) == (4, True), ended
    for image in images:
        assert virtual_size(image) < 168 * MiB
        run("qemu-img", "check", "-q", image)


def test_two_plays_on_one_image_at_once_are_refused(place: Place) -> None:
    place.disk()
    slow = place.playbook(
        "- hosts: guest.qcow2\n  tasks:\n"
        "    - growdisk.disk.resize_image: {image: '{{ image }}', size: +1M}\n      loop: '{{ "
        "range(200) | list }}'\n"
    )
    process = place.start("run", slow)
    wait_until(
        lambda: any((place.folder / "state/growdisk/plays").rglob("*.jsonl")), "the first has begun"
    )
    other = place.playbook(
        "- hosts: guest.qcow2\n  tasks:\n    - growdisk.disk.resize_image: {image: '{{ image }}', "
        "size: 4G}\n",
        "other.yml",
    )
    ended = place.run(other)
    assert (ended.code, "is being worked on" in ended.json()["error"]["what"]) == (3, True)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert place.run(other).code == 0


def test_what_has_changed_meanwhile_is_not_gone_on_with(place: Place) -> None:
    place.disk()
    playbook = place.playbook(PLAY.format(how_far="task"))
    assert die_at(place, 4, playbook, before=True) == 5
    playbook.write_text(playbook.read_text() + "# a comment\n")
    ended = place.run(playbook, "--resume")
    assert (ended.code, "its text has been changed" in ended.json()["error"]["why"]) == (3, True)
    assert place.run(playbook, "--undo").code == 0
    nothing = place.run(playbook, "--resume")
    assert (nothing.code, "no run of" in nothing.json()["error"]["what"]) == (3, True)


def test_a_folder_that_is_gone_is_told(place: Place) -> None:
    place.disk()
    playbook = place.playbook(PLAY.format(how_far="task"))
    assert die_at(place, 4, playbook, before=True) == 5
    (folder,) = (place.folder / "state/growdisk/plays").iterdir()
    record = folder / "run.json"
    asked = json.loads(record.read_text())
    record.write_text(json.dumps(asked | {"folder": str(place.folder / "gone")}))
    ended = place.run(playbook, "--undo")
    assert (ended.code, "mkdir -p" in ended.json()["error"]["do"]) == (2, True)
    record.write_text(json.dumps(asked))
    assert place.run(playbook, "--undo").code == 0


def test_a_kept_run_from_before_a_play_is_none_of_its_business(place: Place) -> None:
    image = place.disk()
    run_on(image, keep=True)
    playbook = place.playbook(PLAY.format(how_far="play"))
    assert die_at(place, 2, playbook, before=False) == 5  # the first task has begun
    assert place.run(playbook, "--undo").code == 0
    assert api.status(image).state == "kept"
    assert virtual_size(image) == 192 * MiB
    assert place.left() == []


def test_an_undo_that_cannot_be_done_now_can_be_done_later(place: Place) -> None:
    playbook = place.playbook(PLAY.format(how_far="play"))
    image, original = place.disk(), place.disk("original")
    assert die_at(place, 2, playbook, before=False) == 5
    run_on(image, dies_at="rewrite-partitions")  # the run of its first task
    with closing(RawFile.open(image, writable=True)):  # as a guest that was started
        ended = place.run(playbook, "--undo")
        assert (ended.code, ended.json()["hosts"][0]["result"]) == (5, "stuck"), ended
    assert place.run(playbook, "--undo").code == 0
    assert qemu_img("compare", image, original)
    assert place.left() == []


def test_an_undo_leaves_no_mark_of_a_run_that_was_killed_before_it_began(place: Place) -> None:
    playbook = place.playbook(PLAY.format(how_far="play"))
    image, original = place.disk(), place.disk("original")
    assert die_at(place, 2, playbook, before=False) == 5
    run_on(image, dies_at="resize-image")  # the run of its first task
    os.truncate(f"{image}.growdisk/journal.jsonl", 0)
    assert place.run(playbook, "--undo").code == 0
    assert api.status(image).state == "none"
    assert qemu_img("compare", image, original)


def test_a_host_that_an_undo_did_not_come_to_can_still_be_taken_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    disks = [place.disk(), place.disk("other.qcow2")]
    playbook = place.playbook(PLAY.format(how_far="play"))
    assert die_at(place, 7, playbook, before=True) == 5
    monkeypatch.chdir(place.folder)
    monkeypatch.setenv("XDG_STATE_HOME", place.environment["XDG_STATE_HOME"])

    def stop(event: object) -> None:
        if isinstance(event, HostEnded):
            os.kill(os.getpid(), signal.SIGTERM)

    listener = Listener(lambda names: None, stop, lambda: None)
    ended = resume_playbook(playbook, listener, jobs=1, undo=True)
    assert ([report.result for report in ended.hosts], ended.stopped) == (["restored"], True)
    assert sorted(map(virtual_size, disks)) == [128 * MiB, 160 * MiB]
    back = place.run(playbook, "--undo")
    assert (back.code, back.json()["result"]) == (0, "restored"), back
    assert ([virtual_size(disk) for disk in disks], place.left()) == ([128 * MiB] * 2, [])
