"""Running guests in a list: whose file systems are whose, and guests that say nothing."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from growdisk.api.fleet import running_guests
from growdisk.api.fleet.running_guests import (
    GuestDiskAddress,
    GuestFileSystem,
    ask_guests,
    with_guest_usage,
)
from growdisk.api.fleet.values import DiskEntry
from growdisk.api.host_space import Promises
from growdisk.api.live_request import LiveRequest
from growdisk.api.watching import actions
from growdisk.api.watching.actions import Action, RoundContext, act_on
from growdisk.api.watching.rules import load_rules
from growdisk.workflow.stopping import StopRequest

ROOT = GuestFileSystem("/", "ext4", 100, 80, (GuestDiskAddress("/dev/sda1"),))
DATA = GuestFileSystem("/srv", "xfs", 1000, 10, (GuestDiskAddress("/dev/vdb1"),))


def test_of_a_machine_with_two_disks_each_has_its_own_file_systems() -> None:
    first, second = (DiskEntry(name, domain="web", target=name) for name in ("sda", "vdb"))
    assert [
        use.name for use in with_guest_usage(first, (ROOT, DATA), alone=False).file_systems
    ] == ["/"]
    assert [
        use.name for use in with_guest_usage(second, (ROOT, DATA), alone=False).file_systems
    ] == ["/srv"]


def test_two_disks_with_the_same_letter_on_two_buses_are_two_disks() -> None:
    on_scsi, on_virtio = (DiskEntry(name, domain="web", target=name) for name in ("sdb", "vdb"))
    assert with_guest_usage(on_virtio, (ROOT, DATA), alone=False).file_systems[0].name == "/srv"
    silent = with_guest_usage(on_scsi, (ROOT, DATA), alone=False)
    assert (silent.file_systems, silent.note) == ((), "its guest names no file system on it")


@pytest.mark.parametrize("alone", [True, False])
def test_a_file_system_larger_than_its_disk_is_not_believed(alone: bool) -> None:
    entry = DiskEntry("web", domain="web", target="sda", virtual_size=99)
    lied = with_guest_usage(entry, (ROOT,), alone=alone)
    assert lied.file_systems == ()
    assert lied.note == "its guest tells of a file system that is larger than the disk"
    assert with_guest_usage(
        DiskEntry("web", domain="web", target="sda", virtual_size=100), (ROOT,), alone=alone
    ).fullest


def test_a_file_system_over_several_disks_may_be_larger_than_each() -> None:
    both = GuestFileSystem(
        "/srv", "btrfs", 1000, 10, (GuestDiskAddress("/dev/vda"), GuestDiskAddress("/dev/vdb"))
    )
    entry = with_guest_usage(
        DiskEntry("web", domain="web", target="vda", virtual_size=600), (both,), alone=False
    )
    assert entry.fullest is not None and entry.fullest.size == 1000


def test_the_root_of_a_machine_is_what_it_has_at_the_root() -> None:
    entry = with_guest_usage(DiskEntry("web", domain="web", target="sda"), (DATA, ROOT), alone=True)
    assert entry.root is not None and entry.fullest is not None
    assert (entry.root.name, entry.fullest.name, entry.fullness) == ("/", "/", 0.8)


def test_a_guest_that_hangs_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    forever = threading.Event()

    def answer_of(request: LiveRequest) -> object:
        if request.domain == "hangs":
            forever.wait()
        return (ROOT,)

    monkeypatch.setattr(running_guests, "_answer_of", answer_of)
    monkeypatch.setattr(running_guests, "SECONDS", 0.5)
    entries = [DiskEntry(name, domain=name) for name in ("hangs", "web")]
    begun = time.monotonic()
    answers = ask_guests(entries, None)
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
    context = RoundContext(None, Promises(), StopRequest())
    entry = with_guest_usage(
        DiskEntry("web", domain="web", state="running", virtual_size=1 << 50), (DATA,), alone=True
    )
    assert act_on(entry, rule, context).result == "nothing"
    silent = with_guest_usage(entry, "its guest did not answer", alone=True)
    assert act_on(silent, rule, context).result == "refused"
    assert asked == ["web"]


def test_a_share_of_a_disk_whose_size_nobody_tells_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be a step of nothing; a step as a size is left to whoever reaches the machine."""
    (tmp_path / "rules.yml").write_text(
        "rules: [{domains: web, step: 20%}, {domains: db, step: 10G}]"
    )
    monkeypatch.setattr(actions, "_grown", lambda entry, *_: Action(entry, "grown"))
    context = RoundContext(None, Promises(), StopRequest())
    dealt = [
        act_on(
            DiskEntry(
                name, domain=name, state="running", note="its disk is not a file of this host"
            ),
            rule,
            context,
        )
        for name, rule in zip(("web", "db"), load_rules(tmp_path / "rules.yml").rules, strict=True)
    ]
    assert [(each.result, each.detail.partition(":")[0]) for each in dealt] == [
        ("refused", "its disk is not a file of this host"),
        ("grown", ""),
    ]
