"""`growdisk run` as it is called: what it says of its hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.host.yaml_reader import YamlPosition
from growdisk.playbook.hosts import hosts_of
from growdisk.playbook.inventory import read_inventories
from growdisk.playbook.keywords import unknown_task_word
from growdisk.playbook.loader import load_playbook
from growdisk.playbook.model import Request
from growdisk.units import MiB
from tests.conftest import DiskMaker
from tests.guests.small import SmallDisk
from tests.unit.cli.command import in_process


@pytest.mark.parametrize(
    ("limit", "taken"),
    [("web:e", "abe"), ("web:e:!a", "be"), ("web:&db", ""), ("domain:web", ""), ("d:web,x", "abd")],
)
def test_a_limit_is_divided_by_colons_as_with_ansible(
    tmp_path: Path, limit: str, taken: str
) -> None:
    source, playbook = tmp_path / "hosts.ini", tmp_path / "play.yml"
    source.write_text("[web]\na\nb\n[db]\nd\ne\n")
    playbook.write_text("- hosts: all\n  tasks: []\n")
    (play,) = load_playbook(playbook).plays
    inventory = read_inventories([str(source)], tmp_path)
    found = hosts_of(play, Request(playbook, limit=limit), inventory)
    assert "".join(host.name for host in found) == taken


def test_swap_that_is_given_up_is_told(
    small_disk: DiskMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    image = small_disk(disk=SmallDisk(size=128 * MiB, swap_size=16 * MiB))
    words = ("run", "expand-root", "-e", f"target={image}", "-e", "size=256M", "-e", "swap=drop")
    ended = in_process(*words)
    assert "given up: sda5: swap partition of 16.0 MiB" in ended.out, ended


@pytest.mark.parametrize(
    "word",
    ["command", "ansible.builtin.command", "ansible.builtin.stat", "with_items", "a.b.filesystem"],
)
def test_what_only_ansible_has_is_not_taken_for_a_slip(word: str) -> None:
    error = unknown_task_word(word, YamlPosition("play.yml", 3, 7))
    assert "run this playbook with ansible-playbook" in error.what_to_do


@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("expand", "growdisk.disk.expand"),
        ("growdisk.expnd", "growdisk.disk.expand"),
        ("ansible.builtin.debg", "ansible.builtin.debug"),
        ("wen", "when"),
    ],
)
def test_a_slip_in_a_task_is_told_with_the_right_word(slip: str, meant: str) -> None:
    error = unknown_task_word(slip, YamlPosition("play.yml", 3, 7))
    assert error.what_to_do == f"write {meant}"
