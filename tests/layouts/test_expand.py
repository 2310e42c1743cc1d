"""Layouts that people have, grown by the command; sfdisk, sgdisk, blkid, e2fsck judge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from growdisk.units import ByteRange, MiB
from tests.e2e.conftest import host
from tests.e2e.judges import assert_filesystem, assert_sound
from tests.e2e.process import Host
from tests.guests.content import odd_files, write_tar
from tests.guests.ext4 import make_ext4
from tests.guests.manifest import as_raw, differences
from tests.guests.swap import make_swap
from tests.layouts.disks import SECTOR, Layout, Seen, files_at, look, make, uuid_of
from tests.unit.partitions import large_disks as large

pytestmark = pytest.mark.appliance
__all__ = ["host"]

_GPT_HEAD = "label: gpt\nlabel-id: 5E1F0C1D-0000-4000-8000-00000000D15C\n"
_BIOS, _ESP = "21686148-6449-6E6F-744E-656564454649", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_BASIC, _RECOVERY = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "DE94BBA4-06D1-4D40-A16A-BFD50179D6AC"


@dataclass(frozen=True)
class Case:
    """`grown`, `moved`, `removed`: numbers of partitions that may differ from what they were."""

    name: str
    layout: Layout
    words: tuple[str, ...]
    grown: tuple[int, ...]
    moved: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
    again: tuple[str, ...] = ()


CASES = (
    Case(
        "a cloud image: root is number 1 and lies behind 14 and 15, swap behind it",
        Layout(
            _GPT_HEAD + f'14: start=2048, size=8192, type={_BIOS}, attrs="GUID:60"\n'
            f'15: start=10240, size=16384, type={_ESP}, name="EFI größe", attrs="RequiredPartition"\n'  # noqa: E501
            '1: start=26624, size=150000, type=L, name="rüt-数据", attrs="LegacyBIOSBootable GUID:59"\n'  # noqa: E501
            "2: start=178176, size=20480, type=S\n",
            100 * MiB, {1: "ext4", 2: "swap", 14: "noise", 15: "noise"},
        ),
        ("+300M", "--swap", "drop"), grown=(1,), removed=(2,),
    ),
    Case(
        "Windows' order: a recovery partition behind what grows is moved, by less than its own size",  # noqa: E501
        Layout(
            _GPT_HEAD + f'1: start=2048, size=16384, type={_ESP}, name="EFI system partition"\n'
            f'3: start=18432, size=102400, type={_BASIC}, name="Basic data partition"\n'
            f'4: start=120832, size=81920, type={_RECOVERY}, name="Wiederherstellung", attrs="RequiredPartition '  # noqa: E501
            'GUID:63"\n',
            100 * MiB, {1: "noise", 3: "ext4", 4: "ntfs"},
        ),
        ("+24M", "--move", "4", "--partition", "3"), grown=(3,), moved=(4,),
        again=("--partition", "3", "--move", "4"),
    ),
    Case(
        "old DOS alignment, a logical root in an extended partition that grows first, swap moved, an odd end",  # noqa: E501
        Layout(
            "label: dos\nlabel-id: 0x5ca1ab1e\n"
            "1: start=63, size=40000, type=83, bootable\n2: start=40131, size=180000, type=5\n"
            "5: start=40194, size=120000, type=83\n6: start=160260, size=40000, type=82\n"
            "3: start=220200, size=10000, type=da\n",
            120 * MiB + 3 * SECTOR, {1: "small-ext4", 3: "noise", 5: "ext4", 6: "swap"}, "raw",
        ),
        ("+200M", "--swap", "move", "--move", "3"), grown=(5,), moved=(3, 6),
        again=("--swap", "move", "--move", "3"),
    ),
    Case(
        "two shares, and what lies between them moves",
        Layout(
            _GPT_HEAD + '1: start=2048, size=81920, type=L, name="one"\n'
            '2: start=83968, size=20480, type=L, name="two"\n3: start=104448, size=81920, type=L, name="three"\n',  # noqa: E501
            100 * MiB, {1: "ext4", 2: "noise", 3: "small-ext4"},
        ),
        ("+400M", "--grow", "sda1=60%", "--grow", "sda3=rest", "--move", "2"), grown=(1, 3),
        moved=(2, 3),
        again=("--partition", "3"),
    ),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_layout_is_grown_and_all_else_kept(tmp_path: Path, host: Host, case: Case) -> None:
    kind = case.layout.image_format
    image = make(tmp_path / f"guest.{kind}", case.layout)
    before = look(image, kind)
    answer = host.growdisk("expand", image, *case.words)
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert host.left_files() == []
    assert_sound(image)
    after = look(image, kind)
    assert (after.label, after.id) == (before.label, before.id)
    _assert_others_kept(before, after, case)
    for number in case.grown:
        _assert_grown(image, before, after, number, kind)
    _assert_no_space_left(after)
    again = host.growdisk("expand", image, *(case.again or ()))
    assert (again.code, again.result) == (0, "nochange"), again


def _assert_others_kept(before: Seen, after: Seen, case: Case) -> None:
    assert set(after.parts) == set(before.parts) - set(case.removed)
    for number, now in after.parts.items():
        then = dict(before.parts[number])
        extended = then["type"] in ("5", "f")
        free = {"start"} if number in case.moved else set()
        free |= {"start", "size"} if number in case.grown and number in case.moved else set()
        free |= {"size"} if number in case.grown or extended else set()
        assert {k: v for k, v in now.items() if k not in free} == {
            k: v for k, v in then.items() if k not in free
        }
        if number not in case.grown and not extended and now["type"] != "82":
            assert after.digests[number] == before.digests[number], number
    gap = slice(512, 63 * SECTOR) if before.label == "dos" else slice(0, 440)
    assert after.head[gap] == before.head[gap]
    assert after.head[:440] == before.head[:440]


def _assert_grown(image: Path, before: Seen, after: Seen, number: int, kind: str) -> None:
    part = after.parts[number]
    assert part["size"] > before.parts[number]["size"]
    with as_raw(image, kind) as raw:
        assert_filesystem(raw, part["start"] * SECTOR, part["size"] * SECTOR)
    assert differences(before.files[number], after.files[number]) == []


def _assert_no_space_left(after: Seen) -> None:
    last = max(part["start"] + part["size"] for part in after.parts.values()) * SECTOR
    assert after.size - last < 2 * MiB
    if after.label == "gpt":
        assert after.last_lba == after.size // SECTOR - 34


def test_a_data_disk_becomes_a_gpt_on_the_way_and_keeps_numbers_and_files(
    tmp_path: Path, host: Host
) -> None:
    layout = Layout(
        "label: dos\nlabel-id: 0x5ca1ab1e\n1: start=2048, size=40960, type=83\n"
        "2: start=43008, size=120832, type=5\n5: start=45056, size=40960, type=82\n"
        "6: start=88064, size=75776, type=83\n",
        80 * MiB,
        {1: "small-ext4", 5: "swap", 6: "ext4"},
        boot_code=False,
    )
    image = make(tmp_path / "guest.qcow2", layout)
    before = look(image, "qcow2")
    answer = host.growdisk("expand", image, "+100M", "--partition", "6", "--to-gpt")
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert_sound(image)
    after = look(image, "qcow2")
    assert (after.label, set(after.parts)) == ("gpt", {1, 5, 6})
    assert [after.parts[n]["start"] for n in (1, 5, 6)] == [
        before.parts[n]["start"] for n in (1, 5, 6)
    ]
    assert [after.digests[n] for n in (1, 5)] == [before.digests[n] for n in (1, 5)]
    _assert_grown(image, before, after, 6, "qcow2")
    _assert_no_space_left(after)
    assert host.growdisk("expand", image, "--partition", "6", "--to-gpt").result == "nochange"


def test_a_disk_of_large_sectors_is_grown_where_the_user_says_so(
    tmp_path: Path, host: Host
) -> None:
    """parted makes and judges it: sfdisk takes any file's sectors for 512 bytes."""
    image = tmp_path / "guest.raw"
    large.make(image, "gpt", "root 1MiB 60MiB", "swap 60MiB 80MiB")
    place, files = ByteRange(MiB, 60 * MiB), [write_tar(tmp_path / "files.tar", odd_files())]
    # no kernel mounts smaller blocks there
    make_ext4(image, place, files, uuid=uuid_of(1), block_size=4096)
    make_swap(image, ByteRange(60 * MiB, 80 * MiB), uuid=uuid_of(2))
    refused = host.growdisk("expand", image, "+100M")
    assert (refused.code, "--sector-size 4096" in str(refused.error["do"])) == (3, True), refused
    kept = files_at(image, place)
    answer = host.growdisk("expand", image, "+100M", "--sector-size", "4096", "--swap", "drop")
    assert (answer.code, answer.result) == (0, "changed"), answer
    assert large.places(image) == {1: (MiB, 611 * MiB)}
    assert "error" not in large.parted(image, "print").lower()
    assert_filesystem(image, MiB, 610 * MiB)
    assert differences(kept, files_at(image, place), aside={"/etc/fstab"}) == []
