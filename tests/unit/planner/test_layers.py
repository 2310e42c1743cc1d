"""What is judged of a content before anything is written: facts that mkfs made, and requests that go too far."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.errors import Refused
from growdisk.filesystems.content import BtrfsContent, Content, NtfsContent
from growdisk.planner.facts import Facts
from growdisk.planner.goal import Goal
from growdisk.planner.inspect import image_facts, inspect_device
from growdisk.planner.planner import Proposal, propose
from growdisk.units import MiB, parse_size
from tests.unit.partitions.disks import make_disk, run


def facts_of(folder: Path, maker: Sequence[str], size: int) -> Facts:
    """A disk whose only partition holds what `maker` makes."""
    alone, disk = folder / "alone", folder / "disk.raw"
    with alone.open("wb") as file:
        file.truncate(size)
    run(*maker, alone)
    make_disk(disk, size + 2 * MiB, f"label: gpt\n2048,{size // 512},L\n")
    run("dd", f"if={alone}", f"of={disk}", "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")
    with closing(RawFile.open(disk, writable=False, lock=False)) as device:
        return inspect_device(device, image_facts(device, disk))


def proposed(facts: Facts, size: str) -> Proposal:
    proposal = propose(facts, Goal(parse_size(size)))
    assert isinstance(proposal, Proposal)
    return proposal


def with_content(facts: Facts, content: Content) -> Facts:
    return replace(facts, contents={1: content})


def test_an_xfs_that_would_have_hundreds_of_groups_is_warned_of_and_a_little_growth_is_not(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, ["mkfs.xfs", "-q"], 320 * MiB)
    (note,) = proposed(facts, "100G").notes
    assert "allocation groups instead of 4" in note
    assert int(note.split(" will have ")[1].split()[0]) > 1000
    assert proposed(facts, "600M").notes == ()


@pytest.mark.parametrize("features", ["^64bit,^resize_inode", "^64bit", "^resize_inode,^64bit,^metadata_csum"])
def test_an_ext4_that_counts_blocks_in_32_bits_is_refused_beyond_them_and_grown_up_to_them(
    tmp_path: Path, features: str
) -> None:
    facts = facts_of(tmp_path, ["mkfs.ext4", "-q", "-b", "4096", "-O", features], 64 * MiB)
    with pytest.raises(Refused, match="32 bits") as refusal:
        proposed(facts, "17T")
    assert "16.0 TiB at most" in refusal.value.why
    assert proposed(facts, "15T").after.contents[1].size == parse_size("15T").bytes - 2 * MiB


def test_an_ext4_that_counts_in_64_bits_goes_further(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, ["mkfs.ext4", "-q", "-b", "4096", "-O", "64bit"], 64 * MiB)
    assert (proposed(facts, "17T").after.contents[1].size or 0) > parse_size("16T").bytes


@pytest.mark.parametrize(
    ("state", "why", "do"), [("dirty", "marked as dirty", "chkdsk"), ("hibernated", "hibernated", "shutdown /s")]
)
def test_an_ntfs_that_windows_has_not_left_in_order_is_refused(tmp_path: Path, state: str, why: str, do: str) -> None:
    facts = facts_of(tmp_path, ["mkntfs", "-F", "-q", "-f"], 32 * MiB)
    content = facts.contents[1]
    assert isinstance(content, NtfsContent)
    assert proposed(facts, "+64M").after.contents[1].size
    with pytest.raises(Refused) as refusal:
        proposed(with_content(facts, replace(content, **{state: True})), "+64M")
    assert why in refusal.value.why
    assert do in refusal.value.what_to_do


def test_a_btrfs_on_several_devices_is_refused(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, ["mkfs.btrfs", "-q"], 128 * MiB)
    content = facts.contents[1]
    assert isinstance(content, BtrfsContent)
    assert proposed(facts, "+128M").after.contents[1].size == 256 * MiB
    with pytest.raises(Refused, match=r"256\.0 MiB"):
        proposed(facts, "+64M")
    with pytest.raises(Refused, match="2 devices"):
        proposed(with_content(facts, replace(content, devices=2)), "+64M")
