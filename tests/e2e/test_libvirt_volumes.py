"""Disks in libvirt's pools: found by machine and as POOL/VOLUME, running and off."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from growdisk.live.libvirt_domain import known_to
from growdisk.units import MiB
from tests.conftest import DiskMaker
from tests.e2e.judges import Before, assert_grown
from tests.e2e.process import Host
from tests.guests.layouts import Layout
from tests.guests.small import SmallDisk
from tests.online.libvirtd import libvirtd, virsh
from tests.unit.cli.command import fingerprint

_MACHINE = """\
<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64' machine='pc'>hvm</type></os>
<devices>
  <disk type='volume' device='disk'>
    <driver name='qemu' type='raw'/><source pool='{pool}' volume='{volume}'/><target dev='vda' bus='virtio'/>
  </disk>
  <video><model type='vga'/></video><memballoon model='none'/>
</devices>
<seclabel type='static' model='dac' relabel='no'><label>+0:+0</label></seclabel>
</domain>
"""  # noqa: E501


@dataclass(frozen=True)
class Guest:
    """A machine that is off, and its disk by libvirt's names."""

    name: str
    pool: str
    image: Path

    @property
    def volume(self) -> str:
        return f"{self.pool}/{self.image.name}"


@pytest.fixture
def guest(small_disk: DiskMaker, tmp_path: Path) -> Iterator[Guest]:
    if os.geteuid() != 0:
        pytest.skip("libvirtd must be started by root")
    wanted = SmallDisk(
        layout=Layout.CLASSIC, size=128 * MiB, swap_size=16 * MiB, image_format="raw"
    )
    image = small_disk("web 01.raw", wanted)
    mark, xml = uuid.uuid4().hex[:8], tmp_path / "machine.xml"
    made = Guest(f"growdisk-test-{mark}", f"growdisk-pool-{mark}", image)
    xml.write_text(_MACHINE.format(name=made.name, pool=made.pool, volume=image.name))
    with libvirtd(), _pool(made.pool, image.parent):
        virsh("define", str(xml))
        try:
            yield made
        finally:
            virsh("undefine", made.name)


@contextmanager
def _pool(name: str, folder: Path) -> Iterator[None]:
    virsh("pool-create-as", name, "dir", "--target", str(folder))
    try:
        yield
    finally:
        virsh("pool-destroy", name)


def test_a_volume_is_grown_by_its_pool_and_name(host: Host, guest: Guest) -> None:
    before = Before.of(guest.image, "raw")
    answer = host.growdisk("expand", guest.volume, "+64M")
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert_grown(guest.image, before)
    assert host.growdisk("status", guest.volume).document["state"] == "done"


def test_a_machine_whose_disk_is_a_volume_is_grown_by_its_name(host: Host, guest: Guest) -> None:
    before = Before.of(guest.image, "raw")
    answer = host.growdisk("expand", "-d", guest.name, "+64M")
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert_grown(guest.image, before)
    assert (guest.name, str(guest.image)) in known_to("qemu:///system", 30).disks


def test_a_volume_of_a_running_machine_is_refused_by_any_name(host: Host, guest: Guest) -> None:
    before = fingerprint(guest.image)
    virsh("start", guest.name, "--paused")
    try:
        for target in (guest.volume, guest.image):
            answer = host.growdisk("expand", target, "+64M")
            assert (answer.code, answer.result) == (3, "refused"), answer
            assert f"-d {guest.name}" in str(answer.error["do"]), answer
        # it stands still, and cannot be asked
        assert host.growdisk("expand", "-d", guest.name, "+64M").code == 3
    finally:
        virsh("destroy", guest.name)
    assert fingerprint(guest.image) == before


def test_a_volume_whose_pool_is_off_is_said_to_be(host: Host, guest: Guest, tmp_path: Path) -> None:
    virsh("pool-destroy", guest.pool)
    try:
        answer = host.growdisk("expand", "-d", guest.name, "+64M")
        assert (answer.code, answer.result) == (3, "refused"), answer
        assert f"of the pool {guest.pool}, which is not active" in str(answer.error["why"]), answer
        named = host.growdisk("plan", guest.volume, "+64M")
        assert named.code == 3, named
        assert "no such volume of an active pool" in str(named.error["why"]), named
    finally:
        virsh("pool-create-as", guest.pool, "dir", "--target", str(guest.image.parent))


@pytest.mark.parametrize(
    ("address", "way"),
    [
        ("rbd:guests/web01", "rbd map"),
        ("iscsi://host/target/1", "iscsiadm"),
    ],
)
def test_a_disk_behind_an_address_is_refused_with_what_works(
    host: Host, address: str, way: str
) -> None:
    answer = host.growdisk("plan", address, "+64M")
    assert (answer.code, way in str(answer.error["do"])) == (3, True), answer
