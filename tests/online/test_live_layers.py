"""Volumes, LUKS, XFS and btrfs on a running guest's second disk: grown while in use."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.e2e.process import Answer, Host, wait_for
from tests.guests.layered import KEYS, layered_guests
from tests.guests.layouts import Layout
from tests.guests.small import SmallDisk, make_disk
from tests.guests.tools import run
from tests.online.inside import boot_id
from tests.online.machine import LiveGuest
from tests.online.more_disks import BTRFS, LUKS, LVM, XFS, attach, install

pytestmark = [pytest.mark.boot, pytest.mark.timeout(1800)]

_PATIENCE = 600.0
_PLACE = "/mnt/$(touch pwned) `touch pwned`;x"


def layered(name: str, folder: Path) -> Path:
    image = folder / f"{name}.qcow2"
    run("qemu-img", "convert", "-O", "qcow2", layered_guests() / f"{name}.raw", image)
    return image


def size_of(guest: LiveGuest, device: str) -> int:
    return int(guest.run(f"blockdev --getsize64 {device}", _PATIENCE))


def df(guest: LiveGuest, place: str) -> int:
    return int(guest.run(f"df -B1 --output=size '{place}' | tail -n 1", _PATIENCE))


def expand(guest: LiveGuest, host: Host, *words: str | Path) -> Answer:
    return host.growdisk("expand", "--qmp", guest.sockets.qmp, "--disk", "data", *words)


def steps_of(answer: Answer) -> list[str]:
    assert (answer.code, answer.result) == (0, "changed"), answer
    return [step["name"] for step in answer.document["steps"]]


@pytest.mark.slow
def test_an_xfs_in_a_logical_volume_grows_and_a_second_run_finds_nothing_to_do(
    scsi_guest: LiveGuest, host: Host, tmp_path: Path
) -> None:
    guest, first = scsi_guest, boot_id(scsi_guest)
    install(guest, tmp_path, (*LVM, *XFS))
    attach(guest, "data", layered("lvm", tmp_path))
    guest.run(
        f"until [ -b /dev/sdc5 ]; do sleep 0.2; done; lvm vgchange -ay guest-vg; mkdir '{_PLACE}'; "
        f"mount /dev/guest-vg/home '{_PLACE}'",
        _PATIENCE,
    )
    before = df(guest, _PLACE)
    answer = expand(guest, host, "+256M")
    table = ["resize-image", "rewrite-partitions", "reread-partitions"]
    assert steps_of(answer) == [*table, "grow-pv", "grow-lv", "grow-filesystem"]
    assert df(guest, _PLACE) >= before + 256 * MiB
    assert size_of(guest, "/dev/guest-vg/home") >= before + 256 * MiB
    assert expand(guest, host).result == "nochange"
    assert guest.run("find / -xdev -name pwned", _PATIENCE) == ""
    assert boot_id(guest) == first


@pytest.mark.slow
def test_an_encrypted_volume_group_grows_with_its_passphrase_and_all_of_it_goes_back(
    scsi_guest: LiveGuest, host: Host, tmp_path: Path
) -> None:
    guest, image, key = scsi_guest, layered("luks2", tmp_path), tmp_path / "key"
    key.write_bytes(KEYS["luks2"])
    install(guest, tmp_path, (*LVM, *LUKS))
    attach(guest, "data", image)
    closed = expand(guest, host, "+256M")
    assert (closed.code, "encrypted" in str(closed.error["why"])) == (3, True), closed
    octal = "".join(f"\\{byte:03o}" for byte in KEYS["luks2"])
    guest.run(
        f"printf '{octal}' >/run/key; cryptsetup open --key-file /run/key /dev/sdc2 vault; rm "
        "/run/key; lvm vgchange -ay crypt; mount /dev/crypt/root /mnt",
        _PATIENCE,
    )
    before = df(guest, "/mnt"), size_of(guest, "/dev/mapper/vault")
    for words in ((), ("--key", "wrong")):
        refused = expand(guest, host, "+256M", *words)
        assert (refused.code, "passphrase" in str(refused.error["what"])) == (3, True), refused
        assert not image.with_name(image.name + ".growdisk").exists()
    answer = expand(guest, host, "+256M", "--key-file", key, "--keep-snapshots")
    assert steps_of(answer)[3:] == ["grow-luks", "grow-pv", "grow-lv", "grow-filesystem"]
    assert df(guest, "/mnt") > before[0] + 200 * MiB
    assert size_of(guest, "/dev/mapper/vault") == before[1] + 256 * MiB
    run_folder = image.with_name(image.name + ".growdisk")
    assert not any(KEYS["luks2"] in file.read_bytes() for file in run_folder.iterdir())
    back = host.growdisk("rollback", image)
    assert (back.code, back.result) == (0, "restored"), back
    assert (df(guest, "/mnt"), size_of(guest, "/dev/mapper/vault")) == before


# Micro guests grow one in each quick run: tests/guest_scripts/test_data_disks.py.
@pytest.mark.slow
def test_a_file_system_on_a_whole_disk_grows_and_goes_back_until_it_has_grown(
    scsi_guest: LiveGuest, host: Host, tmp_path: Path
) -> None:
    guest = scsi_guest
    image = make_disk(tmp_path / "data.qcow2", SmallDisk(Layout.NO_TABLE))
    attach(guest, "data", image)
    guest.run("until [ -b /dev/sdb ]; do sleep 0.2; done; mount /dev/sdb /mnt", _PATIENCE)
    before = df(guest, "/mnt")
    words: tuple[str | Path, ...] = (
        "--qmp",
        guest.sockets.qmp,
        "--disk",
        "data",
        "+1G",
        "--snapshots",
        "none",
    )
    planned = host.growdisk("plan", *words)
    assert "point of no return: grow-filesystem" in str(planned.document["notes"]), planned
    command = host.start("expand", *words)
    wait_for(command, image, "verified", "resize-image")
    command.kill()
    back = host.growdisk("rollback", image)
    assert (back.code, back.result) == (0, "restored"), back
    assert (df(guest, "/mnt"), size_of(guest, "/dev/sdb")) == (before, 256 * MiB)
    assert steps_of(expand(guest, host, "+1G")) == ["resize-image", "grow-filesystem"]
    assert df(guest, "/mnt") >= before + 900 * MiB
    assert expand(guest, host).result == "nochange"
    guest.run("umount /mnt; e2fsck -fn /dev/sdb", _PATIENCE)


@pytest.mark.slow
def test_two_volumes_of_a_group_on_a_whole_disk_grow_in_one_run(
    scsi_guest: LiveGuest, host: Host, tmp_path: Path
) -> None:
    guest, image = scsi_guest, tmp_path / "data.qcow2"
    install(guest, tmp_path, (*LVM, *XFS))
    run("qemu-img", "create", "-q", "-f", "qcow2", image, "640M")
    attach(guest, "data", image)
    guest.run(
        "until [ -b /dev/sdc ]; do sleep 0.2; done; lvm vgcreate whole /dev/sdc; lvm lvcreate -L "
        "200M -n a whole; lvm lvcreate -L 200M -n b whole; mkfs.ext4 -q /dev/whole/a; mkfs.ext4 -q "
        "/dev/whole/b; mkdir /a /b; mount /dev/whole/a /a; mount /dev/whole/b /b",
        _PATIENCE,
    )
    answer = expand(guest, host, "+1G", "--lv", "a=60%", "--lv", "b=rest")
    volumes = ["grow-lv-a", "grow-filesystem-a", "grow-lv-b", "grow-filesystem-b"]
    assert steps_of(answer) == ["resize-image", "grow-pv", *volumes]
    assert df(guest, "/a") > 800 * MiB
    assert df(guest, "/b") > 500 * MiB
    assert size_of(guest, "/dev/whole/a") > size_of(guest, "/dev/whole/b") > 560 * MiB
    assert expand(guest, host).result == "nochange"
    guest.run("umount /a /b; e2fsck -fn /dev/whole/a; e2fsck -fn /dev/whole/b", _PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "tools"), [("btrfs", BTRFS), ("xfs", XFS)])
def test_a_file_system_that_its_kernel_grows_is_grown_on_a_whole_disk(
    scsi_guest: LiveGuest, host: Host, tmp_path: Path, kind: str, tools: tuple[str, ...]
) -> None:
    guest = scsi_guest
    image = make_disk(
        tmp_path / "data.qcow2", SmallDisk(Layout.NO_TABLE, size=640 * MiB, filesystem=kind)
    )
    install(guest, tmp_path, tools)
    attach(guest, "data", image)
    refused = expand(guest, host, "+1G")
    assert (refused.code, "not mounted" in str(refused.error["what"])) == (3, True), refused
    guest.run(f"mount -t {kind} /dev/sdc /mnt", _PATIENCE)
    assert steps_of(expand(guest, host, "+1G")) == ["resize-image", "grow-filesystem"]
    assert df(guest, "/mnt") > 1500 * MiB
    assert expand(guest, host).result == "nochange"


@pytest.mark.slow
def test_a_partition_that_is_deleted_must_not_be_in_use_and_the_guest_forgets_it(
    scsi_guest: LiveGuest, host: Host, tmp_path: Path
) -> None:
    """Two partitions on a second disk: the first grows, the other is named in fstab."""
    guest, image = scsi_guest, tmp_path / "data.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", image, "256M")
    attach(guest, "data", image)
    guest.run(
        "until [ -b /dev/sdb ]; do sleep 0.2; done; printf ',128M\n,\n' | sfdisk -q /dev/sdb; "
        "udevadm settle; "
        "mkfs.ext4 -q /dev/sdb1; mkfs.ext4 -q -L old /dev/sdb2; mount /dev/sdb1 /mnt; mkdir /old; "
        "echo 'LABEL=old /old ext4 defaults 0 2' >>/etc/fstab; mount /dev/sdb2 /old",
        _PATIENCE,
    )
    asked = ("+256M", "--partition", "1", "--delete", "2")
    refused = expand(guest, host, *asked)
    assert (refused.code, "/dev/sdb2 is mounted" in str(refused.error["what"])) == (3, True), (
        refused
    )
    guest.run("umount /old", _PATIENCE)
    table = ["resize-image", "rewrite-partitions", "reread-partitions"]
    assert steps_of(expand(guest, host, *asked)) == [*table, "grow-filesystem", "repair-guest"]
    assert df(guest, "/mnt") > 400 * MiB
    assert "\n# removed by growdisk: LABEL=old /old ext4" in guest.run(
        "cat /etc/fstab", _PATIENCE
    ).replace("\r", "")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "tools"), [("btrfs", BTRFS), ("xfs", XFS)])
def test_a_file_system_that_its_kernel_grows_is_grown_in_its_partition(
    scsi_guest: LiveGuest, host: Host, tmp_path: Path, kind: str, tools: tuple[str, ...]
) -> None:
    guest = scsi_guest
    image = make_disk(
        tmp_path / "data.qcow2", SmallDisk(Layout.PLAIN, size=640 * MiB, filesystem=kind)
    )
    install(guest, tmp_path, tools)
    attach(guest, "data", image)
    refused = expand(guest, host, "+1G")
    assert (refused.code, "not mounted" in str(refused.error["what"])) == (3, True), refused
    guest.run(f"mount -t {kind} /dev/sdc1 /mnt", _PATIENCE)
    assert steps_of(expand(guest, host, "+1G"))[3:] == ["grow-filesystem"]
    assert df(guest, "/mnt") > 1500 * MiB
    assert expand(guest, host).result == "nochange"


@pytest.mark.slow
def test_an_ext4_without_reserved_gdt_blocks_is_told_of_and_grows_all_the_same(
    scsi_guest: LiveGuest, host: Host, tmp_path: Path
) -> None:
    guest = scsi_guest
    attach(
        guest, "data", make_disk(tmp_path / "data.qcow2", SmallDisk(Layout.PLAIN, size=640 * MiB))
    )
    guest.run(
        "until [ -b /dev/sdb1 ]; do sleep 0.2; done; mkfs.ext4 -q -F -O ^resize_inode /dev/sdb1; "
        "mount /dev/sdb1 /mnt",
        _PATIENCE,
    )
    planned = host.growdisk("plan", "--qmp", guest.sockets.qmp, "--disk", "data", "+20G").document
    assert "reserved GDT blocks" in str(planned["notes"]), planned
    assert steps_of(expand(guest, host, "+20G"))[-1] == "grow-filesystem"
    assert df(guest, "/mnt") > 19 << 30
    guest.run("umount /mnt; e2fsck -fn /dev/sdb1", _PATIENCE)
