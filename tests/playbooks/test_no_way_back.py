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
        checked = place.run(playbook, "--check")
        assert (checked.code in (2, 3), checked.states()) == (True, ["changed", "failed"]), checked
        ended = place.run(playbook)
        assert (ended.code, ended.states()) == (4, ["changed", "failed"]), (name, ended)
    grown_still = virtual_size(place.folder / "guest.qcow2") > 128 * MiB
    assert grown_still == (how_far == "task")


def test_what_a_task_has_made_beside_its_image_goes_too(place: Place) -> None:
    place.disk("guest.raw", "guest.raw")
    (place.folder / "recipe.yml").write_text("seed: true\n")
    (place.folder / "guest-seed.iso").write_text("somebody's own\n")
    before = sorted(path.name for path in place.folder.glob("*.*"))
    playbook = place.playbook("""\
- hosts: localhost
  vars: {growdisk_on_failure: play}
  tasks:
    - growdisk.disk.provision: {base: guest.raw, dest: new.raw, recipe: recipe.yml}
    - growdisk.disk.image: {image: split.qcow2, size: 1M, options: {data_file: split.data}}
    - growdisk.disk.provision: {base: guest.raw, dest: guest.qcow2, format: qcow2}
    - ansible.builtin.fail:
""")
    for _ in range(2):
        ended = place.run(playbook)
        assert (ended.code, ended.json()["result"]) == (4, "restored"), ended
        left = sorted(path.name for path in place.folder.glob("*.*"))
        assert left == sorted([*before, "play.yml"])


def test_an_image_below_a_variable_of_the_environment_is_taken_back(place: Place) -> None:
    image = place.disk()
    playbook = place.playbook("""\
- hosts: localhost
  vars: {growdisk_on_failure: play}
  tasks:
    - growdisk.disk.resize_image: {image: $XDG_STATE_HOME/../guest.qcow2, size: +64M}
    - ansible.builtin.fail:
""")
    (place.folder / "state").mkdir()
    ended = place.run(playbook)
    assert (ended.code, ended.json()["result"]) == (4, "restored"), ended
    assert virtual_size(image) == 128 * MiB


@pytest.mark.parametrize("words", [("-l", ""), ("-l", ","), ("-t", ""), ("-t", "a", "-t", " ")])
def test_an_empty_choice_is_not_all(place: Place, words: tuple[str, ...]) -> None:
    ended = place.growdisk("run", "nosuch.yml", "-i", "web01,", *words)
    assert (ended.code, "names nothing" in ended.err) == (2, True), ended
