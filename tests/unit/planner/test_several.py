"""Several disks in one plan: requests by disk, names of steps, the stored plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.errors import UsageError
from growdisk.partitions.table import Partition, PartitionTable
from growdisk.planner.facts import Facts, ImageFacts
from growdisk.planner.given_values import requests_by_disk
from growdisk.planner.layout import ImageLayout, Layout, TableLayout, layout_of
from growdisk.planner.plan import ExtraDisk, Plan, decode_plan, encode_plan
from growdisk.planner.what_grows import choose_partition
from growdisk.steps.device_path import DevicePath
from growdisk.steps.grow_filesystem import GrowFilesystem
from growdisk.steps.grow_layers import GrowLogicalVolume
from growdisk.steps.registry import ExtraDiskStep, disk_name
from growdisk.steps.resize_image import ResizeImage
from growdisk.steps.table_steps import RereadPartitions, RewritePartitions
from growdisk.units import MiB
from growdisk.workflow.journal import Event, JournalRecord
from growdisk.workflow.run_directory import RunDirectory, refuse_if_open
from growdisk.workflow.step import Blocked, Evidence
from tests.refusals import raises


def layout(name: str) -> Layout:
    return Layout(
        ImageLayout(f"/images/{name}", "raw", 8 * MiB, 8 * MiB), TableLayout(None, None), ()
    )


def plan_of(folder: Path) -> Plan:
    beside = ExtraDisk(
        str(folder / "data.raw"), "raw", "overlay", "direct", layout("data.raw"), layout("data.raw")
    )
    xfs = GrowFilesystem(
        3, MiB, 4 * MiB, "uuid", 4 * MiB, 8 * MiB, suffix="-sda3", kind="xfs", layers=("lv:vg/a",)
    )
    steps = (
        ResizeImage(8 * MiB, 9 * MiB),
        ExtraDiskStep(ResizeImage(8 * MiB, 12 * MiB), 1),
        ExtraDiskStep(xfs, 1),
    )
    before = layout("root.raw")
    return Plan(
        "run-1", "guestfs", "overlay", False, before, before, steps, (), extra_disks=(beside,)
    )


def test_a_plan_that_was_written_with_the_earlier_word_for_extra_disks_is_read() -> None:
    plan = plan_of(Path("/images"))
    today = encode_plan(plan)
    assert today.count(b'"extra_disks":') == 1
    assert decode_plan(today.replace(b'"extra_disks":', b'"companions":')) == plan


def test_each_disk_gets_its_own_requests() -> None:
    words = ["sda1=60%", "/dev/sdb2=rest", "vdb1=+1G", "sdc=x", "sda3=rest", "2=+5G"]
    assert requests_by_disk(words, 1) == [
        ["sda1=60%", "sdc=x", "sda3=rest", "2=+5G"],
        ["/dev/sdb2=rest", "vdb1=+1G"],
    ]
    assert requests_by_disk(["sdb1=60%"], 0) == [["sdb1=60%"]], (
        "a disk alone may be called what its guest calls it"
    )
    with pytest.raises(UsageError, match="sdc1"):
        requests_by_disk(["sdc1=60%"], 1)
    names = ["nvme0n1p1=60%", "nvme1n1p1=rest", "mmcblk1p2=+1G"]
    assert requests_by_disk(names, 1) == [names[:1], names[1:]]


@pytest.mark.parametrize(
    ("number", "suffix", "name"),
    [
        (5, "", "grow-lv-sdb"),
        (5, "-sda5", "grow-lv-sdb5"),
        (5, "-sda5-home", "grow-lv-sdb5-home"),
        (5, "-home", "grow-lv-home-sdb"),
        (5, "-my-sdata", "grow-lv-my-sdata-sdb"),
        (5, "-sda", "grow-lv-sda-sdb"),
        (5, "-sda5-sda", "grow-lv-sdb5-sda"),
        (15, "-sda5", "grow-lv-sda5-sdb"),
    ],
)
def test_a_step_on_an_extra_disk_is_named_by_its_place_there(
    number: int, suffix: str, name: str
) -> None:
    place = DevicePath(number, MiB, 4 * MiB)
    step = GrowLogicalVolume(place, "vg", "uuid", 1, 2, MiB, "a", suffix)
    assert ExtraDiskStep(step, 1).name == name


def test_disks_beyond_the_alphabet_are_named_as_linux_names_them() -> None:
    assert [disk_name(number) for number in (0, 25, 26, 701, 702)] == [
        "sda",
        "sdz",
        "sdaa",
        "sdzz",
        "sdaaa",
    ]


def test_a_number_of_thousands_of_digits_is_nobodys() -> None:
    digits = "9" * 5000
    assert requests_by_disk([f"nvme{digits}n1p1=60%"], 1)[1] == []
    table = PartitionTable("mbr", "0x5ca1ab1e", 512, 3 * MiB, (Partition(1, MiB, 2 * MiB),))
    facts = Facts(ImageFacts(Path("guest.raw"), "raw", 3 * MiB, MiB), table, {})
    with raises("partition-not-found"):
        choose_partition(facts, digits)


class SecondDisk:
    """A view of a disk that has one partition, which nobody planned."""

    disk_name = "sdb"

    def table(self, sector_size: int) -> PartitionTable:
        return one_partition(2 * MiB)

    def kernel_partitions(self) -> dict[int, tuple[int, int]]:
        return {1: (2 * MiB, MiB)}


def one_partition(start: int) -> PartitionTable:
    return PartitionTable("mbr", "0x1", 512, 8 * MiB, (Partition(1, start, start + MiB),))


def test_a_table_of_an_extra_disk_is_told_of_by_the_name_of_that_disk() -> None:
    planned = one_partition(MiB)
    rewrite, evidence = RewritePartitions(planned, planned), Evidence("")
    blocked = rewrite.check(SecondDisk())  # type: ignore[arg-type]
    assert isinstance(blocked, Blocked)
    assert blocked.error.why.startswith("found sdb1 [2097152, ")
    with raises("promise-broken") as failed:
        rewrite.verify(SecondDisk(), evidence)  # type: ignore[arg-type]
    assert "sdb1 [1048576, " in failed.value.why and "sda" not in failed.value.why
    with raises("promise-broken") as failed:
        RereadPartitions(planned).verify(SecondDisk(), evidence)  # type: ignore[arg-type]
    assert "sdb1 [2097152, +1048576]" in failed.value.why


def test_a_step_speaks_of_its_own_disk_by_its_name() -> None:
    first, second, third = plan_of(Path("/images")).steps
    assert (first.name, second.name) == ("resize-image", "resize-image-sdb")
    assert third.name == "grow-filesystem-sdb3"
    locked = GrowFilesystem(
        5, MiB, 4 * MiB, "uuid", 4 * MiB, 8 * MiB, kind="xfs", layers=("luks:cff1",)
    )
    assert locked.describe() == "file system on LUKS in sda5 (xfs) 4.0 MiB -> 8.0 MiB"
    assert (
        ExtraDiskStep(locked, 2).describe()
        == "file system on LUKS in sdc5 (xfs) 4.0 MiB -> 8.0 MiB"
    )
    plain = GrowFilesystem(1, MiB, 4 * MiB, "uuid", 4 * MiB, 8 * MiB)
    assert ExtraDiskStep(plain, 1).describe() == "file system on sdb1 4.0 MiB -> 8.0 MiB"


def test_the_facts_of_another_disk_name_its_partitions() -> None:
    part = Partition(1, MiB, 8 * MiB)
    image = ImageFacts(Path("/images/data.raw"), "raw", 8 * MiB, 8 * MiB)
    facts = Facts(image, PartitionTable("mbr", "0x1", 512, 8 * MiB, (part,)), {}, disk="sdb")
    assert [seen.name for seen in layout_of(facts).partitions] == ["sdb1"]


def test_a_written_plan_keeps_the_disks_apart() -> None:
    plan = plan_of(Path("/images"))
    again = decode_plan(encode_plan(plan))
    assert again == plan
    assert again.own_steps == plan.steps[:1]
    last = again.steps[-1]
    assert isinstance(last, ExtraDiskStep) and isinstance(last.own, GrowFilesystem)
    assert last.own.place == DevicePath(3, MiB, 4 * MiB, ("lv:vg/a",))


def test_a_disk_that_takes_part_leads_to_the_run_until_that_is_over(tmp_path: Path) -> None:
    main, part = (RunDirectory(tmp_path / name) for name in ("root.raw", "data.raw"))
    journal = main.begin(encode_plan(plan_of(tmp_path)))
    part.take_part(main)
    refuse_if_open(part)  # it has not begun
    journal.append(JournalRecord(Event.BEGIN))
    assert part.leading().image == main.image
    assert part.state().status.value == "none"
    with raises("run-stands-in-the-way", match=r"root\.raw"):
        refuse_if_open(part)
    journal.append(JournalRecord(Event.DONE))
    refuse_if_open(part)
    part.begin(encode_plan(plan_of(tmp_path)))
    assert part.leading() is part


def test_a_disk_leads_to_no_other_run_of_the_first_one(tmp_path: Path) -> None:
    main, part = (RunDirectory(tmp_path / name) for name in ("root.raw", "data.raw"))
    main.begin(encode_plan(plan_of(tmp_path)))
    part.take_part(main)
    other = encode_plan(plan_of(tmp_path)).replace(b"run-1", b"run-2")
    main.begin(other).append(JournalRecord(Event.BEGIN))
    assert part.leading() is part
    refuse_if_open(part)
