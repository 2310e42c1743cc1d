"""An EFI system partition is searched wherever it is mounted, by its system's names."""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.guest_config.removed_partition import RemovedPartition, SwapRemedy
from growdisk.guest_systems.home_repair import obstacles, repairs_of
from growdisk.guest_systems.look import find_homes
from growdisk.units import MiB
from tests.guests.tools import run
from tests.unit.guest_systems.homes import ESP, FSTAB, SWAP, UUID, disk, repairs, written

EMPTY_ARCHIVE = f"{'070701'}{'0' * 88}{11:08X}{'0' * 8}TRAILER!!!\0"
LUKS = "aaaaaaaa-2222-3333-4444-555555555555"
ENTRY, UNIFIED = "/loader/entries/a.conf", "/EFI/Linux/x.conf"


@pytest.mark.parametrize(
    "place", ["/efi", "/boot/efi", "/esp", "/efi2", "/boot/EFI", "/boot/esp", "/mnt/esp"]
)
def test_an_efi_partition_is_searched_wherever_it_is_mounted(tmp_path: Path, place: str) -> None:
    root = {"/etc/fstab": f"{FSTAB}UUID={ESP} {place} vfat defaults 0 2\n", f"{place}/.keep": ""}
    image = disk(tmp_path, root, {ENTRY: f"options root=x resume=UUID={UUID} quiet\n"})
    with repairs(image) as found:
        (text,) = written(found).values()
    assert text == "options root=x quiet\n"


@pytest.mark.parametrize(
    "entry", ["resume=/dev/mapper/cs", "resume=/dev/disk/by-id/ata-MINE-part3"]
)
def test_an_efi_partition_by_itself_knows_what_its_systems_files_tell(
    tmp_path: Path, entry: str
) -> None:
    root = {
        "/etc/fstab": "/dev/disk/by-id/ata-MINE-part2 / ext4 defaults 0 1\n",
        "/etc/crypttab": "cs /dev/sda3 none\n",
    }
    with repairs(disk(tmp_path, root, {ENTRY: f"options root=x {entry} quiet\n"})) as found:
        assert written(found)[ENTRY] == "options root=x quiet\n"


def test_a_system_knows_what_its_efi_partitions_options_open(tmp_path: Path) -> None:
    line = "/dev/mapper/cs none swap sw 0 0\n"
    image = disk(
        tmp_path, {"/etc/fstab": FSTAB + line}, {ENTRY: f"options root=x rd.luks.name={UUID}=cs\n"}
    )
    with repairs(image) as found:
        assert written(found) == {
            "/etc/fstab": f"{FSTAB}# removed by growdisk: {line}",
            ENTRY: "options root=x\n",
        }


def test_the_same_partition_of_some_disk_is_left_and_said_on_an_efi_partition(
    tmp_path: Path,
) -> None:
    image = disk(
        tmp_path, {"/etc/fstab": FSTAB}, {ENTRY: "options resume=/dev/disk/by-id/ata-X-part3\n"}
    )
    with repairs(image) as found:
        assert written(found) == {}
        assert [(change.path, change.waits) for one in found for change in one.changes] == [
            (ENTRY, True)
        ]


@pytest.mark.parametrize(
    "path", ["/cmdline.txt", "/uEnv.txt", "/syslinux.cfg", "/limine.conf", "/EFI/x/grub.cfg"]
)
def test_a_boot_partition_that_fstab_does_not_have_is_known_by_what_lies_in_it(
    tmp_path: Path, path: str
) -> None:
    with repairs(
        disk(tmp_path, {"/etc/fstab": FSTAB}, {path: f"root=x resume=UUID={UUID} quiet\n"})
    ) as found:
        assert [*written(found).values()] == ["root=x quiet\n"]


