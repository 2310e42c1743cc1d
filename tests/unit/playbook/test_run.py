"""`growdisk run` as it is called: what it says of its hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.playbook.hosts import hosts_of
from growdisk.playbook.inventory import read_inventories
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
