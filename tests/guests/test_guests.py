"""The test bed itself, judged by sfdisk, blkid and e2fsck:
a wrong guest would make every other test lie.
"""

from __future__ import annotations

import json
import stat

import pytest

from growdisk.units import GiB, MiB, TiB
from tests.conftest import DiskMaker
from tests.guests.content import ODD_XATTRS, odd_files
from tests.guests.layouts import SECTOR, Content, Layout
from tests.guests.manifest import as_raw, differences, file_manifest
from tests.guests.small import ROOT_UUID, SWAP_UUID, SmallDisk
from tests.guests.tools import run

NUMBER_OF_ROOT = {Layout.SWAP_FIRST: 2, Layout.NO_TABLE: None}


def test_the_classic_layout_is_as_debian_makes_it(small_disk: DiskMaker) -> None:
    disk = small_disk("guest.raw", SmallDisk(image_format="raw"))
    table = json.loads(run("sfdisk", "--json", disk))["partitiontable"]
    root, extended, swap = table["partitions"]
    assert [part["type"] for part in table["partitions"]] == ["83", "5", "82"]
    assert (root["start"], root["bootable"]) == (2048, True)
    assert swap["start"] - extended["start"] == 2
    assert swap["start"] % 2048 == 0


@pytest.mark.parametrize("layout", list(Layout))
def test_every_layout_holds_a_clean_root_with_the_files(
    small_disk: DiskMaker, layout: Layout
) -> None:
    spec = SmallDisk(layout, qcow2_options="cluster_size=4k")
    disk = small_disk(disk=spec)
    table = layout.table(spec.size, spec.swap_size)
    root = table.part(Content.ROOT) if table else None
    with as_raw(disk, "qcow2") as raw:
        run("e2fsck", "-fn", f"{raw}?offset={root.place.start if root else 0}")
    assert "/srv/odd/twin-a" in file_manifest(disk, number=NUMBER_OF_ROOT.get(layout, 1))


def test_blkid_finds_root_and_swap(small_disk: DiskMaker) -> None:
    spec = SmallDisk(image_format="raw")
    disk = small_disk("guest.raw", spec)
    table = spec.layout.table(spec.size, spec.swap_size)
    assert table is not None
    for content, uuid in ((Content.ROOT, ROOT_UUID), (Content.SWAP, SWAP_UUID)):
        part = table.part(content)
        assert part is not None
        offset, size = f"--offset={part.start * SECTOR}", f"--size={part.sectors * SECTOR}"
        assert (
            run("blkid", "--probe", "-s", "UUID", "-o", "value", offset, size, disk).strip() == uuid
        )


def test_the_manifest_tells_what_was_put_in(small_disk: DiskMaker) -> None:
    manifest = file_manifest(small_disk())
    for entry in odd_files():
        facts = manifest["/" + entry.path]
        assert stat.S_IMODE(facts.mode) == entry.mode
        assert facts.owner == entry.owner
        assert (
            stat.S_ISDIR(facts.mode)
            or facts.size == max(len(entry.data), len(entry.link))
            or facts.links == 3
        )
    for path, values in ODD_XATTRS.items():
        assert dict(manifest["/" + path].xattrs) == {
            name: value.hex() for name, value in values.items()
        }


def test_a_changed_file_is_noticed_and_named(small_disk: DiskMaker) -> None:
    disk = small_disk("guest.raw", SmallDisk(image_format="raw"))
    before = file_manifest(disk, "raw")
    commands = (
        "set_inode_field /srv/odd/foreign uid 1\nunlink /srv/odd/one-byte\nea_rm "
        "/srv/odd/tagged user.note\n"
    )
    run("debugfs", "-w", "-f", "-", f"{disk}?offset={MiB}", stdin=commands)
    changed = [line.split(":")[0] for line in differences(before, file_manifest(disk, "raw"))]
    assert changed == ["/srv/odd/foreign", "/srv/odd/one-byte", "/srv/odd/tagged"]


def test_a_backed_disk_reads_through_to_its_base(small_disk: DiskMaker) -> None:
    disk = small_disk(disk=SmallDisk(backed=True, qcow2_options="compat=0.10"))
    assert (
        json.loads(run("qemu-img", "info", "--output=json", disk))["backing-filename"]
        == f"{disk.name}.base"
    )
    assert "/etc/fstab" in file_manifest(disk)


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_other_filesystems_stand_in_the_partition(small_disk: DiskMaker, kind: str) -> None:
    disk = small_disk("guest.raw", SmallDisk(size=GiB, filesystem=kind, image_format="raw"))
    assert (
        run("blkid", "--probe", "-s", "TYPE", "-o", "value", f"--offset={MiB}", disk).strip()
        == kind
    )


def test_a_disk_of_two_tebibytes_stays_sparse(small_disk: DiskMaker) -> None:
    disk = small_disk("huge.raw", SmallDisk(size=2 * TiB, image_format="raw"))
    assert disk.stat().st_blocks * 512 < 128 * MiB


def test_two_disks_of_one_recipe_have_the_same_files(small_disk: DiskMaker) -> None:
    first, second = file_manifest(small_disk("a.qcow2")), file_manifest(small_disk("b.qcow2"))
    # mke2fs makes these two folders itself, at the moment of building.
    assert differences(first, second, aside={"/", "/lost+found"}) == []
