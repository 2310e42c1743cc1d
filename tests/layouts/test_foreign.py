"""What is somebody else's is not grown, moved or given up, and is named; blkid judges."""

from __future__ import annotations

import os
import struct
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.filesystems.identify import identify
from growdisk.units import MiB
from tests.guests.foreign import AT_THE_END, AT_THE_START
from tests.guests.tools import run
from tests.layouts.refusing import SECTOR, VOLUME_SIZE, assert_refused, disk, put, volume
from tests.unit.cli.command import in_process

_SIZE = VOLUME_SIZE
_START = MiB
_DISK = _START + _SIZE + 3 * MiB
_EVERYTHING = {**AT_THE_END, **AT_THE_START}


def kind_by_blkid(path: Path) -> str:
    return run("blkid", "-p", "-o", "value", "-s", "TYPE", path).strip()


_ONE = f"label: dos\nstart=2048,size={_SIZE // SECTOR},type=83\n"


@pytest.mark.parametrize("name", _EVERYTHING)
def test_a_member_is_refused_by_its_name_whatever_it_looks_like_at_its_start(
    tmp_path: Path, name: str
) -> None:
    kind, pieces = _EVERYTHING[name]
    content = volume(tmp_path / "volume", ext4=name in AT_THE_END, pieces=pieces(_SIZE))
    assert kind_by_blkid(content) == kind
    image = disk(tmp_path / "disk.raw", _ONE, s2048=content)
    assert_refused(image, "+100M", naming=kind)
    assert_refused(image, "+100M", "--partition", "1", naming=kind)
    shown = in_process("--json", "show", image).json()
    assert shown["partitions"][0]["content"]["kind"] == kind


@pytest.mark.parametrize("name", AT_THE_END)
def test_a_whole_disk_of_an_array_is_refused_though_it_has_a_table(
    tmp_path: Path, name: str
) -> None:
    kind, pieces = AT_THE_END[name]
    content = volume(tmp_path / "volume", ext4=True, pieces=[], size=40 * MiB)
    image = disk(
        tmp_path / "disk.raw", "label: dos\nstart=2048,size=81920,type=83\n", s2048=content
    )
    volume_of_disk = pieces(_DISK)
    with image.open("r+b") as file:
        for offset, data in volume_of_disk:
            file.seek(offset)
            file.write(data)
    assert kind_by_blkid(image) == kind
    assert_refused(image, "+100M", naming=kind)
    assert any(
        kind in blocker["why"] for blocker in in_process("--json", "show", image).json()["blockers"]
    )


@pytest.mark.parametrize("name", AT_THE_END)
def test_a_whole_disk_without_a_table_is_refused(tmp_path: Path, name: str) -> None:
    kind, pieces = AT_THE_END[name]
    image = volume(tmp_path / "disk.raw", ext4=True, pieces=pieces(_SIZE))
    assert_refused(image, "+100M", naming=kind)


@pytest.mark.parametrize("name", ["BitLocker", "ReFS"])
def test_the_boot_sector_of_a_whole_disk_is_not_taken_for_a_table(
    tmp_path: Path, name: str
) -> None:
    kind, pieces = AT_THE_START[name]
    image = volume(
        tmp_path / "disk.raw",
        ext4=False,
        pieces=[*pieces(_SIZE), (440, b"\x80code" * 14), (510, b"\x55\xaa")],
    )
    assert kind_by_blkid(image) == kind
    assert_refused(image, "+100M", naming=kind)


_TWO = f"label: dos\nstart=2048,size=32768,type=83\nstart=34816,size={_SIZE // SECTOR},type=%s\n"


