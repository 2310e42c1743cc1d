"""Which subvolumes of a btrfs are systems; what fstab mounts of it, by its path or its number."""

from __future__ import annotations

from typing import cast

import pytest

from growdisk.block.device import BlockDevice
from growdisk.filesystems.btrfs_tree import BtrfsTree
from growdisk.filesystems.content import BtrfsContent
from growdisk.filesystems.file_tree import LARGEST, FileTree, Node, Subvolume
from growdisk.guest_config.etc_tables import Entry
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.guest_systems.file_systems import SeenFileSystem
from growdisk.guest_systems.home_repair import repairs_of
from growdisk.guest_systems.look import Look, _homes, _inner, snapshots_naming
from tests.unit.guest_systems.homes import UUID


class Tree(BtrfsTree):
    """With a subvolume @boot."""

    def __init__(self) -> None:
        pass

    @property
    def default_subvolume(self) -> int:
        return 256

    def subvolumes(self) -> list[Subvolume]:
        return [
            Subvolume(n, path, read_only=False, is_copy=False)
            for n, path in ((5, ""), (256, "@"), (257, "@boot"))
        ]


@pytest.mark.parametrize(
    ("options", "path", "number"),
    [("defaults", "", 256), ("subvol=@boot", "@boot", 257), ("rw,subvolid=257", "@boot", 257),
     ("subvolid=257,subvol=/@boot", "@boot", 257), ("subvolid=5", "/", 5), ("subvolid=0", "/", 5),
     ("subvol=/", "/", 5)],
)  # fmt: skip
def test_a_subvolume_is_known_by_its_path_or_its_number(
    options: str, path: str, number: int
) -> None:
    found = _inner(Tree(), Entry("UUID=1", "/boot", "btrfs", options))
    assert found is not None
    assert (found[0], found[1].number) == (path, Tree().root_of(number))


@pytest.mark.parametrize("options", ["subvol=@other", "subvolid=300"])
def test_a_subvolume_that_there_is_not_is_none(options: str) -> None:
    assert _inner(Tree(), Entry("UUID=1", "/boot", "btrfs", options)) is None


class Files(FileTree):
    """Files by their paths; each folder with a number is a subvolume, the first is the default."""

    block_size = 4096

    def __init__(self, files: dict[str, str], subvolumes: dict[str, int]) -> None:
        self._files, self._numbers = files, subvolumes
        above = {path.rsplit("/", depth)[0] for path in files for depth in range(1, 9)}
        self._paths = sorted({"", *above, *files})

    @property
    def mounted_root(self) -> int:
        return self.root_of(next(iter(self._numbers.values()), 5))

    def subvolumes(self) -> list[Subvolume]:
        named = {"": 5, **self._numbers}
        return [
            Subvolume(number, path.strip("/"), read_only=False, is_copy="copy" in path)
            for path, number in sorted(named.items(), key=lambda one: one[1])
        ]

    def root_of(self, subvolume: int) -> int:
        return self._paths.index(
            next((path for path, number in self._numbers.items() if number == subvolume), "")
        )

    def inode(self, number: int) -> Node:
        text = self._files.get(self._paths[number])
        return Node(number, 0o040755 if text is None else 0o100644, len(text or ""))

    def entries(self, directory: Node) -> dict[str, int]:
        start = f"{self._paths[directory.number]}/"
        return {
            path.removeprefix(start): number
            for number, path in enumerate(self._paths)
            if path.startswith(start) and "/" not in path.removeprefix(start)
        }

    def read(self, inode: Node, limit: int = LARGEST) -> bytes:
        return self._files[self._paths[inode.number]].encode()[:limit]


def seen(files: dict[str, str], subvolumes: dict[str, int]) -> Look:
    node, device = "/dev/sda1", cast(BlockDevice, None)  # nothing is read of it
    found = SeenFileSystem(node, device, BtrfsContent("btrfs"), RemovedPartition(1))
    return Look(tuple(_homes([found], {node: Files(files, subvolumes)}, {})))


