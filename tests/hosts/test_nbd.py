"""An NBD server's disk, attached as a device of this host: grown there, recorded here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.e2e.judges import Before, assert_grown
from tests.guests.layouts import Layout
from tests.guests.small import SmallDisk, make_disk
from tests.hosts.machine import STATE, HostMachine, host_machine

pytestmark = pytest.mark.appliance
OLD, NEW = 128 * MiB, 192 * MiB
URI = "nbd+unix:///web01?socket=/run/far"
# The far side: a raw image that was made larger there, served by QEMU's own server, which holds
# QEMU's locks on it.
_FAR_SIDE = f"""
mkdir -p {STATE}; mount /dev/ubda {STATE}
cp --sparse=always /dev/ubdb /run/web01.raw; truncate -s {NEW} /run/web01.raw
"""
_SERVE = (
    "qemu-nbd --fork --persistent --socket=/run/far --export-name=web01 --format=raw /run/web01.raw"
)
_ATTACH = "qemu-nbd --connect=/dev/nbd{0} --socket=/run/nbd{0} --format=raw '" + URI + "'"


@pytest.fixture
def before(tmp_path: Path) -> Before:
    image = tmp_path / "guest.raw"
    make_disk(
        image, SmallDisk(layout=Layout.CLASSIC, size=OLD, swap_size=16 * MiB, image_format="raw")
    )
    return Before.of(image, "raw")


@pytest.fixture
def host(before: Before, tmp_path: Path) -> Iterator[HostMachine]:
    disk = tmp_path / "disk.raw"
    disk.touch()
    os.truncate(disk, 256 * MiB)
    with host_machine(disk, before.copy) as machine:
        machine.sh("mkfs.ext4 -q /dev/ubda")
        machine.sh(_FAR_SIDE)
        machine.sh(_SERVE)
        yield machine


def test_a_disk_of_an_nbd_server_is_grown_and_its_run_found_again_wherever_it_is_attached(
    host: HostMachine, before: Before
) -> None:
    host.sh(_ATTACH.format(0))
    assert "grow it at its server" in str(host.growdisk("expand", "/dev/nbd0", "+64M").error["do"])
    host.growdisk_killed("expand", "/dev/nbd0", at="grow-filesystem")
    host.sh("qemu-nbd --disconnect /dev/nbd0 >/dev/null")
    host.sh(_ATTACH.format(1))
    for name in ("/dev/nbd1", URI):
        assert host.growdisk("status", name).document["state"] == "unfinished"
    answer = host.growdisk("resume", "/dev/nbd1")
    assert (answer.code, answer.result) == (0, "changed"), answer
    host.sh("qemu-nbd --disconnect /dev/nbd1 >/dev/null")
    assert_grown(host.content("/run/web01.raw", "grown.raw"), before)


def test_others_are_kept_out_on_both_sides_while_it_is_attached(host: HostMachine) -> None:
    host.sh(_ATTACH.format(0))
    for refused in ("qemu-img resize -f raw /run/web01.raw +1M", f"timeout 5 {_ATTACH.format(1)}"):
        with pytest.raises(RuntimeError):
            host.sh(refused)
    host.sh("sleep 600 </dev/nbd0 >/dev/null 2>&1 & echo $! >/run/holder")
    answer = host.growdisk("expand", "/dev/nbd0")
    assert answer.code == 3, answer
    assert f"(pid {host.sh('cat /run/holder')})" in str(answer.error["why"]), answer