@pytest.mark.parametrize("consent", [("--move", "2"), ("--delete", "2")])
@pytest.mark.parametrize("name", ["md 1.0", "DRBD 9", "ZFS", "BitLocker"])
def test_a_member_in_the_way_is_neither_moved_nor_removed(
    tmp_path: Path, name: str, consent: tuple[str, str]
) -> None:
    kind, pieces = _EVERYTHING[name]
    root = volume(tmp_path / "root", ext4=True, pieces=[], size=16 * MiB)
    member = volume(tmp_path / "member", ext4=False, pieces=pieces(_SIZE))
    image = disk(tmp_path / "disk.raw", _TWO % "83", 20 * MiB + _SIZE, s2048=root, s34816=member)
    assert_refused(image, "+200M", "--partition", "1", *consent, naming=kind)


def test_no_consent_is_advised_for_what_is_somebody_elses(tmp_path: Path) -> None:
    root = volume(tmp_path / "root", ext4=True, pieces=[], size=16 * MiB)
    member = volume(tmp_path / "member", ext4=False, pieces=AT_THE_END["Intel"][1](_SIZE))
    image = disk(tmp_path / "disk.raw", _TWO % "83", 20 * MiB + _SIZE, s2048=root, s34816=member)
    said = assert_refused(image, "+200M", "--partition", "1", naming="isw_raid_member")
    assert "--move" not in said and "--delete" not in said


@pytest.mark.parametrize(
    "recovery", ["label: dos\n{}type=27", "label: gpt\n{}type=DE94BBA4-06D1-4D40-A16A-BFD50179D6AC"]
)
def test_no_growth_of_the_recovery_of_windows_is_advised(tmp_path: Path, recovery: str) -> None:
    ntfs = tmp_path / "ntfs"
    with ntfs.open("wb") as file:
        file.truncate(20 * MiB)
    run("mkntfs", "-q", "-F", "-f", ntfs)
    script = recovery.format("start=2048,size=81920\nstart=83968,size=40960,")
    image = disk(tmp_path / "disk.raw", script, s2048=ntfs, s83968=ntfs)
    said = assert_refused(image, "+100M", "--partition", "1", naming="--move 2")
    assert "could grow" not in said


def test_a_small_partition_beside_a_large_member_is_not_what_is_meant(tmp_path: Path) -> None:
    boot = volume(tmp_path / "boot", ext4=True, pieces=[], size=16 * MiB)
    member = volume(tmp_path / "member", ext4=True, pieces=AT_THE_END["md 1.0"][1](_SIZE))
    image = disk(tmp_path / "disk.raw", _TWO % "83", 20 * MiB + _SIZE, s2048=boot, s34816=member)
    assert_refused(image, "+200M", naming="linux_raid_member")


def test_swap_that_is_a_member_of_an_array_is_not_given_up(tmp_path: Path) -> None:
    root = volume(tmp_path / "root", ext4=True, pieces=[], size=16 * MiB)
    swap = volume(tmp_path / "swap", ext4=False, pieces=[])
    run("mkswap", "-q", swap)
    volume_end = AT_THE_END["md 1.0"][1](_SIZE)
    with swap.open("r+b") as file:
        for offset, data in volume_end:
            file.seek(offset)
            file.write(data)
    image = disk(tmp_path / "disk.raw", _TWO % "82", 20 * MiB + _SIZE, s2048=root, s34816=swap)
    assert_refused(image, "+200M", "--partition", "1", naming="linux_raid_member")


@pytest.mark.parametrize("script", [
    "label: dos\nstart=2048,size=147496,type=fd\n", "label: dos\nstart=2048,size=147496,type=bf\n",
    "label: dos\nstart=2048,size=147496,type=fb\n", "label: dos\nstart=2048,size=147496,type=42\n",
    "label: gpt\nstart=2048,size=147496,type=A19D880F-05FC-4D3B-A006-743F0F84911E\n",
    "label: gpt\nstart=2048,size=147496,type=6A898CC3-1DD2-11B2-99A6-080020736631\n",
    "label: gpt\nstart=2048,size=147496,type=AA31E02A-400F-11DB-9590-000C2911D1B8\n",
    "label: gpt\nstart=2048,size=147496,type=AF9B60A0-1431-4F62-BC68-3311714A69AD\n",
    "label: gpt\nstart=2048,size=147496,type=E75CAF8F-F680-4CEE-AFA3-B001E56EFC2D\n",
    "label: gpt\nstart=2048,size=147496,type=824CC7A0-36A8-11E3-890A-952519AD3F61\n",
])  # fmt: skip
def test_a_type_that_says_whose_it_is_is_heeded(tmp_path: Path, script: str) -> None:
    content = volume(tmp_path / "volume", ext4=True, pieces=[])
    image = disk(tmp_path / "disk.raw", script, s2048=content)
    assert_refused(image, "+100M", naming="belongs to")
    assert in_process("--json", "show", image).json()["blockers"]


