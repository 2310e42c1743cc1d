"""Partitions that are parts of something larger: which of them grows, and that none is given up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from growdisk.errors import Refused
from growdisk.filesystems.content import Content, LuksContent, PhysicalVolumeContent
from growdisk.filesystems.volume_group import LogicalVolume, LvSegment, PhysicalVolume, VolumeGroup
from growdisk.partitions.table import Partition
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal
from growdisk.planner.planner import propose
from growdisk.planner.proposal import Proposal
from growdisk.steps.grow_layers import GrowLogicalVolume, GrowPhysicalVolume
from growdisk.units import GiB, MiB, parse_size
from tests.guests.tools import run
from tests.layouts.refusing import assert_refused, disk
from tests.unit.cli.command import in_process
from tests.unit.planner.volume_facts import EXT, EXTENT, facts

_OTHERS = 100


def two_volumes(*, encrypted: bool = False) -> Facts:
    """sda1 has root, sda2 was added to the group later and is smaller."""
    first = PhysicalVolume("pv0", "ONE", 2 * GiB + MiB, MiB, 512, ("ALLOCATABLE",))
    second = PhysicalVolume("pv1", "TWO", _OTHERS * EXTENT + MiB, MiB, _OTHERS, ("ALLOCATABLE",))
    root = LogicalVolume(
        "root",
        "ROOT",
        True,
        (LvSegment(0, 512, "striped", (("pv0", 0),)),),
        ("READ", "WRITE", "VISIBLE"),
    )
    flags = ("RESIZEABLE", "READ", "WRITE")
    group = VolumeGroup("vg0", "GROUP", 1, EXTENT, flags, (first, second), (root,), "pv0")
    contents: dict[int, Content] = {
        1: PhysicalVolumeContent(
            "LVM2_member", "ONE", group=group, volumes=(("root", EXT),), other_pvs=("pv1",)
        ),
        2: PhysicalVolumeContent(
            "LVM2_member",
            "TWO",
            group=replace(group, own="pv1"),
            volumes=(("root", EXT),),
            other_pvs=("pv0",),
        ),
    }
    if encrypted:
        contents[2] = LuksContent("crypto_LUKS", unlocked=True, inside=contents[2])
    found = facts(contents[1])
    assert found.table is not None
    parts = (
        Partition(1, MiB, 2 * GiB + 2 * MiB),
        Partition(2, 2 * GiB + 2 * MiB, 2 * GiB + (4 * _OTHERS + 3) * MiB),
    )
    return replace(found, table=found.table.with_partitions(parts), contents=contents)


def test_of_a_group_on_several_partitions_the_last_one_grows() -> None:
    """The logical volumes take the extents from there; the first one could not grow at all."""
    found = propose(two_volumes(), Goal(parse_size("+1G")))
    assert isinstance(found, Proposal)
    (pv,) = [step for step in found.steps if isinstance(step, GrowPhysicalVolume)]
    (lv,) = [step for step in found.steps if isinstance(step, GrowLogicalVolume)]
    assert (pv.place.number, lv.volume) == (2, "root")


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_physical_volume_that_its_group_needs_is_not_given_up(encrypted: bool) -> None:
    with pytest.raises(Refused, match="vg0 lies on it and on others"):
        propose(
            two_volumes(encrypted=encrypted),
            Goal(parse_size("+1G"), partition="1", delete=(2,)),
        )


def test_what_others_need_is_not_advised_to_be_given_up() -> None:
    with pytest.raises(Refused) as caught:
        propose(two_volumes(), Goal(parse_size("+1G"), partition="1"))
    assert "--move 2" in caught.value.what_to_do
    assert "--delete" not in caught.value.what_to_do


_THREE = "label: gpt\nstart=2048,size=131072\nstart=133120,size=262144\nstart=395264,size=262144\n"


def _empty(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def test_one_of_the_devices_of_a_btrfs_is_not_given_up(tmp_path: Path) -> None:
    root = _empty(tmp_path / "root", 64 * MiB)
    run("mkfs.ext4", "-q", root)
    one, two = _empty(tmp_path / "one", 128 * MiB), _empty(tmp_path / "two", 128 * MiB)
    run("mkfs.btrfs", "-q", one, two)
    image = disk(tmp_path / "disk.raw", _THREE, 400 * MiB, s2048=root, s133120=one, s395264=two)
    grow = ("+100M", "--partition", "1")
    said = assert_refused(image, *grow, naming="--move 2 --move 3")
    assert "--delete" not in said
    assert_refused(image, *grow, "--delete", "2", "--move", "3", naming="2 devices of a btrfs")
    assert in_process("plan", image, *grow, "--delete", "2", "--delete", "3").code == 0


def test_the_journal_of_another_file_system_is_not_given_up(tmp_path: Path) -> None:
    root, journal = _empty(tmp_path / "root", 64 * MiB), _empty(tmp_path / "journal", 128 * MiB)
    data = _empty(tmp_path / "data", 128 * MiB)
    run("mkfs.ext4", "-q", root)
    run("mke2fs", "-q", "-F", "-O", "journal_dev", journal)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^metadata_csum", data)
    # mke2fs takes a device for the journal alone: its UUID is written in afterwards.
    with journal.open("rb") as source, data.open("r+b") as file:
        source.seek(1024 + 104)
        file.seek(1024 + 0xD0)
        file.write(source.read(16) + bytes(4))
    image = disk(
        tmp_path / "disk.raw", _THREE, 400 * MiB, s2048=root, s133120=journal, s395264=data
    )
    words = ("+100M", "--partition", "1", "--delete", "2", "--move", "3")
    assert_refused(image, *words, naming="journal of another file system")
