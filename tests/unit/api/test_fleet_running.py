"""Running guests in a list: whose file systems are whose, and guests that say nothing."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from growdisk.api.fleet import running
from growdisk.api.fleet.running import ask_guests, with_guest
from growdisk.api.fleet.values import DiskEntry
from growdisk.api.live_target import LiveRequest
from growdisk.api.watching import actions
from growdisk.api.watching.actions import Action, deal_with
from growdisk.api.watching.rules import load_rules
from growdisk.backends.guest_fsinfo import GuestDisk, GuestFileSystem

ROOT = GuestFileSystem("/", "ext4", 100, 80, (GuestDisk("/dev/sda1"),))
DATA = GuestFileSystem("/srv", "xfs", 1000, 10, (GuestDisk("/dev/vdb1"),))


def test_of_a_machine_with_two_disks_each_has_its_own_file_systems() -> None:
    first, second = (DiskEntry(name, domain="web", target=name) for name in ("vda", "vdb"))
    assert [use.name for use in with_guest(first, (ROOT, DATA), alone=False).file_systems] == ["/"]
    assert [use.name for use in with_guest(second, (ROOT, DATA), alone=False).file_systems] == ["/srv"]


def test_the_root_of_a_machine_is_what_it_has_at_the_root() -> None:
    entry = with_guest(DiskEntry("web", domain="web", target="sda"), (DATA, ROOT), alone=True)
    assert entry.root is not None and entry.fullest is not None
    assert (entry.root.name, entry.fullest.name, entry.fullness) == ("/", "/", 0.8)


def test_a_guest_that_hangs_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    forever = threading.Event()

    def told_by(request: LiveRequest) -> object:
        if request.domain == "hangs":
            forever.wait()
        return (ROOT,)

    monkeypatch.setattr(running, "_told_by", told_by)
    entries = [DiskEntry(name, domain=name) for name in ("hangs", "web")]
    begun = time.monotonic()
    answers = ask_guests(entries, None, seconds=0.5)
    forever.set()
    assert time.monotonic() - begun < 60
    assert answers[1] == (ROOT,)
    assert "did not answer" in str(answers[0])


def test_a_rule_does_not_rely_on_the_old_superblocks_of_a_silent_guest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rules.yml").write_text("rules: [{domains: web}]")
    (rule,) = load_rules(tmp_path / "rules.yml").rules
    asked = []

    def grown(entry: DiskEntry, *_: object, **__: object) -> Action:
        asked.append(entry.name)
        return Action(entry, "refused", 3)

    monkeypatch.setattr(actions, "_grown", grown)
    entry = with_guest(DiskEntry("web", domain="web", state="running"), (DATA,), alone=True)
    assert deal_with(entry, rule, None, dry_run=False).result == "nothing"
    silent = with_guest(entry, "its guest did not answer", alone=True)
    assert deal_with(silent, rule, None, dry_run=False).result == "refused"
    assert asked == ["web"]