def test_the_advice_to_correct_a_wrong_type_helps(tmp_path: Path) -> None:
    content = volume(tmp_path / "volume", ext4=True, pieces=[])
    image = disk(tmp_path / "disk.raw", _ONE.replace("83", "fd"), s2048=content)
    assert "sfdisk --part-type DISK 1 TYPE" in assert_refused(image, "+100M", naming="Linux RAID")
    run("sfdisk", "-q", "--no-tell-kernel", "--part-type", image, "1", "83")
    assert in_process("plan", image, "+100M").code == 0


def test_the_database_of_a_dynamic_disk_is_seen_without_its_type(tmp_path: Path) -> None:
    content = volume(tmp_path / "volume", ext4=True, pieces=[])
    image = disk(tmp_path / "disk.raw", _ONE, s2048=content)
    put(image, 6 * SECTOR, b"PRIVHEAD" + bytes(24))
    assert_refused(image, "+100M", naming="dynamic disk")


# --- two contents at once, and what blkid alone sees --------------------------------------------


def test_an_older_file_system_under_the_first_is_refused(tmp_path: Path) -> None:
    content = tmp_path / "volume"
    with content.open("wb") as file:
        file.truncate(128 * MiB)
    run("mkfs.btrfs", "-q", content)
    older = content.read_bytes()[64 << 10 : 68 << 10]
    run("mke2fs", "-q", "-F", "-t", "ext4", content)
    put(content, 64 << 10, older)
    image = disk(
        tmp_path / "disk.raw",
        "label: dos\nstart=2048,size=262144,type=83\n",
        160 * MiB,
        s2048=content,
    )
    said = assert_refused(image, "+100M", naming="btrfs")
    assert "ext" in said


def test_what_blkid_alone_knows_is_refused_by_its_name(tmp_path: Path) -> None:
    """A controller's mark without the checksum that growdisk's own reader wants to see."""
    content = volume(tmp_path / "volume", ext4=True, pieces=[(_SIZE - SECTOR, b"JM\x01\x02\x07")])
    with closing(RawFile.open(content)) as device:
        found = identify(device)
    assert found is not None and found.kind == "ext4"
    image = disk(tmp_path / "disk.raw", _ONE, s2048=content)
    assert "blkid" in assert_refused(image, "+100M", naming="jmicron_raid_member")


def test_an_old_signature_where_the_new_end_will_be_is_seen(tmp_path: Path) -> None:
    content = volume(tmp_path / "volume", ext4=True, pieces=[], size=40 * MiB)
    image = disk(
        tmp_path / "disk.raw",
        "label: dos\nstart=2048,size=81920,type=83\n",
        101 * MiB,
        s2048=content,
    )
    for offset, data in AT_THE_END["md 1.0"][1](100 * MiB):
        put(image, MiB + offset, data)
    assert_refused(image, naming="linux_raid_member")


