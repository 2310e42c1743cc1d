"""growdisk on a host's logical volumes: grown, taken back, resumed, refused; real LVM."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from growdisk.units import GiB, MiB
from tests.e2e.judges import Before, assert_grown, assert_unchanged
from tests.guests.layouts import Layout
from tests.guests.small import SmallDisk, make_disk
from tests.hosts.machine import NEW, OLD, STATE, HostMachine, host_machine

pytestmark = pytest.mark.appliance
THICK, THIN = "/dev/vg0/web01", "/dev/vg0/web02"


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Before:
    image = tmp_path_factory.mktemp("guest") / "guest.raw"
    make_disk(
        image, SmallDisk(layout=Layout.CLASSIC, size=OLD, swap_size=16 * MiB, image_format="raw")
    )
    return Before.of(image, "raw")


@pytest.fixture(scope="module")
def host(before: Before, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostMachine]:
    """With vg0 on /dev/ubda, a thin pool in it, and the guest's disk as /dev/ubdb."""
    disk = tmp_path_factory.mktemp("host") / "disk.raw"
    disk.touch()
    os.truncate(disk, GiB)
    other = disk.with_name("other.raw")
    other.touch()
    os.truncate(other, 256 * MiB)
    with host_machine(disk, before.copy, other) as machine:
        machine.make_group()
        machine.sh(
            "lvm lvcreate -q -y --type thin-pool -L 256M --poolmetadatasize 4M -n pool vg0 "
            ">/dev/null"
        )
        machine.sh("lvm lvchange -q --errorwhenfull y vg0/pool >/dev/null")
        yield machine


@pytest.fixture
def volume(request: pytest.FixtureRequest, host: HostMachine) -> Iterator[str]:
    """A volume with the guest in it: thick, or as the parameter says."""
    device = getattr(request, "param", THICK)
    kind, sparse = (
        ("-L 128M vg0", "")
        if device == THICK
        else ("--type thin -V 128M --thinpool pool vg0", "conv=sparse")
    )
    host.sh(
        f"lvm lvcreate -q -y -n {Path(device).name} {kind} >/dev/null; dd if=/dev/ubdb "
        f"of={device} bs=1M {sparse}"
    )
    yield device
    host.sh(f"lvm lvremove -q -y {device} >/dev/null; rm -rf {STATE}/*; sync")


@pytest.mark.parametrize(("volume", "more"), [(THICK, 64), (THIN, 512)], indirect=["volume"])
def test_a_volume_grows_with_all_that_is_in_it_and_a_kept_run_gives_its_old_size_back(
    host: HostMachine, volume: str, before: Before, more: int
) -> None:
    """A thin one beyond what its pool has."""
    answer = host.growdisk("expand", volume, f"+{more}M", "--keep-snapshots")
    assert (answer.code, answer.result, host.size(volume)) == (0, "changed", OLD + more * MiB), (
        answer
    )
    assert_grown(host.content(volume, "grown.raw"), before)
    answer = host.growdisk("rollback", volume)
    assert (answer.code, answer.result, host.size(volume)) == (0, "restored", OLD), answer
    assert_unchanged(host.content(volume, "back.raw"), before)
    assert host.sh(f"ls {STATE}/runs") == ""


@pytest.mark.parametrize(
    ("volume", "verb"),
    [(THICK, "resume"), pytest.param(THIN, "rollback", marks=pytest.mark.slow)],
    indirect=["volume"],
)
def test_a_run_whose_growdisk_was_killed_is_finished_or_taken_back_under_any_name(
    host: HostMachine, volume: str, before: Before, verb: str
) -> None:
    host.growdisk_killed("expand", volume, "+64M", at="grow-filesystem")
    host.sh(f"lvm lvrename -q {volume} /dev/vg0/another >/dev/null")
    try:
        for name in ("/dev/vg0/another", "/dev/mapper/vg0-another"):
            assert host.growdisk("status", name).document["state"] == "unfinished"
        answer = host.growdisk(verb, "/dev/vg0/another")
        assert answer.code == 0, answer
        assert host.size("/dev/vg0/another") == (NEW if verb == "resume" else OLD)
        judge = assert_grown if verb == "resume" else assert_unchanged
        judge(host.content("/dev/vg0/another", "judged.raw"), before)
    finally:
        host.sh(f"lvm lvrename -q /dev/vg0/another {volume} >/dev/null")