def system(top: str, options: str = "defaults") -> dict[str, str]:
    lines = f"LABEL=r / btrfs {options} 0 0\nUUID={UUID} none swap sw 0 0\n"
    return {f"{top}/etc/fstab": lines, f"{top}/usr/x": ""}


@pytest.mark.parametrize(
    ("files", "subvolumes", "roots"),
    [
        (["/@", "/@/var/lib/machines/deb"], {"/@": 256, "/@/var/lib/machines/deb": 257}, ["@"]),
        # @ was made again from a snapshot: what lies in it is older.
        (["/@", "/@/var/a"], {"/@": 300, "/@/var/a": 257}, ["@"]),
        (["", "/var/lib/docker/x"], {"": 5, "/var/lib/docker/x": 256}, ["/"]),
        (["", "/@"], {"": 5, "/@": 256}, ["/", "@"]),
        (["/@", "/@a"], {"/@": 256, "/@a": 257}, ["@", "@a"]),
        (["/@", "/@/.snapshots/1/snapshot"],
            {"/@/.snapshots/1/snapshot": 258, "/@": 256}, ["@", "@/.snapshots/1/snapshot"]),
        (["/@", "/@/copy"], {"/@": 256, "/@/copy": 257}, ["@"]),
    ],
)  # fmt: skip
def test_a_container_in_a_system_is_none(
    files: list[str], subvolumes: dict[str, int], roots: list[str]
) -> None:
    look = seen({k: v for top in files for k, v in system(top).items()}, subvolumes)
    assert [home.root.subvolume for home in look.systems] == roots


def test_a_system_in_another_ones_folder_is_one_if_its_fstab_says_so() -> None:
    files = system("/@") | system("/@/b", "subvol=/@/b")
    look = seen(files, {"/@": 256, "/@/b": 257})
    assert [home.root.subvolume for home in look.systems] == ["@", "@/b"]


def test_of_two_systems_in_a_btrfs_only_the_one_with_the_swap_file_names_it() -> None:
    look = seen(system("/@") | system("/@b"), {"/@": 256, "/@b": 257})
    first, second = repairs_of(look, "/dev/sda1", [(RemovedPartition(2, UUID), SwapRemedy.FILE)])
    assert b"\n/swapfile none swap" in first.pending.contents["/etc/fstab"]
    assert b"/swapfile" not in second.pending.contents["/etc/fstab"]
    assert b"# removed by growdisk: UUID=" in second.pending.contents["/etc/fstab"]


def test_snapshots_whose_fstab_names_the_swap_are_told() -> None:
    files = system("/@") | system("/@/copy1") | {"/@/copy2/etc/fstab": "", "/@/copy2/usr/x": ""}
    look = seen(files, {"/@": 256, "/@/copy1": 257, "/@/copy2": 258, "/@/usr": 259})
    assert snapshots_naming(look, [RemovedPartition(2, UUID)]) == ("@/copy1",)
    assert snapshots_naming(look, [RemovedPartition(2)]) == ()


def test_a_boot_that_two_systems_have_is_changed_once() -> None:
    initrd = f"{'070701'}{'0' * 88}{11:08X}{'0' * 8}TRAILER!!!\0"
    files = {"/@boot/initrd.img-6": initrd, "/@boot/grub/grub.cfg": f"linux resume=UUID={UUID}\n"}
    for top in ("/@", "/@b"):
        files |= {f"{top}/usr/sbin/update-initramfs": "", f"{top}/boot/x": "", f"{top}/usr/x": ""}
        files[f"{top}/etc/fstab"] = "/dev/sda1 /boot btrfs subvol=@boot 0 0\n"
    look = seen(files, {"/@": 256, "/@b": 257, "/@boot": 258})
    found = repairs_of(look, "/dev/sda1", [(RemovedPartition(2, UUID), SwapRemedy.DROP)])
    written = [(sorted(one.pending.contents), sorted(one.pending.prefixes)) for one in found]
    assert written == [(["/boot/grub/grub.cfg"], ["/boot/initrd.img-6"]), ([], [])]
