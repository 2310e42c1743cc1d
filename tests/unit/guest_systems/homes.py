"""Disks with a root and an EFI system partition: what is found on them, what is to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from growdisk.block.raw import RawFile
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.guest_systems.home_repair import HomeRepair, repairs_of
from growdisk.guest_systems.look import find_homes
from growdisk.units import MiB
from tests.guests.tools import run

ROOT, ESP = "11111111-2222-3333-4444-555555555555", "1234-ABCD"
UUID = "6f0d8c2b-4a1e-4d7b-9c35-8e2f1a0b7d64"
SWAP = RemovedPartition(number=3, uuid=UUID)
FSTAB = f"UUID={ROOT} / ext4 defaults 0 1\n"


def disk(folder: Path, root: dict[str, str], esp: dict[str, str]) -> Path:
    """GPT: 1 FAT, 2 ext4; of the swap that was in 3 nothing is left."""
    image = folder / "disk.raw"
    with image.open("wb") as file:
        file.truncate(32 * MiB)
    table = "label: gpt\n1: start=2048, size=8M, type=uefi\n2: start=18432, size=16M, type=linux\n"
    run("sfdisk", "-q", "--no-reread", image, stdin=table)
    run("mkfs.vfat", "-i", ESP.replace("-", ""), "--offset=2048", image, "8192")
    for name, files in {"root": root | {"/etc/hostname": "x\n", "/usr/x": ""}, "esp": esp}.items():
        for path, content in files.items():
            place = folder / name / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content)
    run("mcopy", "-s", "-i", f"{image}@@{MiB}", *sorted((folder / "esp").iterdir()), "::/")
    offset = f"offset={9 * MiB}"
    run(
        "mke2fs", "-q", "-F", "-t", "ext4", "-U", ROOT, "-d", folder / "root", "-E", offset, image,
        "16384k",
    )  # fmt: skip
    return image


@contextmanager
def repairs(image: Path, gone: RemovedPartition = SWAP) -> Iterator[list[HomeRepair]]:
    with closing(RawFile.open(image)) as device:
        look = find_homes(device, image)
        yield repairs_of(look, "/dev/sda2", [(gone, SwapRemedy.DROP)])


def written(found: list[HomeRepair]) -> dict[str, str]:
    """What each file will have in it."""
    return {
        path: content.decode() for one in found for path, content in one.pending.contents.items()
    }
