"""A disk drawn: as wide as it may be and no wider, to scale, and readable whatever is in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from growdisk.cli.disk_lines import blocker_lines, headline, partition_rows, volumes
from growdisk.cli.drawing import bar
from growdisk.cli.output import OPAQUE, UNUSED, USED
from growdisk.planner.layout import (
    BlockerLayout,
    ContentLayout,
    FreeLayout,
    ImageLayout,
    Layout,
    PartitionLayout,
    TableLayout,
    VolumeLayout,
)
from growdisk.units import GiB, MiB

ROOT = PartitionLayout(
    1, "sda1", MiB, 3 * GiB, "primary", "83", bootable=True,
    content=ContentLayout("ext4", "u", "root", 3 * GiB, GiB),
)  # fmt: skip
EXTENDED = PartitionLayout(
    2, "sda2", 3 * GiB + MiB, GiB, "extended", "5", bootable=False, content=None
)
SWAP = PartitionLayout(
    5, "sda5", 3 * GiB + MiB, GiB, "logical", "82", bootable=False,
    content=ContentLayout("swap", "s", "", GiB, None),
)  # fmt: skip
FREE = FreeLayout(4 * GiB + MiB, 4 * GiB)
IMAGE = ImageLayout("/images/web01.qcow2", "qcow2", 8 * GiB, GiB)
DISK = Layout(IMAGE, TableLayout("mbr", "0x1"), (ROOT, EXTENDED, SWAP), free=(FREE,))


def test_disk_as_it_looks_at_eighty_columns() -> None:
    assert [*headline(DISK, 80), *bar(DISK, 80), *partition_rows(DISK, 80)] == [
        "web01.qcow2: qcow2, MBR, 8.0 GiB (1.0 GiB on the host)",
        "┌────────────────────────────┬─────────┬───────────────────────────────────────┐",
        "│sda1 ext4 3.0 GiB           │sda5 swap│free 4.0 GiB                           │",
        "│█████████▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒▒│░░░░░░░░░│                                       │",
        "└────────────────────────────┴─────────┴───────────────────────────────────────┘",
        "  name      start     size  role      type  holds",
        '  sda1 *  1.0 MiB  3.0 GiB  primary   83    ext4, 34 % used "root"',
        "  sda2    3.0 GiB  1.0 GiB  extended  5",
        "  sda5    3.0 GiB  1.0 GiB  logical   82    swap",
        "  free    4.0 GiB  4.0 GiB",
    ]


@pytest.mark.parametrize("width", range(8, 121))
def test_every_line_of_the_bar_has_the_asked_width(width: int) -> None:
    assert {len(line) for line in bar(DISK, width)} == {width}


@pytest.mark.parametrize("width", range(20, 121, 7))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    disk = replace(
        DISK, image=replace(IMAGE, path="/x/" + "long-name-" * 30, backing=("base-" * 30,))
    )
    assert (
        max(map(len, [*headline(disk, width), *bar(disk, width), *partition_rows(disk, width)]))
        <= width
    )


def test_narrow_terminal_loses_columns_before_it_loses_words() -> None:
    assert partition_rows(DISK, 44)[1] == '  sda1 *  3.0 GiB  ext4, 34 % used "root"'


def test_stretches_are_drawn_to_scale() -> None:
    root, swap, free = (len(cell) for cell in bar(DISK, 80)[0].strip("┌┐").split("┬"))
    assert abs(root - 3 * swap) <= 3
    assert abs(free - 4 * swap) <= 4


def test_small_partition_keeps_room_for_its_name() -> None:
    tiny = replace(
        DISK,
        partitions=(replace(ROOT, size=7 * GiB), replace(SWAP, start=7 * GiB + MiB, size=MiB)),
        free=(),
    )
    assert "│sda5  │" in bar(tiny, 80)[1]


def test_disk_of_more_partitions_than_columns_has_a_table_only() -> None:
    many = tuple(
        replace(SWAP, number=n, name=f"sda{n}", start=n * MiB, size=MiB) for n in range(1, 129)
    )
    disk = replace(DISK, partitions=many, free=())
    assert bar(disk, 80) == []
    assert len(partition_rows(disk, 80)) == 129


def test_forty_partitions_still_fit() -> None:
    few = tuple(
        replace(SWAP, number=n, name=f"sda{n}", start=n * MiB, size=MiB) for n in range(1, 39)
    )
    assert {len(line) for line in bar(replace(DISK, partitions=few, free=()), 80)} == {80}


@pytest.mark.parametrize(
    ("used", "first", "last"), [(0, UNUSED, UNUSED), (1, USED, UNUSED), (3 * GiB - 1, USED, UNUSED)]
)
def test_fill_level_shows_the_first_and_the_last_byte(used: int, first: str, last: str) -> None:
    content = ContentLayout("ext4", "u", "", 3 * GiB, used)
    body = bar(replace(DISK, partitions=(replace(ROOT, content=content),), free=()), 80)[2]
    assert (body[1], body[-2]) == (first, last)


def test_what_has_no_fill_level_looks_neither_full_nor_empty() -> None:
    body = bar(replace(DISK, partitions=(replace(ROOT, content=None),), free=()), 80)[2]
    assert set(body.strip("│")) == {OPAQUE}


def test_empty_disk_is_drawn_as_such() -> None:
    empty = Layout(IMAGE, TableLayout(None, None), ())
    assert "nothing recognised" in bar(empty, 80)[1]
    assert headline(empty, 80) == [
        "web01.qcow2: qcow2, no partition table, 8.0 GiB (1.0 GiB on the host)"
    ]
    assert partition_rows(empty, 80) == []


def test_label_from_the_guest_cannot_move_the_cursor() -> None:
    evil = replace(ROOT, content=ContentLayout("ext4", "u", "\x1b[2J\rroot", 3 * GiB, GiB))
    assert "\x1b" not in "".join(partition_rows(replace(DISK, partitions=(evil,)), 80))


def test_blockers_are_named_without_the_extended_partition_around_them() -> None:
    why = "sda5, swap, 1.0 GiB, stands between sda1 and the free space"
    outer = BlockerLayout(2, "sda2", "extended partition", GiB, "sda2 stands there")
    swap = BlockerLayout(5, "sda5", "swap", GiB, why, ("--swap drop", "--swap move"))
    assert blocker_lines((outer, swap), 100) == [
        "in the way of growth:",
        f"  {why}; --swap drop|move",
    ]
    assert blocker_lines((swap,), 70) == [
        "in the way of growth:",
        f"  {why}",
        "    --swap drop|move",
    ]
    claim = replace(outer, kind="claimed space", why="entry 2 of the MBR is this: it stays")
    assert blocker_lines((claim,), 30) == [
        "in the way of growth:",
        "  entry 2 of the MBR is this:",
        "    it stays",
    ]
    assert blocker_lines((outer,), 80) == ["in the way of growth:", "  sda2 stands there"]
    assert blocker_lines((), 80) == []


def test_what_is_in_the_way_is_marked_in_the_table() -> None:
    found = (
        BlockerLayout(2, "sda2", "extended partition", GiB),
        BlockerLayout(5, "sda5", "swap", GiB),
    )
    marked = [line for line in partition_rows(replace(DISK, blockers=found), 100) if "<-" in line]
    assert marked == ["  sda5    3.0 GiB  1.0 GiB  logical   82    swap <- in the way"]


# --- LVM and LUKS -------------------------------------------------------------------------------

PV = PartitionLayout(
    1, "sda1", MiB, 8 * GiB - MiB, "primary", "8e", bootable=False,
    content=ContentLayout("LVM2_member", "p", "", 0, None),
)  # fmt: skip
VOLUMES = (
    VolumeLayout(
        "vg0/root", "sda1", "linear", 2 * GiB, ContentLayout("ext4", "r", "", 2 * GiB, GiB)
    ),
    VolumeLayout("vg0/home", "sda1", "linear", 4 * GiB, ContentLayout("xfs", "h", "", 4 * GiB, 0)),
)
GROUP = replace(DISK, partitions=(PV,), free=(), volumes=VOLUMES)
LOCKED = replace(PV, content=ContentLayout("crypto_LUKS", "l", "", 0, None))
OPENED = (
    VolumeLayout(
        "LUKS in sda1",
        "sda1",
        "luks",
        8 * GiB - 17 * MiB,
        ContentLayout("LVM2_member", "p", "", 0, None),
    ),
    *(replace(volume, holder="LUKS in sda1") for volume in VOLUMES),
)


@pytest.mark.parametrize("disk", [GROUP, replace(GROUP, partitions=(LOCKED,), volumes=OPENED)])
def test_volumes_are_drawn_in_their_partition_and_what_the_group_has_free_is_blank(
    disk: Layout,
) -> None:
    root, home, free = bar(disk, 80)[2].strip("│").split("│")
    assert (root[:6], home[:6], free.strip()) == ("root █", "home ▒", "")
    assert abs(2 * len(root) - len(home)) <= 3
    assert abs(len(root) - len(free)) <= 3


@pytest.mark.parametrize("width", range(8, 121))
def test_a_bar_with_volumes_has_the_asked_width_too(width: int) -> None:
    assert {len(line) for line in bar(GROUP, width)} == {width}


def test_a_container_with_a_file_system_shows_how_full_that_is() -> None:
    inner = VolumeLayout(
        "LUKS in sda1", "sda1", "luks", 8 * GiB, ContentLayout("ext4", "e", "", 8 * GiB, 4 * GiB)
    )
    body = bar(replace(GROUP, partitions=(LOCKED,), volumes=(inner,)), 80)[2].strip("│")
    assert body == USED * 39 + UNUSED * 39


def test_more_volumes_than_columns_are_not_drawn() -> None:
    many = tuple(replace(VOLUMES[0], name=f"vg0/{n}", size=MiB) for n in range(99))
    assert bar(replace(GROUP, volumes=many), 80)[2] == "│" + OPAQUE * 78 + "│"


def test_lvm_and_luks_have_their_names_in_words() -> None:
    disk = replace(GROUP, partitions=(LOCKED,), volumes=OPENED)
    assert [line for line in (*partition_rows(disk, 80), *volumes(disk, 80)) if "VG" not in line][
        1:
    ] == [
        "  sda1  1.0 MiB  8.0 GiB  primary  8e    LUKS (encrypted)",
        "inside:",
        "  LUKS in sda1, 8.0 GiB: LVM",
        "  vg0/root, 2.0 GiB, in LUKS in sda1: ext4, 50 % used",
        "  vg0/home, 4.0 GiB, in LUKS in sda1: xfs, 0 % used",
    ]


def test_partitions_of_a_gpt_have_no_role() -> None:
    boot = "21686148-6449-6E6F-744E-656564454649"
    disk = replace(
        DISK,
        table=TableLayout("gpt", "G"),
        partitions=(replace(ROOT, bootable=False), replace(SWAP, type=boot, content=None)),
    )
    assert partition_rows(disk, 80)[:3] == [
        "  name    start     size  type  holds",
        '  sda1  1.0 MiB  3.0 GiB  83    ext4, 34 % used "root"',
        "  sda5  3.0 GiB  1.0 GiB  BIOS",
    ]
