"""Small file systems that would keep a careless reader busy for ever, or take all memory."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.filesystems.btrfs_tree import BtrfsTree
from growdisk.filesystems.fat_tree import FatTree
from growdisk.filesystems.file_tree import FileTree, Unknown
from growdisk.filesystems.identify import identify
from growdisk.filesystems.ntfs_files import Attribute, FileRecord, MasterFileTable, NtfsDamaged
from growdisk.filesystems.xfs_tree import XfsTree

KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30
NODE = 4096
TREES = MiB  # where the nodes of the crafted btrfs lie


@pytest.fixture
def image(tmp_path: Path) -> Iterator[RawFile]:
    with closing(RawFile.create(tmp_path / "disk.img", 256 * MiB)) as device:
        yield device


def btrfs(device: RawFile, level: int) -> None:
    """A superblock whose trees both begin at TREES, `level` high; all addresses are physical."""
    chunk = struct.pack("<QBQ", 256, 228, 0)
    chunk += struct.pack("<Q16xQ12xHH", device.size, 2, 1, 0) + struct.pack("<QQ16x", 1, 0)
    head = bytearray(4096)
    struct.pack_into(
        "<64x8s8xQQ52xI8xI34xBBxQ", head, 0,
        b"_BHRfS_M", TREES, TREES, NODE, len(chunk), level, level, 1,
    )  # fmt: skip
    head[0x32B : 0x32B + len(chunk)] = chunk
    device.write(64 * KiB, bytes(head))


def node(device: RawFile, number: int, level: int, rows: list[bytes], data: bytes = b"") -> None:
    place = TREES + number * NODE
    raw = struct.pack("<48xQ40xIB", place, len(rows), level) + b"".join(rows)
    device.write(place, raw.ljust(NODE - len(data), b"\0") + data)


def test_a_btrfs_tree_of_which_all_pointers_lead_to_the_same_node_is_damaged(
    image: RawFile,
) -> None:
    btrfs(image, 7)
    for level in range(8):
        child = TREES + (8 - level) * NODE
        pointers = [struct.pack("<QBQQ8x", n, 0, 0, child) for n in range(100)]
        node(image, 7 - level, level, pointers if level else [])
    with pytest.raises(Unknown, match="damaged"):
        BtrfsTree(image)


def test_a_btrfs_item_that_is_too_short_is_damaged_and_not_a_bug_of_ours(image: RawFile) -> None:
    """Each kind of item that is read, with one byte of data."""
    btrfs(image, 0)
    keys = [(6, 84, 0), (256, 132, 0), (256, 144, 5), (257, 1, 0)]
    rows = [struct.pack("<QBQII", *key, NODE - 101 - 1, 1) for key in keys]
    node(image, 0, 0, rows, b"x")
    tree = BtrfsTree(image)
    for look in (tree.subvolumes, lambda: tree.inode(256 << 64 | 257)):
        with pytest.raises(Unknown, match="too short"):
            look()


def test_an_xfs_extent_tree_of_which_all_pointers_lead_to_the_same_block_is_damaged(
    image: RawFile,
) -> None:
    head = struct.pack(
        ">4sI48xQ20xI12xH2xH17xBB67xB7xI", b"XFSB", 4096, 64, 1 << 16, 4, 256, 4, 16, 0, 0
    )
    image.write(0, head)
    # Inode 64 lies in block 4: a file of 1 GiB by a tree of nine levels.
    fork = struct.pack(">HH", 9, 9).ljust(4 + 9 * 8, b"\0") + struct.pack(">Q", 10) * 9
    core = struct.pack(">2sHBB18xQ24xQ12xIHB", b"IN", 0o100644, 2, 3, 0, GiB, 1, 0, 0)
    image.write(4 * 4096, core.ljust(100, b"\0") + fork)
    for level in range(8, -1, -1):
        block = 10 + (8 - level)
        pointers = struct.pack(">Q", block + 1) * 250
        body = pointers if level else bytes(4000)
        at = 24 + (4096 - 24) // 16 * 8 if level else 24
        raw = struct.pack(">4sHH", b"BMAP", level, 250 if level else 0).ljust(at, b"\0") + body
        image.write(block * 4096, raw[:4096].ljust(4096, b"\0"))
    tree = XfsTree(image)
    with pytest.raises(Unknown, match="loop"):
        tree.read(tree.inode(64))


def test_a_directory_that_says_it_has_gigabytes_is_not_read(image: RawFile) -> None:
    head = struct.pack(
        ">4sI48xQ20xI12xH2xH17xBB67xB7xI", b"XFSB", 4096, 64, 1 << 16, 4, 256, 4, 16, 0, 0
    )
    image.write(0, head)
    core = struct.pack(">2sHBB18xQ24xQ12xIHB", b"IN", 0o040755, 2, 2, 0, 32 * GiB, 0, 0, 0)
    image.write(4 * 4096, core)
    tree = XfsTree(image)
    with pytest.raises(Unknown, match="larger than"):
        tree.entries(tree.inode(tree.root))


@pytest.mark.parametrize("kind", ["12", "32"])
def test_a_fat_is_read_as_far_as_there_are_clusters(tmp_path: Path, kind: str) -> None:
    """One that says to be larger by far, on a disk that has the bytes."""
    path = tmp_path / "fat.img"
    path.touch()
    size = 2 * MiB if kind == "12" else 300 * MiB
    subprocess.run(["truncate", "-s", str(size), path], check=True)
    subprocess.run(["mkfs.fat", "-F", kind, "-s", "8", path], check=True, capture_output=True)
    with path.open("r+b") as file:
        if kind == "12":  # 256 MiB a FAT, and as few clusters as before
            file.seek(11)
            head = bytearray(file.read(13))
            struct.pack_into("<HB", head, 0, 4096, 1)
            struct.pack_into("<H", head, 11, 65535)
            file.seek(11)
            file.write(head)
            file.seek(19)
            file.write(b"\0\0")
            file.seek(32)
            file.write(struct.pack("<I", 2 * 65535 + 3000))
        else:  # 2^32 sectors of 512 bytes: clusters for a FAT of 2 GiB
            file.seek(13)
            file.write(b"\1")
            file.seek(32)
            file.write(struct.pack("<II", 0xFFFFFFFF, 1 << 22))
        file.truncate(1 << 41)
    read: list[int] = []

    class Watched(RawFile):
        def read(self, offset: int, length: int) -> bytes:
            read.append(length)
            return super().read(offset, length)

    with closing(Watched.open(path)) as device:
        if kind == "12":
            identify(device)
        else:
            with pytest.raises(Unknown, match="FAT has"):
                FatTree(device)
    assert max(read) < MiB


def test_an_ntfs_folder_of_which_all_runs_are_the_same_is_damaged(image: RawFile) -> None:
    """A record of 64 KiB has room for some ten thousand runs of 16 MiB each."""
    runs = b"\x11\xff\x01" + b"\x11\xff\x00" * 20_000 + b"\0"
    index = struct.pack("<IIB", 0xA0, 0x48 + len(runs), 1) + bytes(64)
    raw = bytearray(index[:0x48] + runs)
    raw[9], raw[10:12] = 4, (0x40).to_bytes(2, "little")
    raw[0x20:0x22] = (0x48).to_bytes(2, "little")
    raw[0x40:0x48] = "$I30".encode("utf-16-le")
    root = bytearray(0x60)
    root[0:9] = struct.pack("<IIB", 0x90, 0x60, 0)
    root[9], root[10:12] = 4, (0x18).to_bytes(2, "little")
    root[0x10:0x16] = struct.pack("<IH", 0x20, 0x20)
    root[0x18:0x20] = "$I30".encode("utf-16-le")
    root[0x28:0x2C] = (4096).to_bytes(4, "little")
    root[0x30:0x38] = struct.pack("<II", 16, 16)
    folder = FileRecord((Attribute(0x90, bytes(root)), Attribute(0xA0, bytes(raw))))
    table = MasterFileTable(image, 64 * KiB, 0, 1024)
    with pytest.raises(NtfsDamaged, match="again and again"):
        table.find(folder, "hiberfil.sys")


def test_an_ntfs_entry_without_room_for_its_name_is_damaged_and_not_a_bug_of_ours(
    image: RawFile,
) -> None:
    root = bytearray(0x40)
    root[0:9] = struct.pack("<IIB", 0x90, 0x40, 0)
    root[9], root[10:12] = 4, (0x18).to_bytes(2, "little")
    root[0x10:0x16] = struct.pack("<IH", 0x20, 0x20)
    root[0x18:0x20] = "$I30".encode("utf-16-le")
    root[0x30:0x40] = struct.pack("<IIQ", 0, 0x10, 5)  # an entry from the node's start on
    root[0x38:0x40] = struct.pack("<HHHH", 0x10, 0, 0, 0)
    table = MasterFileTable(image, 4096, 0, 1024)
    with pytest.raises(NtfsDamaged):
        table.find(FileRecord((Attribute(0x90, bytes(root)),)), "hiberfil.sys")


@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_what_mkfs_makes_of_many_files_is_read_whole(tmp_path: Path, kind: str) -> None:
    """Two thousand names, and a file of many extents: trees of several levels."""
    tree, path = tmp_path / "tree", tmp_path / "disk.img"
    (tree / "etc").mkdir(parents=True)
    names = {f"a-rather-long-name-of-a-file-{number:05}" for number in range(2000)}
    for name in names:
        (tree / "etc" / name).write_text(name)
    (tree / "etc" / "large").write_bytes(bytes(range(256)) * 4096)
    subprocess.run(["truncate", "-s", "320M", path], check=True)
    if kind == "btrfs":
        words = ["mkfs.btrfs", "-q", "--rootdir", tree, path]
    else:
        files = "".join(f"{name} ---644 0 0 {tree}/etc/{name}\n" for name in sorted(names))
        large = f"large ---644 0 0 {tree}/etc/large\n"
        proto = tmp_path / "proto"
        proto.write_text(f"/\n0 0\nd--755 0 0\netc d--755 0 0\n{files}{large}$\n$\n")
        words = ["mkfs.xfs", "-q", "-p", proto, path]
    subprocess.run(words, check=True, capture_output=True)
    with closing(RawFile.open(path)) as device:
        reader: FileTree = BtrfsTree(device) if kind == "btrfs" else XfsTree(device)
        etc = reader.inode(reader.entries(reader.inode(reader.mounted_root))["etc"])
        found = reader.entries(etc)
        assert set(found) == names | {"large"}
        assert all(reader.read(reader.inode(found[name])) == name.encode() for name in names)
        assert reader.read(reader.inode(found["large"])) == bytes(range(256)) * 4096
