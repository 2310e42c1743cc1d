"""A play that is taken back whole has no task that could not be; codes say what was touched."""

from __future__ import annotations

import pytest

from growdisk import api
from growdisk.units import MiB
from tests.e2e.judges import virtual_size
from tests.oracle.qemu import qemu_img
from tests.playbooks.conftest import Place
from tests.unit.cli.runs import run_on

PLAY = """\
- hosts: guest.qcow2
  vars: {{growdisk_on_failure: {how_far}}}
  tasks:
    - {task}
    - ansible.builtin.fail: {{msg: "no"}}
"""
DELETE = 'growdisk.disk.snapshot: {image: "{{ image }}", name: mine, state: absent}'
REPLACE = "growdisk.disk.provision: {base: other.qcow2, dest: guest.qcow2, force: yes}"
WATCH = "growdisk.disk.watch: {rules: rules.yml}"


@pytest.mark.parametrize(
    ("task", "lost"), [(DELETE, "snapshot mine"), (REPLACE, "what is in guest.qcow2"), (WATCH, "")]
)
def test_what_would_be_gone_for_good_is_refused(place: Place, task: str, lost: str) -> None:
    image = place.disk()
    place.disk("other.qcow2")
    qemu_img("snapshot", "-c", "mine", image)
    ended = place.run(place.playbook(PLAY.format(task=task, how_far="play")))
    (host,) = ended.json()["hosts"]
    assert (host["error"]["id"], lost in host["error"]["why"]) == ("no-way-back", True)
    assert "mine" in qemu_img("snapshot", "-l", image)
    assert place.left() == []


@pytest.mark.parametrize("verb", ["commit", "rollback"])
def test_the_way_back_of_a_run_from_before_stays(place: Place, verb: str) -> None:
    image = place.disk()
    run_on(image, keep=True)
    task = f'growdisk.disk.{verb}: {{image: "{{{{ image }}}}"}}'
    ended = place.run(place.playbook(PLAY.format(task=task, how_far="play")))
    assert ended.json()["hosts"][0]["error"]["id"] == "no-way-back"
    assert api.status(image).state == "kept"


def test_what_the_play_itself_has_made_may_go_within_it(place: Place) -> None:
    image = place.disk()
    playbook = place.playbook("""\
- hosts: guest.qcow2
  vars: {growdisk_on_failure: play}
  tasks:
    - growdisk.disk.snapshot: {image: "{{ image }}", name: own}
    - growdisk.disk.expand: {image: "{{ image }}", size: +16M, keep_snapshots: true}
    - growdisk.disk.commit: {image: "{{ image }}"}
    - growdisk.disk.snapshot: {image: "{{ image }}", name: own, state: absent}
    - growdisk.disk.provision: {base: "{{ image }}", dest: new.qcow2}
    - growdisk.disk.provision: {base: "{{ image }}", dest: new.qcow2, force: true}
""")
    ended = place.run(playbook)
    assert (ended.code, ended.states()) == (0, ["changed"] * 6), ended
    assert qemu_img("snapshot", "-l", image).strip() == ""


@pytest.mark.parametrize("how_far", ["task", "play"])
def test_a_play_that_has_touched_something_does_not_end_as_one_that_has_not(
    place: Place, how_far: str
) -> None:
    """By a task that is refused (3), or cannot be understood (2), after one that was done."""
    scripts = "growdisk.disk.script: {image: guest.qcow2, dest: scripts, size: +64M}"
    grown = "growdisk.disk.resize_image: {image: guest.qcow2, size: +64M}"
    wrong = "growdisk.disk.resize_image: {image: guest.qcow2, size: '{{ said.msg }}'}"
    for name, first, second in (
        ("scripts", scripts, "ansible.builtin.fail:"),
        ("grown", grown, wrong),
    ):
        place.disk()
        playbook = place.playbook(f"""\
- hosts: guest.qcow2
  vars: {{growdisk_on_failure: {how_far}}}
  tasks:
    - {first}
      register: said
    - {second}
""")
        ended = place.run(playbook)
        assert (ended.code, ended.states()) == (4, ["changed", "failed"]), (name, ended)
    grown_still = virtual_size(place.folder / "guest.qcow2") > 128 * MiB
    assert grown_still == (how_far == "task")
