"""An image that gets another file under its name in the middle of a play."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from growdisk.playbook.checkpoints import file_identity
from tests.e2e.judges import virtual_size
from tests.guests.tools import run
from tests.oracle.qemu import qemu_img
from tests.playbooks.conftest import Place, die_at

PLAY = """\
- hosts: "{name}"
  vars:
    growdisk_on_failure: {how_far}
  tasks:
    - growdisk.disk.resize_image: {{image: "{{{{ image }}}}", size: +16M}}
    - growdisk.disk.rewrite_partitions: {{image: "{{{{ image }}}}", partition: 1, delete: [2, 5]}}
"""
FIRST_DONE = 4  # the record that the first task has ended, if the play has no snapshot


def exchanged(place: Place, image: Path) -> tuple[Path, bytes]:
    """(the file that the play has worked on, what the other one holds)."""
    aside = image.with_name("aside")
    image.rename(aside)
    place.disk(image.name, image.name)
    return aside, image.read_bytes()


@pytest.mark.parametrize("name", ["guest.qcow2", "guest.raw"])
def test_a_play_is_not_taken_back_on_another_file(place: Place, name: str) -> None:
    image, original = place.disk(name, name), place.disk("original", name)
    playbook = place.playbook(PLAY.format(name=name, how_far="play"))
    assert die_at(place, FIRST_DONE + 1, playbook, before=False) == 5
    aside, content = exchanged(place, image)
    for way in ("--undo", "--resume"):
        ended = place.run(playbook, way)
        error = ended.json()["hosts"][0]["error"]
        assert (ended.code, ended.json()["hosts"][0]["result"]) == (5, "stuck"), ended
        assert "is not the file that the play has worked on" in error["why"]
        assert "put that file back" in error["do"]
        assert image.read_bytes() == content
    aside.rename(image)
    assert place.run(playbook, "--undo").code == 0
    assert qemu_img("compare", image, original)
    assert place.left() == []


def test_the_play_can_be_ended_with_the_other_file(place: Place) -> None:
    image = place.disk()
    playbook = place.playbook(PLAY.format(name=image.name, how_far="play"))
    assert die_at(place, FIRST_DONE + 1, playbook, before=False) == 5
    exchanged(place, image)
    error = place.run(playbook, "--undo").json()["hosts"][0]["error"]
    forget = error["do"].partition("(")[2].partition(" ends")[0]
    run("sh", "-c", forget)
    ended = place.run(playbook)
    assert (ended.code, virtual_size(image)) == (0, 144 << 20), ended


def test_tasks_that_are_done_are_not_taken_for_done_on_another_file(place: Place) -> None:
    image = place.disk()
    playbook = place.playbook(PLAY.format(name=image.name, how_far="task"))
    assert die_at(place, FIRST_DONE, playbook, before=False) == 5
    _, content = exchanged(place, image)
    ended = place.run(playbook, "--resume")
    assert (ended.code, ended.states()) == (4, ["changed", "failed"]), ended
    assert "run the playbook again" in ended.json()["hosts"][0]["error"]["do"]
    assert image.read_bytes() == content
    again = place.run(playbook)
    assert (again.code, virtual_size(image)) == (0, 144 << 20), again


def test_a_play_may_compact_its_image(place: Place) -> None:
    """That puts another file there."""
    image = place.disk()
    with image.open("ab") as file:
        file.truncate(image.stat().st_size + (8 << 20))
    playbook = place.playbook(
        PLAY.format(name=image.name, how_far="play")
        + '    - growdisk.disk.image: {image: "{{ image }}", state: compacted}\n'
        + '    - growdisk.disk.resize_image: {image: "{{ image }}", size: 160M}\n'
    )
    inode = image.stat().st_ino
    ended = place.run(playbook)
    assert (ended.code, ended.states()) == (0, ["changed"] * 4), ended
    assert image.stat().st_ino != inode
    assert place.left() == []


def test_a_file_that_was_copied_over_it_is_another_one(tmp_path: Path) -> None:
    """The file system may give it the number of the one that was removed."""
    file, seen = tmp_path / "file", set[str]()
    for _ in range(5):
        shutil.copyfile(__file__, file)
        seen.add(file_identity(file))
        file.unlink()
    assert len(seen) == 5


@pytest.mark.parametrize("name", ["guest.qcow2", "guest.raw"])
def test_a_play_whose_snapshot_was_removed_does_not_say_that_it_is_restored(
    place: Place, name: str
) -> None:
    image = place.disk(name, name)
    playbook = place.playbook(PLAY.format(name=name, how_far="play"))
    assert die_at(place, FIRST_DONE + 1, playbook, before=False) == 5
    if image.suffix == ".raw":
        next(image.parent.glob(f".{name}.growdisk-play-*")).unlink()
    else:
        (snapshot,) = json.loads(qemu_img("info", "--output=json", image))["snapshots"]
        qemu_img("snapshot", "-d", snapshot["name"], image)
    for way in ("--undo", "--resume", "--undo"):
        ended = place.run(playbook, way)
        error = ended.json()["hosts"][0]["error"]
        assert (ended.code, "is gone" in error["why"]) == (5, True), ended
    accept = error["do"].partition(" lets the image stay")[0]
    run("sh", "-c", accept)
    content = place.run(playbook, "--undo")
    assert (content.code, virtual_size(image), place.left()) == (0, 144 << 20, []), content