@pytest.mark.parametrize("spare", [0, 64])
def test_an_initrd_on_a_full_boot_partition_is_left_and_said(tmp_path: Path, spare: int) -> None:
    root = {"/etc/fstab": FSTAB + "/dev/sda1 /boot ext4 defaults 0 2\n", "/boot/.keep": ""}
    image = disk(tmp_path, root | {"/usr/sbin/update-initramfs": ""}, {"/x": ""})
    tree, filling = tmp_path / "boot", tmp_path / "filling"
    tree.mkdir()
    (tree / "initrd.img-6").write_text(EMPTY_ARCHIVE)
    options = ("-t", "ext4", "-b", "1024", "-m", "0", "-d", tree, "-E", f"offset={MiB}")
    run("mke2fs", "-q", "-F", *options, image, "8192k")
    head = run("dumpe2fs", "-h", f"{image}?offset={MiB}")
    free = int(head.partition("\nFree blocks:")[2].split()[0])
    filling.write_bytes(b"x" * 1024 * (free - spare - 2))
    run("debugfs", "-w", "-R", f"write {filling} filling", f"{image}?offset={MiB}")
    with repairs(image) as found:
        (change,) = (change for one in found for change in one.changes)
    is_full = not spare
    assert (change.path, change.mended, change.waits) == ("/boot/initrd.img-6", spare > 0, is_full)


@pytest.mark.parametrize("is_full", [False, True])
def test_an_initrd_on_a_full_efi_partition_is_left_and_said(tmp_path: Path, is_full: bool) -> None:
    initrd = "/debian/6/initrd.img-6"
    image = disk(
        tmp_path,
        {"/etc/fstab": FSTAB, "/usr/sbin/update-initramfs": ""},
        {initrd: EMPTY_ARCHIVE, "/EFI/x": ""},
    )
    filling = tmp_path / "filling"
    for size in (1 << 20, 1 << 16, 512) if is_full else ():
        filling.write_bytes(bytes(size))
        for number in range(1000):
            target = f"::/{size}-{number}"
            if subprocess.run(
                ["mcopy", "-i", f"{image}@@{MiB}", filling, target], capture_output=True
            ).returncode:
                break
    with repairs(image) as found:
        (change,) = (change for one in found for change in one.changes)
        assert (change.path, change.mended, change.waits) == (initrd, not is_full, is_full)
        assert [path for one in found for path in one.pending.paths] == (
            [] if is_full else [initrd]
        )


@pytest.mark.parametrize(
    ("files", "is_said"),
    [
        ({}, True),
        ({"/etc/crypttab": f"data UUID={LUKS} none luks\n"}, False),
        ({"/etc/fstab": f"{FSTAB}/dev/sda1 /data xfs defaults 0 0\n"}, False),
        ({"/etc/conf.d/dmcrypt": f"target=data\nsource=UUID='{LUKS}'\n"}, False),
    ],
)
def test_what_no_system_opens_may_hold_another_system(
    tmp_path: Path, files: dict[str, str], is_said: bool
) -> None:
    image, container = disk(tmp_path, {"/etc/fstab": FSTAB} | files, {"x": ""}), tmp_path / "luks"
    container.write_bytes(bytes(8 * MiB))
    options = ["--type", "luks1", "--pbkdf-force-iterations", "1000", "--uuid", LUKS]
    run("cryptsetup", "-q", "luksFormat", *options, container, stdin="secret")
    with image.open("r+b") as file:
        file.seek(MiB)
        file.write(container.read_bytes())
    with closing(RawFile.open(image)) as device:
        look = find_homes(device, image)
        found = obstacles(look, repairs_of(look, "/dev/sda2", [(SWAP, SwapRemedy.DROP)]))
        # What is deleted as well needs no word.
        deleted = repairs_of(
            look, "/dev/sda2", [(RemovedPartition(1, is_swap=False), SwapRemedy.DROP)]
        )
        assert obstacles(look, deleted) == []
    assert found == is_said * [
        "sda1 may hold another system, and cannot be searched: it is encrypted, and no key that "
        "was given opens it"
    ]
