"""Rounds of growdisk watch on busy guests: libvirt's by name, plain QEMU's by image."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from growdisk.units import GiB, MiB
from tests.e2e.process import Host
from tests.guests.classic import DISK_SIZE
from tests.guests.tools import run
from tests.online.inside import assert_nothing_lost, boot_id, fill, filling, sizes, start_writer
from tests.online.libvirtd import Domain, domain, libvirtd, power_off, wait_for_agent
from tests.online.machine import LiveGuest

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(3600)]

MAXIMUM = DISK_SIZE + 3 * GiB // 2
RULES = f"""\
rules:
  - TARGET
    when_used: 85%
    step: 1G
    max_size: {MAXIMUM // MiB}M
    min_interval: 0s
    keep_host_free: 1%
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    return tmp_path / "rules.yml"


def watched(host: Host, rules: Path) -> dict[str, object]:
    """The one disk of a round, which came out well."""
    answer = host.growdisk("watch", rules, "--metrics", rules.with_suffix(".prom"))
    assert answer.code == 0, answer
    (disk,) = answer.document["disks"]  # type: ignore[misc]
    return dict(disk)


def assert_grown_to_the_maximum(grown: list[dict[str, object]]) -> None:
    assert [disk["new_size"] for disk in grown] == [DISK_SIZE + GiB, MAXIMUM, None]
    assert "has its largest size already" in str(grown[-1]["detail"])


def test_a_plain_qemu_that_is_filled_grows_round_by_round(
    scsi_guest: LiveGuest, host: Host, rules: Path
) -> None:
    guest, first = scsi_guest, boot_id(scsi_guest)
    rules.write_text(RULES.replace("TARGET", f"images: {guest.image}"))
    start_writer(guest)
    assert watched(host, rules)["result"] == "nothing"
    grown = []
    for number in range(3):
        fill(guest, f"/root/filler{number}")
        grown.append(watched(host, rules))
    assert_grown_to_the_maximum(grown)
    assert boot_id(guest) == first
    assert_nothing_lost(guest)


def test_a_guest_that_is_full_to_the_last_block_grows_all_the_same(
    scsi_guest: LiveGuest, host: Host, rules: Path
) -> None:
    """It was faster than the rounds: its own tools cannot write a byte any more."""
    guest = scsi_guest
    rules.write_text(RULES.replace("TARGET", f"images: {guest.image}"))
    guest.run("fallocate -l $(df -Pk / | tail -n 1 | awk '{print $4}')k /root/filler; sync", 600)
    guest.run(
        "dd if=/dev/zero of=/root/rest bs=1M status=none; dd if=/dev/zero of=/root/last bs=512 "
        "status=none; true",
        900,
    )
    assert guest.run("df -Pk / | tail -n 1").split()[3] == "0"
    assert watched(host, rules)["new_size"] == DISK_SIZE + GiB
    guest.run("echo again >/root/written; sync")
    assert sizes(guest)["/"] > DISK_SIZE + GiB // 2


@pytest.fixture
def machine(classic_copy: Path) -> Iterator[Domain]:
    with libvirtd(), domain(classic_copy) as machine:
        machine.virsh("start")
        wait_for_agent(machine)
        yield machine


def test_a_machine_of_libvirt_that_is_filled_grows_round_by_round(
    machine: Domain, host: Host, rules: Path
) -> None:
    rules.write_text(RULES.replace("TARGET", f"domains: {machine.name[:-2]}*"))
    assert watched(host, rules)["result"] == "nothing"
    grown = []
    for number in range(3):
        inside(machine, filling(f"/root/filler{number}"))
        grown.append(watched(host, rules))
    assert_grown_to_the_maximum(grown)
    assert machine.name in rules.with_suffix(".prom").read_text()
    assert str(MAXIMUM) in machine.virsh("domblkinfo", "vda")
    power_off(machine)
    run("qemu-img", "check", "-q", machine.image)


def inside(machine: Domain, script: str) -> None:
    """As the guest's agent runs it; its `exitcode` comes when it has ended."""
    from growdisk.api.live_request import LiveRequest
    from growdisk.api.live_target import RunningGuest, reach

    reached = reach(LiveRequest(domain=machine.name))
    assert isinstance(reached, RunningGuest)
    shell = reached.open_shell()
    try:
        answer = shell.run(script, 300.0)
        assert answer.status == 0, shlex.join([script, str(answer)])
    finally:
        shell.close()
        reached.close()
