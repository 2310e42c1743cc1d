"""Plays over several images: what changes, is taken back, or continues after a failure."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.e2e.judges import virtual_size
from tests.guests.tools import run
from tests.oracle.qemu import qemu_img
from tests.playbooks.conftest import Place, wait_until
from tests.unit.cli.command import fingerprint

TWO_STEPS = """\
- name: Resize and rewrite
  hosts: "{{ target | default('*.qcow2') }}"
  gather_facts: false
  vars:
    growdisk_on_failure: "{{ how_far | default('task') }}"
  tasks:
    - name: Enlarge
      growdisk.disk.resize_image:
        image: "{{ image }}"
        size: "{{ size | default('+32M') }}"
      register: enlarged
    - name: Recreate
      growdisk.disk.rewrite_partitions:
        image: "{{ image }}"
        partition: 1
        delete: [2, 5]
      register: table
    - name: Stumble
      ansible.builtin.fail:
        msg: told to
      when: stumble | default('') == inventory_hostname
"""


def names(image: Path) -> set[str]:
    return {
        line.split()[0] for line in run("sfdisk", "-d", image).splitlines() if line.startswith("/")
    }


def test_each_image_is_changed_once_and_a_second_run_changes_nothing(place: Place) -> None:
    for name in ("a.qcow2", "b.qcow2", "c.qcow2"):
        place.disk(name)
    playbook = place.playbook(TWO_STEPS)
    first = place.run(playbook, "-j", "3", "-e", "size=160M")
    assert (first.code, first.json()["summary"]["changed"]) == (0, 3)
    assert first.states() == ["changed", "changed", "skipped"]
    second = place.run(playbook, "-e", "size=160M")
    assert (second.code, second.json()["result"]) == (0, "nochange")
    assert second.states() == ["ok", "ok", "skipped"]
    for image in place.folder.glob("*.qcow2"):
        assert virtual_size(image) == 160 * MiB
        run("qemu-img", "check", "-q", image)
        assert qemu_img("snapshot", "-l", image).strip() == ""
    assert place.left() == []


@pytest.mark.parametrize("kind", ["guest.qcow2", "guest.raw"])
def test_a_play_that_fails_is_taken_back_whole_and_the_others_go_on(
    place: Place, kind: str
) -> None:
    suffix = Path(kind).suffix
    good, bad = place.disk(f"good{suffix}", kind), place.disk(f"bad{suffix}", kind)
    original = place.disk(f"original.{kind}", kind).rename(place.folder / "before")
    words = (
        "-e", "how_far=play", "-e", f"stumble={bad.name}", "-e", f"target=*d{suffix}", "-j", "2",
    )  # fmt: skip
    ended = place.run(place.playbook(TWO_STEPS), *words)
    assert ended.code == 4
    summary = ended.json()["summary"]
    assert (summary["changed"], summary["restored"], summary["failed"]) == (1, 1, 0)
    assert qemu_img("compare", "-f", suffix[1:], "-F", suffix[1:], bad, original)
    assert virtual_size(bad) == 128 * MiB and virtual_size(good) == 160 * MiB
    if suffix == ".qcow2":
        run("qemu-img", "check", "-q", bad)
        assert qemu_img("snapshot", "-l", bad).strip() == ""
    assert not [path for path in place.folder.iterdir() if path.name.startswith(".")]
    assert place.left() == []


def test_a_task_that_fails_leaves_what_earlier_tasks_did(place: Place) -> None:
    image = place.disk()
    ended = place.run(place.playbook(TWO_STEPS), "-e", f"stumble={image.name}")
    host = ended.json()["hosts"][0]
    # Refused would mean that nothing has been touched.
    assert (ended.code, host["result"], host["error"]["what"]) == (4, "failed", "told to")
    assert virtual_size(image) == 160 * MiB


def test_check_mode_writes_nothing_and_says_what_would_be(place: Place) -> None:
    image = place.disk()
    before = fingerprint(image)
    ended = place.run(place.playbook(TWO_STEPS), "--check", "--diff")
    assert (ended.code, ended.json()["check"]) == (0, True)
    assert ended.states()[:2] == ["changed", "changed"]
    enlarge = ended.json()["hosts"][0]["tasks"][0]
    assert "160.0 MiB" in enlarge["message"] and "160.0 MiB" in enlarge["diff"]["after"]
    assert fingerprint(image) == before
    assert {path.name for path in place.folder.iterdir()} == {"guest.qcow2", "play.yml"}


@pytest.mark.parametrize("said", ["true", '"{{ look_only }}"'])
def test_check_mode_of_a_play_or_a_task_writes_nothing_either(place: Place, said: str) -> None:
    image = place.disk()
    before = fingerprint(image)
    task = '  - growdisk.disk.expand: {image: "{{ image }}", size: +32M}'
    plays = (
        f"- hosts: guest.qcow2\n  check_mode: {said}\n  tasks:\n{task}\n",
        f"- hosts: guest.qcow2\n  tasks:\n{task}\n    check_mode: {said}\n",
    )
    for play in plays:
        ended = place.run(place.playbook(play), "-e", "look_only=true")
        assert (ended.code, ended.states()) == (0, ["changed"]), ended
        assert fingerprint(image) == before
    overruled = plays[0] + "    check_mode: false\n"
    assert place.run(place.playbook(overruled), "-e", "look_only=true").code == 0
    assert virtual_size(image) == 160 * MiB


def test_conditions_loops_and_results_are_ansibles(place: Place) -> None:
    place.disk()
    playbook = place.playbook(
        """\
