"""A playbook's mistakes are reported before anything runs, with place and suggestion."""

from __future__ import annotations

import pytest

from tests.playbooks.conftest import Place
from tests.unit.cli.command import fingerprint

PLAY = """\
- name: Grow
  hosts: guest.qcow2
  {play}
  tasks:
    - name: First
      growdisk.disk.resize_image:
        image: "{{{{ image }}}}"
        size: +16M
    - name: Second
      {task}
"""
FINE = 'growdisk.disk.show: {image: "{{ image }}"}'


IMAGE = 'growdisk.disk.expand: {image: "{{ image }}", '
NO_FACTS = "gather_facts: false"
MISTAKES = [
    ("host: x", FINE, "3:3", "a play has no 'host'", "write hosts"),
    (
        NO_FACTS,
        "growdisk.disk.expnad: {image: x}",
        "10:7",
        "no task or keyword",
        "growdisk.disk.expand",
    ),
    (NO_FACTS, IMAGE + "sise: +1G}", "10:52", "no option 'sise'", "write size"),
    (NO_FACTS, f"{FINE}\n      whne: true", "11:7", "a task has no 'whne'", "write when"),
    (NO_FACTS, IMAGE + "size: 10GB}", "10:58", "size '10GB'", "10GiB"),
    (NO_FACTS, IMAGE + "swap: mvoe}", "10:58", "swap cannot be 'mvoe'", "write move"),
    (NO_FACTS, IMAGE + "delete: two}", "10:60", "delete must be a number", ""),
    (
        NO_FACTS,
        'growdisk.disk.show: {image: "{{ image }"}',
        "10:35",
        "cannot read the expression",
        "",
    ),
    (NO_FACTS, 'growdisk.disk.show: {image: "{{ imege }}"}', "10:35", "imege", "write image"),
    (
        NO_FACTS,
        'growdisk.disk.show: {image: "{{ image | nosuch }}"}',
        "10:35",
        "cannot read the expression",
        "",
    ),
    (
        NO_FACTS,
        f'{FINE}\n      when: "{{{{ x }}}}"',
        "11:13",
        "when is an expression already",
        "leave",
    ),
    (
        NO_FACTS,
        'growdisk.disk.show: {image: "no.qcow2"}',
        "10:35",
        "there is no image no.qcow2",
        "check",
    ),
    (NO_FACTS, "growdisk.disk.resize_image: {image: x}", "10:7", "needs size", ""),
    ("roles: []", FINE, "3:3", "growdisk run does not know 'roles'", "ansible-playbook"),
    (NO_FACTS, "block: []", "10:7", "growdisk run does not know 'block'", "ansible-playbook"),
    ("become: true", FINE, "3:11", "does not become another user", "sudo"),
    (
        "vars: {growdisk_on_failure: paly}",
        FINE,
        "3:31",
        "growdisk_on_failure cannot be 'paly'",
        "play",
    ),
    ("vars: {more: 10GB}", IMAGE + 'size: "{{ more }}"}', "10:58", "size '10GB'", ""),
    (
        "vars: {a: '{{ b }}', b: '{{ a }}'}",
        'ansible.builtin.debug: {msg: "{{ a }}"}',
        "10:",
        "made of itself",
        "",
    ),
    (NO_FACTS, f"{FINE}\n      growdisk.disk.facts: {{image: a}}", "11:7", "does two things", ""),
    (
        "vars: {growdisk_on_failure: play}",
        "growdisk.disk.expand_online: {domain: web01}",
        "10:45",
        "cannot be taken back whole",
        "growdisk_on_failure: task",
    ),
    ("name: again", FINE, "3:3", "'name' stands here a second time", ""),
    ("tags: [", FINE, "5:5", "", ""),
]


@pytest.mark.parametrize(("play", "task", "where", "what", "do"), MISTAKES)
def test_a_mistake_is_named_with_its_place_and_nothing_is_touched(
    place: Place, play: str, task: str, where: str, what: str, do: str
) -> None:
    image = place.disk()
    before = fingerprint(image)
    playbook = place.playbook(PLAY.format(play=play, task=task))
    ended = place.run(playbook)
    error = ended.json()["error"]
    assert ended.code in (2, 3), ended
    assert f"{playbook}:{where}" in error["what"] and what in f"{error['what']} {error['why']}", (
        error
    )
    assert do in error["do"], error
    assert fingerprint(image) == before
    assert place.left() == []


def test_two_hosts_with_one_image_are_refused(place: Place) -> None:
    image = place.disk()
    (place.folder / "link.qcow2").symlink_to(image)
    playbook = place.playbook(
        PLAY.format(play="gather_facts: false", task=FINE).replace("guest.qcow2", "'*.qcow2'")
    )
    ended = place.run(playbook)
    assert (ended.code, "would be worked on by" in ended.json()["error"]["what"]) == (3, True)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("-e", "target=nothing-*.qcow2"), "no image matches nothing-*.qcow2"),
        (("-e", "target=missing.qcow2"), "there is no image missing.qcow2"),
        (("-e", "target=guets"), "there is no host or group 'guets'"),
        (("-i", "no-such.yml"), "cannot read this inventory"),
        (("-l", "nobody"), "no host matches --limit nobody"),
        (("-e", "size"), "cannot read -e size"),
        (("-e", "@no-such.yml"), "cannot be read"),
        (("-j", "0"), "is not from 1 to"),
    ],
)
def test_a_slip_on_the_command_line_is_told(
    place: Place, words: tuple[str, ...], what: str
) -> None:
    place.disk()
    playbook = place.playbook(
        "- hosts: \"{{ target | default('guest.qcow2') }}\"\n  tasks:\n"
        '    - growdisk.disk.show: {image: "{{ image }}"}\n'
    )
    ended = place.run(playbook, *words)
    assert ended.code == 2
    assert what in ended.json()["error"]["what"], ended


def test_an_image_is_no_inventory(place: Place) -> None:
    image = place.disk()
    playbook = place.playbook("- hosts: all\n  tasks: []\n")
    error = place.run(playbook, "-i", image.name).json()["error"]
    assert error["what"] == f"{image.name}: cannot read this inventory"
    assert error["why"] == "it is not text in UTF-8"
    assert "an image is named under hosts in the playbook" in error["do"]


def test_a_file_that_is_no_playbook_is_told(place: Place) -> None:
    for text in ("", "hosts: all\n", "- 5\n", "- hosts: a\n  tasks: 7\n", "\x01", "&a [*a]\n"):
        ended = place.run(place.playbook(text))
        assert (ended.code, bool(ended.json()["error"]["what"])) == (2, True), text
    assert place.run(place.folder / "missing.yml").code == 2
