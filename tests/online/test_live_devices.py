"""A running guest on a block device of the host: the device first, then QEMU, the guest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from growdisk.units import GiB
from tests.e2e.process import Host
from tests.guests.classic import classic_guest
from tests.guests.loops import loop
from tests.guests.tools import run
from tests.online.inside import sizes
from tests.online.machine import LiveGuest, started

pytestmark = [pytest.mark.boot, pytest.mark.slow, pytest.mark.timeout(1800)]
OLD = 3 * GiB


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("loop devices are root's")
    disk = tmp_path / "web01.raw"
    run("qemu-img", "convert", "-O", "raw", classic_guest().image, disk)
    assert disk.stat().st_size == OLD
    with loop(disk) as path:
        yield path


@pytest.fixture
def guest(device: Path) -> Iterator[LiveGuest]:
    with started(device, "raw") as guest:
        guest.wait_for_report()
        guest.run("systemctl is-active qemu-guest-agent")
        yield guest


def host_size(device: Path) -> int:
    return int(run("blockdev", "--getsize64", device))


def test_the_hosts_device_grows_with_its_running_guest_and_what_the_host_adds_is_taken_up(
    host: Host, device: Path, guest: LiveGuest, tmp_path: Path
) -> None:
    host.environment |= {"GROWDISK_STATE_DIR": str(tmp_path / "state")}
    ways = ("--qmp", guest.sockets.qmp, "--online", "agent")
    plan = host.growdisk("plan", *ways, "+1G")
    assert plan.result == "planned", plan
    assert f"loop device on {tmp_path}" in str(plan.document["steps"]), plan
    assert host_size(device) == OLD

    answer = host.growdisk("expand", *ways, "+1G")
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert (host_size(device), sizes(guest)["sda"]) == (4 * GiB, 4 * GiB)
    assert sizes(guest)["/"] > 3 * GiB

    os.truncate(tmp_path / "web01.raw", 5 * GiB)
    run("losetup", "--set-capacity", device)
    again = host.growdisk("expand", *ways)
    assert (again.code, again.result) == (0, "changed"), again
    assert sizes(guest)["sda"] == 5 * GiB
    assert sizes(guest)["/"] > 4 * GiB
    assert host.growdisk("expand", *ways).result == "nochange"