- hosts: guest.qcow2
  vars:
    numbers: [1, 2, 5]
    greeting: "disk of {{ image | basename }}"
  tasks:
    - name: Partition {{ item }}
      growdisk.disk.assert:
        image: "{{ image }}"
        present: ["{{ item }}"]
      loop: "{{ numbers + [7] }}"
      register: found
      ignore_errors: true
    - ansible.builtin.set_fact:
        missing: "{{ found.results | selectattr('failed') | map(attribute='item', default='?') | list | length }}"
    - ansible.builtin.assert:
        that: [missing == 1, found is failed, greeting == 'disk of guest.qcow2']
    - growdisk.disk.facts: {image: "{{ image }}"}
      changed_when: growdisk_disk is not defined
      tags: always
    - ansible.builtin.debug: {msg: "{{ growdisk_disk.table.type }}"}
      failed_when: growdisk_disk.table.type != 'mbr'
      tags: [never, told]
    - ansible.builtin.fail: {msg: no}
      when:
        - growdisk_disk.partitions | length == 3
        - omit is not defined
    - growdisk.disk.show: {image: "{{ image }}"}
      failed_when: false
      tags: last
"""  # noqa: E501
    )
    ended = place.run(playbook)
    assert ended.code == 0, ended.out
    assert ended.states() == ["ok", "ok", "ok", "ignored", "ok", "ok", "ok", "skipped", "ok"]
    assert [
        task["task"] for task in place.run(playbook, "--tags", "told").json()["hosts"][0]["tasks"]
    ] == [
        "growdisk.disk.facts",
        "ansible.builtin.debug",
    ]
    assert len(place.run(playbook, "--tags", "last").states()) == 2
    assert len(place.run(playbook, "--skip-tags", "last").states()) == 8


def test_inventories_give_hosts_groups_and_variables(place: Place) -> None:
    for name in ("web01", "web02", "db"):
        place.disk(f"{name}.qcow2")
    (place.folder / "group_vars").mkdir()
    (place.folder / "group_vars/web.yml").write_text("size: 144M\n")
    ini = place.playbook(
        '[web]\nweb[01:02] image="{{ inventory_hostname }}.qcow2"\n[other]\ndb image=db.qcow2 '
        "size=136M\n"
        "[guests:children]\nweb\nother\n[guests:vars]\nsize=130M\n",
        "hosts.ini",
    )
    yaml = place.playbook(
        "all:\n  children:\n    guests:\n      vars: {size: 130M}\n      children:\n        "
        "web:\n          hosts:\n"
        "            web[01:02]: {image: '{{ inventory_hostname }}.qcow2'}\n        other:\n      "
        "    hosts:\n"
        "            db: {image: db.qcow2, size: 136M}\n",
        "hosts.yml",
    )
    playbook = place.playbook(
        '- hosts: guests:!web02\n  tasks:\n    - growdisk.disk.resize_image:\n        image: "{{ '
        'image }}"\n'
        '        size: "{{ size }}"\n'
    )
    first = place.run(playbook, "-i", ini, "-l", "web")
    assert ([host["host"] for host in first.json()["hosts"]], first.code) == (["web01"], 0)
    assert virtual_size(place.folder / "web01.qcow2") == 144 * MiB
    second = place.run(playbook, "-i", yaml)
    assert [(h["host"], h["result"]) for h in second.json()["hosts"]] == [
        ("web01", "ok"),
        ("db", "changed"),
    ]
    assert virtual_size(place.folder / "db.qcow2") == 136 * MiB
    assert virtual_size(place.folder / "web02.qcow2") == 128 * MiB
    assert place.run(playbook, "-i", yaml, "-e", "size=152M", "-l", "db").code == 0
    assert virtual_size(place.folder / "db.qcow2") == 152 * MiB


def test_people_see_a_line_a_host_and_one_summary(place: Place) -> None:
    good, bad = place.disk("good.qcow2"), place.disk("bad.qcow2")
    ended = place.growdisk(
        "run", place.playbook(TWO_STEPS), "-e", f"stumble={bad.name}", "-e", "how_far=play"
    )
    assert [line.split(",")[0] for line in ended.out.splitlines()] == [
        "bad.qcow2: restored",
        f"{good.name}: changed",
        "  Recreate: given up: sda5: swap partition of 16.0 MiB",
        "2 hosts: 1 changed",
    ]
    assert ended.err.splitlines()[0] == "growdisk: bad.qcow2: told to"


def test_a_signal_ends_the_running_hosts_in_order_and_begins_no_more(place: Place) -> None:
    for name in ("a.qcow2", "b.qcow2"):
        place.disk(name)
    playbook = place.playbook(
        "- hosts: '*.qcow2'\n  vars: {growdisk_on_failure: play}\n  tasks:\n"
        "    - growdisk.disk.resize_image: {image: '{{ image }}', size: +8M}\n"
        "      loop: '{{ range(500) | list }}'\n"
        "    - growdisk.disk.show: {image: '{{ image }}'}\n"
    )
    process = place.start("run", playbook, "--json")
    image = place.folder / "a.qcow2"
    wait_until(lambda: qemu_size(image) > 128 * MiB, "the first host has begun")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 4
    assert virtual_size(image) == 128 * MiB and virtual_size(place.folder / "b.qcow2") == 128 * MiB
    assert place.left() == []


def qemu_size(image: Path) -> int:
    """Read from the header: the image is in use."""
    return int.from_bytes(image.read_bytes()[24:32], "big")


SECRETS = """\
- hosts: guest.qcow2
  vars: {secret: "mellon-1", words: ["mellon-2"]}
  tasks:
    - {name: Item, ansible.builtin.debug: {msg: "{{ item }}"}, loop: "{{ words }}", no_log: true}
    - name: Expression
      ansible.builtin.debug: {msg: "{{ ('mellon-' ~ item) | from_json }}"}
      loop: [3]
      no_log: true
      ignore_errors: true
    - {name: Speak, ansible.builtin.fail: {msg: "{{ secret }}"}, no_log: true}
