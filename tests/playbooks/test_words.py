"""Variables in Ansible's order of precedence, what --tasks lists, and the table on a terminal."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from growdisk.playbook.specs import TASKS
from tests.playbooks.conftest import PATIENCE, Place

WHICH = """\
- hosts: guests
  vars: {b: play, c: play, d: play, e: play, f: play}
  vars_files: ["{{ name }}.yml"]
  tasks:
    - ansible.builtin.set_fact: {e: fact, f: fact}
    - ansible.builtin.debug: {msg: "{{ a }} {{ b }} {{ c }} {{ d }} {{ e }} {{ f }}"}
      vars: {d: task, e: task, f: task}
"""


def test_the_nearer_a_variable_is_said_the_more_it_counts(place: Place) -> None:
    (place.folder / "more.yml").write_text("c: file\nd: file\n")
    (place.folder / "extra.yml").write_text("f: extra\nname: more\n")
    hosts = place.playbook("guests: {hosts: {x: {a: host, b: host}}}\n", "hosts.yml")
    ended = place.run(place.playbook(WHICH), "-i", hosts, "-e", "@extra.yml")
    assert ended.code == 0, ended
    assert ended.json()["hosts"][0]["tasks"][1]["message"] == "host play file task fact extra"


FORMS = [('{"name": "more", "f": "extra"}',), ("name=more", "f=extra"), ("name=more f=extra",)]


@pytest.mark.parametrize("words", FORMS, ids=" ".join)
def test_variables_are_given_in_every_form(place: Place, words: tuple[str, ...]) -> None:
    playbook = place.playbook(
        '- hosts: all\n  tasks:\n    - ansible.builtin.debug: {msg: "{{ name }} {{ f }}"}\n'
    )
    ended = place.run(playbook, "-i", "x,y", *(part for word in words for part in ("-e", word)))
    assert [host["tasks"][0]["message"] for host in ended.json()["hosts"]] == ["more extra"] * 2, (
        ended
    )


def test_a_group_that_the_inventory_does_not_have_is_told_with_those_that_it_has(
    place: Place,
) -> None:
    inventory = place.playbook("[guests]\nx\n", "hosts")
    ended = place.run(place.playbook("- hosts: gests\n  tasks: []\n"), "-i", inventory)
    error = ended.json()["error"]
    assert (ended.code, "no host or group 'gests'" in error["what"]) == (2, True)
    assert error["do"] == "write guests"


def test_a_host_without_variables_is_in_its_groups(place: Place) -> None:
    inventory = place.playbook("[web]\nh1\n", "hosts")
    playbook = place.playbook(
        "- hosts: all\n  tasks:\n    - ansible.builtin.debug: {msg: '{{ group_names }}'}\n"
    )
    ended = place.run(playbook, "-i", inventory, "-l", "web")
    assert ended.code == 0, ended
    assert ended.json()["hosts"][0]["tasks"][0]["message"] == '["web"]'


def test_all_tasks_are_listed_with_their_options(place: Place) -> None:
    listed = place.growdisk("run", "--tasks")
    assert listed.code == 0
    for task in TASKS.values():
        assert f"\n{task.qualified}\n" in f"\n{listed.out}", task.name
    assert [task["name"] for task in place.growdisk("run", "--tasks", "--json").json()] == [
        task.qualified for task in TASKS.values()
    ]


def test_on_a_terminal_a_table_moves_and_makes_room_for_the_summary(place: Place) -> None:
    place.disk("a.qcow2")
    playbook = place.playbook(
        "- hosts: a.qcow2\n  tasks:\n    - name: Enlarge\n"
        "      growdisk.disk.resize_image: {image: '{{ image }}', size: +1M}\n"
    )
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "growdisk.cli.main", "run", playbook], stdout=subprocess.PIPE,
        stderr=theirs, text=True,
        stdin=subprocess.DEVNULL, cwd=place.folder, env={**place.environment, "TERM": "xterm"},
    )  # fmt: skip
    place.started.append(process)
    os.close(theirs)
    shown = b""
    while piece := _read(ours):
        shown += piece
    out, _ = process.communicate(timeout=PATIENCE)
    os.close(ours)
    text = shown.decode()
    assert process.returncode == 0, text
    assert "host" in text and "1/1 Enlarge" in text and "changed" in text and "\x1b[1A" in text, (
        text
    )
    assert [line.split(",")[0] for line in out.splitlines()] == [
        "a.qcow2: changed",
        "1 host: 1 changed",
    ]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other side is closed
        return b""