@pytest.mark.parametrize("sector", [SECTOR, 8 * SECTOR])
def test_what_freebsd_keeps_in_the_last_sector_is_seen_though_blkid_does_not_know_it(
    tmp_path: Path, sector: int
) -> None:
    pieces = [(_SIZE // sector * sector - sector, b"GEOM::ELI".ljust(16, b"\0"))]
    image = disk(
        tmp_path / "disk.raw", _ONE, s2048=volume(tmp_path / "geli", ext4=False, pieces=pieces)
    )
    assert "wipefs" not in assert_refused(image, "+100M", "--partition", "1", naming="geom")


def test_a_table_in_the_boot_sector_of_a_file_system_is_not_overlooked(tmp_path: Path) -> None:
    """As sfdisk writes it without a terminal, where it wipes nothing: systems see partitions."""
    image = volume(tmp_path / "disk.raw", ext4=False, pieces=[])
    run("mkntfs", "-q", "-F", "-f", image)
    assert in_process("plan", image, "+100M").code == 0
    run(
        "sfdisk",
        "-q",
        "--no-tell-kernel",
        "--wipe",
        "never",
        image,
        stdin="label: dos\n2048,65536\n",
    )
    assert_refused(image, "+100M", naming="dos_table")


@pytest.mark.parametrize("label", ["dos", "gpt"])
def test_a_table_inside_a_partition_is_named_and_stays(tmp_path: Path, label: str) -> None:
    inner = disk(tmp_path / "inner", f"label: {label}\nstart=2048,size=8192\n", 16 * MiB)
    root = volume(tmp_path / "root", ext4=True, pieces=[], size=16 * MiB)
    script = "label: gpt\nstart=2048,size=32768\nstart=34816,size=32768\n"
    image = disk(tmp_path / "disk.raw", script, 40 * MiB, s2048=root, s34816=inner)
    assert_refused(image, "+100M", "--partition", "2", naming=f"{label}_table")
    assert_refused(image, "+100M", "--partition", "1", "--move", "2", naming="table of its own")
    assert in_process("plan", image, "+100M", "--partition", "1", "--delete", "2").code == 0
    assert f"{label}_table" in in_process("show", image).out


def test_a_table_that_blkid_alone_knows_is_refused(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    entry = (
        struct.pack(">III", 2, 1, 63)
        + b"Apple".ljust(32, b"\0")
        + b"Apple_partition_map".ljust(32, b"\0")
    )
    inner.write_bytes((b"ER\2\0".ljust(512, b"\0") + b"PM\0\0" + entry).ljust(16 * MiB, b"\0"))
    image = disk(
        tmp_path / "disk.raw", "label: gpt\nstart=2048,size=32768\n", 40 * MiB, s2048=inner
    )
    assert_refused(image, "+100M", "--partition", "1", naming="mac_table")


def test_a_machine_without_blkid_says_so_and_goes_by_its_own_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from growdisk.host.blkid import Blkid, CannotAsk

    monkeypatch.setattr(Blkid, "answer", lambda _: CannotAsk("it is not installed on this machine"))
    content = volume(tmp_path / "volume", ext4=True, pieces=[])
    image = disk(tmp_path / "disk.raw", _ONE, s2048=content)
    assert "blkid could not be asked" in in_process("plan", image, "+100M").out
    with image.open("r+b") as file:
        file.seek(MiB + _SIZE - 4096 + 60)
        file.write(b"\x83\x74\x02\x6b")
    assert_refused(image, "+100M", naming="drbd")


@pytest.mark.parametrize(("data", "at"), [(32 * MiB, 32 * MiB), (30 * MiB + 20480, 31 * MiB)])
def test_hashes_behind_a_file_system_are_seen(tmp_path: Path, data: int, at: int) -> None:
    """As appliances have it, whose /usr is verified: in one partition with what they are of."""
    content = volume(tmp_path / "volume", ext4=False, pieces=[])
    run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", content, f"{data // 1024}k")
    run(
        "veritysetup", "format", f"--data-blocks={data // 4096}", f"--hash-offset={at}", content,
        content,
    )  # fmt: skip
    image = disk(tmp_path / "disk.raw", _ONE, s2048=content)
    assert_refused(image, "+100M", naming="DM_verity_hash, although it looks like ext4")


def test_a_partition_whose_hashes_stand_in_another_does_not_grow_and_its_neighbour_does(
    tmp_path: Path,
) -> None:
    data, hashes, other = (tmp_path / name for name in ("data", "hashes", "other"))
    for path, size in ((data, 32), (hashes, 2), (other, 40)):
        volume(path, ext4=False, pieces=[], size=size * MiB)
    for path in (data, other):
        run("mke2fs", "-q", "-F", "-t", "ext4", path)
    run("veritysetup", "format", data, hashes)
    assert kind_by_blkid(hashes) == "DM_verity_hash"
    script = "label: gpt\nstart=2048,size=4096\nstart=6144,size=65536\nstart=71680,size=81920\n"
    image = disk(tmp_path / "disk.raw", script, 80 * MiB, s2048=hashes, s6144=data, s71680=other)
    assert_refused(
        image, "+100M", "--partition", "2", "--move", "3", naming="the hashes of all its bytes"
    )
    done = in_process("expand", image, "+100M", "--partition", "3")
    assert done.code == 0, done
    with image.open("rb") as file:
        file.seek(6144 * SECTOR)
        assert file.read(32 * MiB) == data.read_bytes()


def test_a_partition_that_the_gpt_calls_read_only_stays_as_it_is(tmp_path: Path) -> None:
    content = volume(tmp_path / "volume", ext4=True, pieces=[])
    image = disk(
        tmp_path / "disk.raw",
        _ONE.replace("dos", "gpt").replace(",type=83", ",attrs=GUID:60"),
        s2048=content,
    )
    assert_refused(image, "+100M", naming="read-only (bit 60)")
    run("sfdisk", "-q", "--no-tell-kernel", "--no-reread", "--part-attrs", image, "1", "")
    assert in_process("plan", image, "+100M").code == 0


def test_an_mbr_without_entries_does_not_hide_the_file_system_of_the_whole_disk(
    tmp_path: Path,
) -> None:
    """A boot loader in the first sector of an ext4 without partitions ends in 55 aa."""
    image = volume(
        tmp_path / "disk.raw", ext4=True, pieces=[(0, os.urandom(440)), (510, b"\x55\xaa")]
    )
    answer = in_process("--json", "expand", image, "+100M")
    assert (answer.code, answer.json()["after"]["table"]["type"]) == (0, None), answer
    run("e2fsck", "-fn", image)
    assert int(run("dumpe2fs", "-h", image).split("Block count:")[1].split()[0]) * 1024 > 160 * MiB
    assert image.read_bytes()[510:512] == b"\x55\xaa"


@pytest.mark.parametrize(
    ("label", "named"),
    [
        ("sun", "Sun"),
        ("dvh", "SGI"),
        ("mac", "Apple"),
        ("amiga", "Amiga"),
        ("bsd", "BSD"),
        ("gpt", "no protective MBR"),
    ],
)
def test_a_table_that_growdisk_does_not_read_is_named(
    tmp_path: Path, label: str, named: str
) -> None:
    image = volume(tmp_path / "disk.raw", ext4=False, pieces=[])
    run("parted", "-s", image, "mklabel", label)
    if label == "gpt":
        with image.open("r+b") as file:
            file.write(bytes(512))
    assert_refused(image, "+100M", naming=named)


@pytest.mark.parametrize(
    ("place", "name", "named"),
    [(72, b"whirlpool", "the hash whirlpool"), (8, b"serpent", "its cipher, serpent-xts-plain64")],
)
def test_a_container_whose_hash_or_cipher_nobody_here_can_compute_is_refused_in_words(
    tmp_path: Path, place: int, name: bytes, named: str
) -> None:
    key, container = tmp_path / "key", tmp_path / "luks"
    key.write_bytes(b"abc")
    with container.open("wb") as file:
        file.truncate(_SIZE)
    options = ("--type", "luks1", "--pbkdf-force-iterations", "1000")
    run("cryptsetup", "-q", "luksFormat", *options, container, key)
    put(container, place, name.ljust(32, b"\0"))
    image = disk(tmp_path / "disk.raw", _ONE, s2048=container)
    assert_refused(image, "+100M", "--key-file", str(key), naming=named)
