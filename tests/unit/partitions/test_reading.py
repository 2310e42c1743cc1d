"""Our reader against sfdisk, on good and on broken tables."""

from __future__ import annotations

import random
import struct
from contextlib import suppress
from pathlib import Path

import pytest

from growdisk.errors import Refused, TableDamaged
from growdisk.partitions.sectors import locate_table, read_table
from growdisk.partitions.table import Role
from growdisk.units import ByteRange, GiB, MiB
from tests.unit.partitions.disks import (
    CLASSIC_SIZE,
    classic_disk,
    grow,
    make_disk,
    opened,
    read_at,
    run,
    sfdisk_table,
    table_of,
    write_at,
)

GPT = """label: gpt
start=2048, size=100M, type=C12A7328-F81F-11D2-BA4B-00C93EC93B3B, name="ESP ä", attrs="RequiredPartition GUID:55,63"
size=500M, name="root"
"""  # noqa: E501


def damage_of(path: Path) -> TableDamaged:
    with opened(path) as device, pytest.raises(TableDamaged) as caught:
        read_table(device, path)
    assert str(path) in caught.value.what
    return caught.value


def test_the_classic_layout_reads_as_sfdisk_reads_it(tmp_path: Path) -> None:
    disk = classic_disk(tmp_path / "disk.img")
    table = table_of(disk)
    assert table == sfdisk_table(disk)
    assert [(p.number, p.role, p.type_code) for p in table.partitions] == [
        (1, Role.PRIMARY, "83"),
        (2, Role.EXTENDED, "5"),
        (5, Role.LOGICAL, "82"),
    ]


def test_the_mib_that_debian_leaves_is_free_and_the_gap_before_sda1_is_not(tmp_path: Path) -> None:
    table = table_of(classic_disk(tmp_path / "disk.img"))
    assert table.free_ranges() == (ByteRange(CLASSIC_SIZE - MiB, CLASSIC_SIZE),)
    assert table.with_disk_size(3 * GiB).free_ranges() == (ByteRange(CLASSIC_SIZE - MiB, 3 * GiB),)


def test_free_space_is_told_apart_inside_and_behind_the_extended_partition(tmp_path: Path) -> None:
    script = "label: dos\n2048,20480,83\n22528,102400,f\n24576,20480,83\n"
    table = table_of(make_disk(tmp_path / "disk.img", 100 * MiB, script))
    assert table.free_ranges() == (ByteRange(23 * MiB, 61 * MiB), ByteRange(61 * MiB, 100 * MiB))


def test_many_logical_partitions_follow_the_chain(tmp_path: Path) -> None:
    script = "label: dos\n2048,2048,83\n4096,,f\n" + "".join(
        f"{8192 + n * 8192},4096,8e\n" for n in range(20)
    )
    disk = make_disk(tmp_path / "disk.img", 200 * MiB, script)
    assert table_of(disk) == sfdisk_table(disk)
    assert len(table_of(disk).logicals) == 20


def test_logical_partitions_in_another_order_than_on_the_disk(tmp_path: Path) -> None:
    disk = make_disk(
        tmp_path / "disk.img", 100 * MiB, "label: dos\n4096,,5\n51200,4096,83\n10240,4096,82\n"
    )
    assert table_of(disk) == sfdisk_table(disk)


def test_a_first_boot_record_without_partition_leads_on_to_the_next(tmp_path: Path) -> None:
    disk = make_disk(
        tmp_path / "disk.img", 100 * MiB, "label: dos\n4096,,5\n8192,4096,83\n51200,4096,82\n"
    )
    at = 4096 * 512 + 446
    write_at(disk, at, bytes(16))
    assert [(p.number, p.start) for p in table_of(disk).logicals] == [(5, 51200 * 512)]