def refused(host: HostMachine, device: str, *words: str, because: str) -> str:
    """growdisk says no for the reason, and the device has its size and its first bytes.

    What it says to do.
    """
    looks = f"blockdev --getsize64 {device}; head -c 4M {device} | sha256sum"
    untouched = host.sh(looks)
    answer = host.growdisk("expand", device, *words)
    assert (answer.code, answer.result) == (3, "refused"), answer
    assert because in str(answer.error["why"]), answer
    assert host.sh(looks) == untouched
    return str(answer.error["do"])


def test_a_group_without_enough_free_extents_is_refused_with_what_it_has(
    host: HostMachine, volume: str
) -> None:
    refused(host, volume, "+2G", because="the volume group vg0 has")


def test_a_volume_that_may_lie_on_one_disk_alone_is_refused_by_lvms_own_word(
    host: HostMachine, volume: str
) -> None:
    host.sh(
        f"lvm lvchange -q --alloc contiguous {volume} >/dev/null; lvm lvcreate -q -y -n behind -L "
        "16M vg0 >/dev/null"
    )
    try:
        refused(host, volume, "+64M", because="lvextend says")
    finally:
        host.sh("lvm lvremove -q -y vg0/behind")


@pytest.mark.parametrize("volume", [THIN], indirect=True)
def test_a_full_thin_pool_is_refused_with_the_command_that_extends_it(
    host: HostMachine, volume: str
) -> None:
    host.sh("lvm lvcreate -q -y --type thin -V 512M --thinpool pool -n filler vg0 >/dev/null")
    try:
        host.sh("dd if=/dev/zero of=/dev/vg0/filler bs=1M oflag=direct || true")
        do = refused(
            host, volume, "+64M", because="the thin pool vg0/pool is full (100 % of its data"
        )
        assert "lvextend vg0/pool" in do
    finally:
        host.sh("lvm lvremove -q -y vg0/filler")


def test_a_read_only_volume_is_refused(host: HostMachine, volume: str) -> None:
    host.sh(f"lvm lvchange -q -p r {volume} >/dev/null")
    try:
        assert "lvchange -p rw" in refused(host, volume, because="read-only")
    finally:
        host.sh(f"lvm lvchange -q -p rw {volume} >/dev/null")


def test_a_volume_of_another_hosts_group_is_not_worked_on_here(host: HostMachine) -> None:
    """Shared storage: this host sees the group of another one, as LVM's system ID says."""
    elsewhere = "global { system_id_source=lvmlocal } local { system_id=elsewhere }"
    host.sh(
        "lvm vgcreate -q vg1 /dev/ubdc; lvm lvcreate -q -y -n web03 -L 128M vg1; dd if=/dev/ubdb "
        "of=/dev/vg1/web03"
    )
    host.sh("lvm vgchange -q -an vg1; lvm vgchange -q -y --systemid elsewhere vg1")
    host.sh(f"lvm vgchange -q -ay --config '{elsewhere}' vg1")
    for size in ([], ["+64M"]):
        refused(host, "/dev/vg1/web03", *size, because="belongs to another host (elsewhere)")


_OWN_NODE = """
mkdir -p /run/own; mount -t tmpfs none /run/own; mknod /run/own/disk b {number}
echo $$ >/run/holder; exec sleep 600 </run/own/disk
"""


