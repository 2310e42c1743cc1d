"""File systems that nobody here could grow at rest: named in the plan, before any change."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from growdisk.filesystems.btrfs import SUPERBLOCK_OFFSET
from growdisk.filesystems.ext import crc32c
from growdisk.units import MiB
from tests.e2e.process import need
from tests.guests.tools import ToolFailed, place_content, run
from tests.unit.cli.command import Answer, fingerprint, in_process

_INCOMPAT, _RO_COMPAT, _SUPERBLOCK = 0x60, 0x64, 1024


def empty(path: Path, size: int) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    return path


def refused(image: Path, *words: str) -> str:
    """Why the plan says no; expand says the same, and touches nothing."""
    before = fingerprint(image)
    answers: list[Answer] = [
        in_process(verb, image, "+200M", "--json", *words) for verb in ("plan", "expand")
    ]
    assert [answer.code for answer in answers] == [3, 3], answers
    assert answers[0].json()["error"] == answers[1].json()["error"]
    assert fingerprint(image) == before
    return str(answers[0].json()["error"]["why"])


def with_bit(image: Path, offset: int, bit: int) -> Path:
    """An ext file system with one more feature, and with the checksum that belongs to it."""
    with image.open("r+b") as file:
        file.seek(_SUPERBLOCK)
        block = bytearray(file.read(1024))
        block[offset : offset + 4] = (
            int.from_bytes(block[offset : offset + 4], "little") | bit
        ).to_bytes(4, "little")
        block[1020:] = crc32c(bytes(block[:1020])).to_bytes(4, "little")
        file.seek(_SUPERBLOCK)
        file.write(block)
    return image


@pytest.mark.parametrize(
    ("offset", "bit", "name"),
    [
        (_INCOMPAT, 1 << 20, "FEATURE_I20"),
        (_RO_COMPAT, 1 << 25, "FEATURE_R25"),
        (_INCOMPAT, 1, "compression"),
    ],
)
def test_an_ext4_with_a_feature_that_nobody_knows_is_refused_by_its_name(
    tmp_path: Path, offset: int, bit: int, name: str
) -> None:
    image = empty(tmp_path / "disk.raw", 64 * MiB)
    run("mke2fs", "-q", "-F", "-t", "ext4", image)
    assert name in refused(with_bit(image, offset, bit))


@pytest.mark.parametrize("feature", ["-resize_inode", "meta_bg"])
def test_an_ext4_that_e2fsck_would_ask_about_is_refused(tmp_path: Path, feature: str) -> None:
    image = empty(tmp_path / "disk.raw", 100 * MiB)
    run("mkfs.ext4", "-q", image)
    run("debugfs", "-w", "-R", f"feature {feature}", image)
    with pytest.raises(ToolFailed, match="RUN fsck MANUALLY"):
        run("e2fsck", "-fp", image)
    assert "resize_inode" in refused(image)
    with pytest.raises(ToolFailed):  # which it says also of what it has mended
        run("e2fsck", "-fy", image)
    run("e2fsck", "-fp", image)
    assert in_process("plan", image, "+200M").code == 0


@pytest.mark.parametrize(("bit", "name"), [(0x1000, "read-only"), (0x4000, "shared_blocks")])
def test_an_ext4_that_nobody_may_write_to_is_refused(tmp_path: Path, bit: int, name: str) -> None:
    image = empty(tmp_path / "disk.raw", 64 * MiB)
    run("mke2fs", "-q", "-F", "-t", "ext4", image)
    assert name in refused(with_bit(image, _RO_COMPAT, bit))


def test_a_tiny_ext4_that_no_kernel_here_mounts_does_not_become_huge(tmp_path: Path) -> None:
    """resize2fs makes no room for so many descriptors: it calls resize_inode illegal, and ends."""
    image = empty(tmp_path / "disk.raw", 4 * MiB)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-O", "casefold", image)
    planned = in_process("plan", image, "120G", "--json")
    assert planned.code == 3 and "group descriptors" in planned.json()["error"]["why"]
    assert in_process("plan", image, "200M", "--json").code == 0


@pytest.mark.parametrize(("block", "backend"), [("2048", ""), ("1024", "direct")])
def test_an_only_group_that_is_not_full_becomes_huge_by_a_kernel_alone(
    tmp_path: Path, block: str, backend: str
) -> None:
    image = empty(tmp_path / "disk.raw", 18 * MiB)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-b", block, image)
    assert in_process("plan", image, "300G", "--json").json()["backend"] in ("uml", "guestfs")
    planned = in_process("plan", image, "300G", "--backend", "direct", "--json").json()
    assert planned.get("backend", "") == backend
    assert bool(backend) or "descriptors" in planned["error"]["why"]
    nearer = in_process("plan", image, "900M", "--backend", "direct", "--json")
    assert nearer.json()["backend"] == "direct"


def test_a_journal_on_another_disk_is_asked_for(tmp_path: Path) -> None:
    """mke2fs takes a device for the journal alone: its UUID is written in afterwards."""
    image = empty(tmp_path / "disk.raw", 64 * MiB)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^metadata_csum", image)
    with image.open("r+b") as file:
        file.seek(_SUPERBLOCK + 0xD0)
        file.write(bytes(range(16)) + bytes(4))
    assert "00010203-0405-0607-0809-0a0b0c0d0e0f" in refused(image)


@pytest.mark.parametrize(
    ("option", "word"), [("-llogdev={}", "external log"), ("-rrtdev={}", "realtime")]
)
def test_an_xfs_that_lies_on_two_devices_is_refused(tmp_path: Path, option: str, word: str) -> None:
    image, other = empty(tmp_path / "disk.raw", 400 * MiB), empty(tmp_path / "other", 80 * MiB)
    run("mkfs.xfs", "-q", "-f", "-m", "reflink=0,rmapbt=0", option.format(other), image)
    assert word in refused(image)


def test_an_xfs_that_has_to_be_repaired_first_is_refused(tmp_path: Path) -> None:
    image = empty(tmp_path / "disk.raw", 320 * MiB)
    run("mkfs.xfs", "-q", "-f", image)
    _set_needs_repair(image)
    assert "needsrepair" in refused(image)


def _set_needs_repair(image: Path) -> None:
    with image.open("r+b") as file:
        file.seek(216)
        features = int.from_bytes(file.read(4), "big")
        file.seek(216)
        file.write((features | 0x10).to_bytes(4, "big"))


def test_an_xfs_of_large_blocks_is_refused(tmp_path: Path) -> None:
    image = empty(tmp_path / "disk.raw", 400 * MiB)
    run("mkfs.xfs", "-q", "-f", "-b", "size=16384", image)
    assert "blocks of 16384 bytes" in refused(image)


def test_a_btrfs_that_is_a_seed_is_refused_and_an_ordinary_one_is_not(tmp_path: Path) -> None:
    need("uml")
    image = empty(tmp_path / "disk.raw", 200 * MiB)
    run("mkfs.btrfs", "-q", image)
    assert in_process("plan", image, "+200M", "--json").code == 0
    run("btrfstune", "-S", "1", image)
    assert "seed" in refused(image)


_BALANCE, _NODE_SIZE = struct.pack("<QBQ", (1 << 64) - 4, 248, 0), 0x94
_LEVEL, _ITEMS, _ITEM_SIZE, _NODE_HEADER = 0xC6, 96, 25, 101


def test_a_btrfs_whose_balance_is_not_finished_is_refused(tmp_path: Path) -> None:
    """The kernel goes on with it at the next mount, and resizes nothing before its end."""
    need("uml")
    image = empty(tmp_path / "disk.raw", 200 * MiB)
    run("mkfs.btrfs", "-q", "-m", "single", image)
    data = bytearray(image.read_bytes())
    assert data[SUPERBLOCK_OFFSET + _LEVEL] == 0
    address = data[SUPERBLOCK_OFFSET + 0x50 :][:8]
    (size,) = struct.unpack_from("<I", data, SUPERBLOCK_OFFSET + _NODE_SIZE)
    # A node begins with checksum, UUID and its own address; the root tree's owner is 1.
    leaves = [at for at in range(0, len(data), size) if data[at + 48 : at + 56] == address]
    (leaf,) = [at for at in leaves if data[at + 88 : at + 96] == struct.pack("<Q", 1)]
    (count,) = struct.unpack_from("<I", data, leaf + _ITEMS)
    struct.pack_into("<I", data, leaf + _ITEMS, count + 1)
    place = leaf + _NODE_HEADER + count * _ITEM_SIZE
    data[place : place + _ITEM_SIZE] = _BALANCE + bytes(8)
    image.write_bytes(data)
    assert "a balance of its btrfs is not finished" in refused(image)


@pytest.mark.parametrize("options", [["--type", "luks1"], ["--type", "luks2"]])
def test_a_container_whose_encryption_is_just_changing_is_called_that(
    tmp_path: Path, options: list[str]
) -> None:
    image, key = empty(tmp_path / "disk.raw", 64 * MiB), tmp_path / "key"
    key.write_text("a secret")
    quick = (
        "--batch-mode",
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
        "--key-file",
        key,
    )
    run("cryptsetup", "luksFormat", *quick, *options, image)
    if "luks2" in options:
        run("cryptsetup", "reencrypt", "--init-only", "--batch-mode", "--key-file", key, image)
    else:
        # as cryptsetup-reencrypt leaves it: no command of today makes such a one without running to
        # its end
        with image.open("r+b") as file:
            file.write(b"LUKS\xde\xad")
    for words in ((), ("--key-file", str(key))):
        assert "has not ended" in refused(image, "-f", "raw", *words)


def test_a_container_whose_first_header_is_lost_is_called_that(tmp_path: Path) -> None:
    image, key = empty(tmp_path / "disk.raw", 64 * MiB), tmp_path / "key"
    key.write_text("a secret")
    quick = (
        "--batch-mode",
        "--pbkdf",
        "pbkdf2",
        "--pbkdf-force-iterations",
        "1000",
        "--key-file",
        key,
    )
    run("cryptsetup", "luksFormat", *quick, "--type", "luks2", image)
    with image.open("r+b") as file:
        file.write(bytes(4096))
    assert "cryptsetup repair" in refused(image, "-f", "raw")


def test_a_tiny_ext4_is_refused_where_its_group_descriptors_have_no_room(tmp_path: Path) -> None:
    """resize2fs would end with 0 here, and e2fsck finds the tables destroyed."""
    image = empty(tmp_path / "disk.raw", MiB)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-g", "256", "-O", "^resize_inode", image)
    answer = in_process("plan", image, "16G", "--json")
    assert answer.code == 3
    assert "its tables end at" in answer.json()["error"]["why"]
    assert in_process("plan", image, "4G", "--json").code == 0


def test_an_f2fs_on_several_devices_is_not_told_to_be_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("mkfs.f2fs")
    image = empty(tmp_path / "f2fs.raw", 200 * MiB)
    monkeypatch.chdir(tmp_path)  # the superblock has room for short paths only
    run("mkfs.f2fs", "-q", "-c", empty(Path("other"), 300 * MiB), image)
    assert refused(image) == "its F2FS lies on several devices"


@pytest.mark.parametrize("features", ["^resize_inode", "resize_inode", "^resize_inode,meta_bg"])
@pytest.mark.parametrize("boot_code", [b"\xeb\x58\x90EXTLINUX", b""])
def test_files_that_a_boot_loader_finds_by_their_blocks_do_not_move(
    tmp_path: Path, features: str, boot_code: bytes
) -> None:
    image, files = empty(tmp_path / "disk.raw", 200 * MiB), tmp_path / "files"
    files.mkdir()
    for name in ("ldlinux.sys", *map(str, range(60))):
        (files / name).write_bytes(b"x" * 2 * MiB)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-O", features, "-d", files, image)
    with image.open("r+b") as file:
        file.write(boot_code)
    if boot_code and features == "^resize_inode":
        assert "by their blocks" in refused(image)
        assert in_process("plan", image, "+40M", "--json").code == 0
        return
    places = [run("debugfs", "-R", f"blocks /{file.name}", image) for file in files.iterdir()]
    assert in_process("expand", image, "+200M").code == 0
    after = [run("debugfs", "-R", f"blocks /{file.name}", image) for file in files.iterdir()]
    # Without boot code they may move: what the refusal is for.
    assert (places == after) == (features != "^resize_inode")


@pytest.mark.parametrize("words", [[], ["--partition", "1"]])
def test_an_mbr_for_large_sectors_says_which_option_is_missing(
    tmp_path: Path, words: list[str]
) -> None:
    """It would be written with the numbers of other sectors."""
    image, root = empty(tmp_path / "disk.raw", 100 * MiB), empty(tmp_path / "root", 40 * MiB)
    run("mke2fs", "-q", "-F", "-t", "ext4", root)
    script = "o\nn\np\n1\n256\n+10239\nw\n"
    run("fdisk", "-b", "4096", image, stdin=script)
    place_content(root, image, MiB)
    assert "its MBR was made for sectors of 4096 bytes" in refused(image, *words)
    assert in_process("plan", image, "+200M", "--sector-size", "4096", *words).code == 0


def test_a_partition_whose_tags_of_integrity_stand_in_another_does_not_grow(
    tmp_path: Path,
) -> None:
    """As after integritysetup --data-device: the file system is seen without its tags."""
    image, data = empty(tmp_path / "disk.raw", 60 * MiB), empty(tmp_path / "data", 40 * MiB + 512)
    run("mke2fs", "-q", "-F", "-t", "ext4", data)
    script = f"label: gpt\nstart=2048,size=8192\nstart=10240,size={data.stat().st_size // 512}\n"
    run("sfdisk", "-q", "--no-tell-kernel", image, stdin=script)
    place_content(data, image, 10240 * 512)
    assert in_process("plan", image, "+200M").code == 0
    # version, interleaving, size of a tag, journal sections, sectors of data in whole blocks, flags
    block = b"integrt\0" + struct.pack("<BBHIQI", 5, 0, 4, 55, 40 * MiB // 512, 0) + b"\3"
    with image.open("r+b") as file:
        file.seek(MiB)
        file.write(block)
    assert (
        run("blkid", "-p", "-O", str(MiB), "-s", "TYPE", "-o", "value", image) == "DM_integrity\n"
    )
    assert "sda1 has the hashes of all its bytes (DM_integrity)" in refused(image)


def test_an_ext4_that_an_interrupted_e2fsck_has_marked_is_refused(tmp_path: Path) -> None:
    image = empty(tmp_path / "disk.raw", 100 * MiB)
    block_size = 4096
    run(
        "mke2fs", "-q", "-F", "-t", "ext4", "-b", str(block_size), "-O", "mmp,^metadata_csum", image
    )
    assert in_process("plan", image, "+200M").code == 0
    with image.open("r+b") as file:
        file.seek(_SUPERBLOCK + 0x168)
        file.seek(int.from_bytes(file.read(8), "little") * block_size + 4)
        file.write((0xE24D4D50).to_bytes(4, "little"))
    assert "(MMP)" in refused(image)


def test_an_f2fs_whose_sections_resize_f2fs_mixes_up_is_refused(tmp_path: Path) -> None:
    """It grew and was found sound; a kernel stopped writing to it when it cleaned a section."""
    need("mkfs.f2fs")
    image = empty(tmp_path / "disk.raw", 200 * MiB)
    run("mkfs.f2fs", "-q", "-s", "2", image)
    assert "sections of several segments" in refused(image)