def test_gpt_names_guids_and_attributes_read_as_sfdisk_reads_them(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", GiB, GPT)
    assert table_of(disk) == sfdisk_table(disk)
    assert table_of(disk).usable_end == GiB - MiB


def test_a_gpt_whose_start_is_damaged_is_read_from_its_backup(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", GiB, GPT)
    whole = table_of(disk)
    write_at(disk, 1024 + 130, b"\xff\xff")
    assert table_of(disk) == whole
    assert "backup" in table_of(disk).damage


def test_a_gpt_damaged_at_both_ends_is_refused(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", GiB, GPT)
    write_at(disk, 512 + 60, b"\xff\xff")
    write_at(disk, GiB - 512 + 60, b"\xff\xff")
    assert "checksum" in damage_of(disk).why


def test_the_stale_backup_of_a_grown_gpt_does_no_harm(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", GiB, GPT)
    before = table_of(disk)
    grow(disk, 2 * GiB)
    assert table_of(disk) == before.with_disk_size(2 * GiB)


@pytest.mark.parametrize(
    "maker", [["mkfs.ext4", "-q"], ["mkfs.vfat"], ["mkfs.ntfs", "-F", "-f", "-q"], ["mkswap"]]
)
def test_a_filesystem_on_the_whole_disk_is_no_table(tmp_path: Path, maker: list[str]) -> None:
    disk = tmp_path / "disk.img"
    with disk.open("wb") as file:
        file.truncate(64 * MiB)
    run(*maker, disk)
    with opened(disk) as device:
        assert read_table(device, disk) is None


@pytest.mark.parametrize("size", [0, 1, 511, 1024, 5000, MiB])
def test_a_blank_disk_of_any_size_has_no_table(tmp_path: Path, size: int) -> None:
    (tmp_path / "disk.img").write_bytes(bytes(size))
    with opened(tmp_path / "disk.img") as device:
        assert read_table(device, tmp_path / "disk.img") is None


def test_a_disk_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    disk = classic_disk(tmp_path / "disk.img")
    grow(disk, GiB)
    error = damage_of(disk)
    assert "partition 1" in error.why
    assert "cut off" in error.what_to_do


def test_an_entry_that_covers_its_own_table_is_not_called_cut_off(tmp_path: Path) -> None:
    disk = make_disk(tmp_path / "disk.img", 100 * MiB, "label: dos\n2048,20480,17\n")
    write_at(disk, 446 + 8, struct.pack("<II", 0, 22528))
    assert "isohybrid" in damage_of(disk).what_to_do


def test_overlapping_partitions_are_refused_by_name(tmp_path: Path) -> None:
    disk = make_disk(
        tmp_path / "disk.img", 100 * MiB, "label: dos\n2048,20480,83\n40960,20480,83\n"
    )
    write_at(disk, 446 + 16 + 8, struct.pack("<I", 4096))
    assert damage_of(disk).why == "partitions 1 and 2 overlap"


def test_a_chain_that_runs_in_a_circle_is_refused(tmp_path: Path) -> None:
    disk = make_disk(
        tmp_path / "disk.img", 100 * MiB, "label: dos\n4096,,5\n8192,4096,83\n51200,4096,82\n"
    )
    with opened(disk) as device:
        located = locate_table(device, disk)
    assert located is not None
    second = located.entry_offsets[6] // 512 * 512
    # the second points to itself
    write_at(disk, second + 446 + 16, read_at(disk, 4096 * 512 + 446 + 16, 16))
    assert "comes back" in damage_of(disk).why


def test_a_link_out_of_the_extended_partition_is_refused(tmp_path: Path) -> None:
    disk = make_disk(
        tmp_path / "disk.img", 100 * MiB, "label: dos\n4096,40960,5\n8192,4096,83\n20480,4096,82\n"
    )
    write_at(disk, 4096 * 512 + 446 + 16 + 8, struct.pack("<I", 100000))
    assert "outside the extended" in damage_of(disk).why


def test_an_extended_partition_without_boot_record_is_refused(tmp_path: Path) -> None:
    disk = classic_disk(tmp_path / "disk.img")
    write_at(disk, 3893246 * 512, bytes(512))
    assert "no valid extended boot record" in damage_of(disk).why


@pytest.mark.parametrize("kind", ["mbr", "gpt"])
def test_noise_in_a_table_never_ends_in_a_traceback(tmp_path: Path, kind: str) -> None:
    source = (
        GPT if kind == "gpt" else "label: dos\n2048,2048,83\n4096,,f\n8192,4096,83\n51200,4096,82\n"
    )
    disk = make_disk(tmp_path / "disk.img", GiB, source)
    clean, noise = read_at(disk, 0, 4096 * 512 + 512), random.Random(7)
    places = [
        *range(446, 512),
        *range(512, 604),
        *range(1024, 1300),
        *range(4096 * 512 + 446, 4096 * 512 + 512),
    ]
    for _ in range(200):
        for at in noise.sample(places, noise.choice((1, 2, 8))):
            write_at(disk, at, noise.randbytes(1))
        with opened(disk) as device, suppress(Refused):
            read_table(device, disk)
        write_at(disk, 0, clean)