def test_who_has_a_volume_by_a_node_that_only_he_sees_is_found(
    host: HostMachine, volume: str
) -> None:
    """As libvirt's QEMU has it: with its own /dev, where the locks are on another inode."""
    number = host.sh(f"stat -L -c '0x%t 0x%T' {volume}")
    host.sh(f"unshare --mount sh -c '{_OWN_NODE.format(number=number)}' >/dev/null 2>&1 &")
    pid = host.sh(
        "for _ in $(seq 300); do [ -s /run/holder ] && break; sleep 0.1; done; cat /run/holder"
    )
    try:
        refused(host, volume, because=f"(pid {pid})")
    finally:
        host.sh(f"kill {pid}; while readlink /proc/{pid}/fd/0; do sleep 0.1; done >/dev/null")
    assert host.growdisk("plan", volume, "+64M").result == "planned"


def test_a_mounted_partition_of_a_volume_is_found(host: HostMachine, volume: str) -> None:
    """As kpartx shows partitions of a volume: a mapping of a part of it."""
    host.sh(f"echo 0 223232 linear {volume} 2048 | dmsetup create part1; mkdir -p /run/mnt")
    try:
        refused(host, volume, because="the mapping part1")
        host.sh("mount -o ro /dev/mapper/part1 /run/mnt")
        assert "umount /run/mnt" in refused(host, volume, because="the mount /run/mnt")
    finally:
        host.sh("umount /run/mnt; dmsetup remove part1")


def test_a_guests_volume_group_that_is_active_on_the_host_is_found(
    host: HostMachine, volume: str
) -> None:
    """Its LVM on a logical volume: what a host does to a guest's disk if its filter lets it."""
    given = "--config 'devices { scan_lvs=1 }'"
    host.sh(f"wipefs -qa {volume}; lvm vgcreate -q -y {given} guest {volume}")
    host.sh(f"lvm lvcreate -q -y {given} -n root -L 16M guest")
    try:
        assert "vgchange -an guest" in refused(
            host, volume, because="the logical volume guest-root"
        )
    finally:
        host.sh(f"lvm vgremove -q -y {given} guest")


def test_loop_devices_mounts_and_swap_on_a_volume_are_found(host: HostMachine, volume: str) -> None:
    loop = host.sh(f"losetup --find --show {volume}")
    try:
        assert f"losetup -d {loop}" in refused(host, volume, because=f"the loop device {loop}")
    finally:
        host.sh(f"losetup -d {loop}")
    host.sh(f"mkswap -q {volume}; swapon {volume}")
    try:
        answer = host.growdisk("expand", volume)  # the kernel may write to it at any time
        assert (answer.code, "swapoff" in str(answer.error["do"])) == (3, True), answer
    finally:
        host.sh(f"swapoff {volume}")
    host.sh(f"mkfs.ext4 -qF {volume}; mkdir -p /run/mnt; mount -o ro {volume} /run/mnt")
    try:
        refused(host, volume, because="the mount /run/mnt")
    finally:
        host.sh("umount /run/mnt")


def test_the_disks_below_a_group_are_in_use_while_it_is_active(
    host: HostMachine, volume: str
) -> None:
    answer = host.growdisk("expand", "/dev/ubda")
    assert (answer.code, "the logical volume vg0-web01" in str(answer.error["why"])) == (3, True), (
        answer
    )


_OWN_ROOT = """
printf 'label: dos\\n,256M,83\\n,,83\\n' | sfdisk -q /dev/ubda
mkfs.ext4 -q /dev/ubda1; mkdir /run/root; mount /dev/ubda1 /run/root
cd /run/root; mkdir usr proc sys dev run etc tmp exchange
for name in bin sbin lib lib64; do ln -s usr/$name; done
for place in usr proc sys dev run etc tmp exchange; do mount --rbind /$place $place; done
"""


def test_a_partition_of_the_disk_that_the_host_runs_from_is_refused(
    before: Before, tmp_path: Path
) -> None:
    system = tmp_path / "system.raw"
    system.touch()
    os.truncate(system, GiB)
    with host_machine(system, before.copy) as host:
        host.sh(_OWN_ROOT)
        host.root = "/run/root"
        answer = host.growdisk("expand", "/dev/ubda2")
        assert answer.code == 3, answer
        assert "/ is mounted from that disk" in str(answer.error["why"]), answer