"""


def test_no_log_hides_errors_and_items_too(place: Place) -> None:
    place.disk()
    playbook = place.playbook(SECRETS)
    ended = place.run(playbook)
    told = place.growdisk("run", playbook, "-v", "--log", place.folder / "log")
    shown = f"{ended.out}{ended.err}{told.out}{told.err}{(place.folder / 'log').read_text()}"
    assert "mellon" not in shown, shown
    # What is left: that it failed, which kind of error it is, and its exit code.
    error = ended.json()["hosts"][0]["error"]
    assert (ended.code, error["id"], error["code"]) == (3, "told-to-fail", 3)
    assert error["what"] == "task 'Speak' failed" and "no_log" in error["why"]
    assert "task 'Speak' failed" in told.err


def test_no_log_hides_a_value_that_is_refused_before_anything_runs(place: Place) -> None:
    place.disk()
    for value in ("{{ secret }}", "{{ secret | from_json }}"):
        playbook = place.playbook(
            "- hosts: guest.qcow2\n  vars: {secret: mellon}\n  tasks:\n"
            "    - growdisk.disk.resize_image:\n        image: '{{ image }}'\n"
            f"        size: '{value}'\n      no_log: true\n"
        )
        ended = place.run(playbook)
        assert ended.code in (2, 3)
        assert f"{playbook}:6:15" in ended.json()["error"]["what"], ended
        assert "mellon" not in ended.out + ended.err, ended
