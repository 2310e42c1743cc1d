"""A guest as Red Hat's installer lays it out:
UEFI, /boot on XFS, root (XFS) and swap as logical volumes.

    sda1 EFI system, sda2 /boot, sda3 physical volume of the group rhel: root, swap

The kernel's options are `kernelopts` of GRUB's environment block, as on RHEL 8. Debian's GRUB does
not read loader entries, so that a menu stands beside the one that is there, and uses the same
variable.
"""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path

from growdisk.units import MiB
from tests.guests.appliance import bench, device
from tests.guests.cache import cached, recipe_hash
from tests.guests.classic import KERNEL_OPTIONS
from tests.guests.content import Entry, directory, odd_files, text, write_tar
from tests.guests.family_disks import DISK_SIZE, _joined, _without_boot
from tests.guests.family_systems import SYSTEMS
from tests.guests.family_trees import Tree, tree_of
from tests.guests.tools import run

_ESP_ID = "5EDCA7A7"
_BOOT_UUID = "5edca7a7-41d8-4b0e-9d35-0f2b8c7e5a03"
_MACHINE = "0123456789abcdef0123456789abcdef"
_OPTIONS = (
    "root=/dev/mapper/rhel-root ro resume=/dev/mapper/rhel-swap rd.lvm.lv=rhel/root "
    "rd.lvm.lv=rhel/swap "
) + KERNEL_OPTIONS
_FSTAB = (
    f"/dev/mapper/rhel-root / xfs defaults 0 0\nUUID={_BOOT_UUID} /boot xfs defaults 0 0\n"
    f"UUID={_ESP_ID[:4]}-{_ESP_ID[4:]} /boot/efi vfat umask=0077 0 2\n/dev/mapper/rhel-swap none "
    "swap defaults 0 0\n"
)
_TABLE = (
    f"label: gpt\nstart=2048, size={200 * 2048}, type=U\nstart={201 * 2048}, size={320 * 2048}, "
    "type=L\n"
    f"start={521 * 2048}, size={DISK_SIZE // 512 - 522 * 2048}, type=V\n"
)


def red_hat_guest() -> Path:
    """A qcow2, read-only; built when needed (a minute, and the tree once)."""
    names = ("red_hat", "family_disks", "family_trees", "classic", "content", "appliance")
    sources = [Path(__file__).with_name(f"{name}.py") for name in names]
    recipe = recipe_hash(
        [*sources, *(Path(__file__).parent / "inside").iterdir()], repr(SYSTEMS["rhel"])
    )[:20]
    return cached(f"red-hat-{recipe}", _build) / "guest.qcow2"


def _build(folder: Path) -> None:
    tree = tree_of("rhel")
    with tempfile.TemporaryDirectory(prefix="growdisk-red-hat-", dir="/var/tmp") as scratch:
        work = Path(scratch)
        disk = work / "disk.raw"
        with disk.open("wb") as file:
            file.truncate(DISK_SIZE)
        run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", disk, stdin=_TABLE)
        _fill_esp(work, disk, tree)
        root, boot = _without_boot(tree, work)
        own = [
            text("etc/fstab", _FSTAB),
            *odd_files(crowd=20),
            directory("boot"),
            directory("boot/efi", 0o700),
        ]
        _joined([root, write_tar(work / "own.tar", own)], work / "whole.tar")
        _joined([boot, write_tar(work / "menu.tar", _in_boot(tree))], work / "whole-boot.tar")
        with bench([disk]) as appliance:
            physical, place = device(disk, 3), device(disk, 2)
            appliance.run(
                f"mkfs.xfs -q -f -m uuid={_BOOT_UUID},bigtime=0,inobtcount=0 {place}; lvm "
                f"pvcreate {physical}\n"
                f"lvm vgcreate rhel {physical}; lvm lvcreate -y -n swap -L 128M rhel; mkswap "
                "/dev/rhel/swap\n"
                "lvm lvcreate -y -n root -l 100%FREE rhel; mkfs.xfs -q -f /dev/rhel/root; mkdir "
                "-p /sysroot"
            )
            for source, tar in (("/dev/rhel/root", "whole.tar"), (place, "whole-boot.tar")):
                appliance.handle.mount(source, "/")
                appliance.handle.tar_in(str(work / tar), "/", xattrs=True)
                appliance.handle.umount_all()
            appliance.run("lvm vgchange -an rhel")
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, folder / "guest.qcow2")
    (folder / "guest.qcow2").chmod(0o444)


def _in_boot(tree: Tree) -> list[Entry]:
    with tarfile.open(tree.tar) as tar:
        release = next(n for n in tar.getnames() if n.startswith("./boot/vmlinuz-")).removeprefix(
            "./boot/vmlinuz-"
        )
    kernel, initrd = f"/vmlinuz-{release}", f"/initramfs-{release}.img"
    menu = (
        f"set timeout=0\nload_env\nmenuentry Debian {{\nlinux {kernel} $kernelopts\ninitrd "
        f"{initrd}\n}}\n"
    )
    entry = (
        f"title Debian\nversion {release}\nlinux {kernel}\ninitrd {initrd}\noptions $kernelopts\n"
    )
    block = f"# GRUB Environment Block\nkernelopts={_OPTIONS}\n".ljust(1024, "#")
    return [
        directory("efi"),
        directory("grub2"),
        text("grub2/grub.cfg", menu),
        text("grub2/grubenv", block),
        directory("loader"),
        directory("loader/entries"),
        text(f"loader/entries/{_MACHINE}-{release}.conf", entry),
    ]


def _fill_esp(work: Path, disk: Path, tree: Tree) -> None:
    esp, loader = work / "esp", work / "loader"
    with esp.open("wb") as file:
        file.truncate(200 * MiB)
    loader.write_bytes(tree.member("./boot/grub.efi"))
    run("mkfs.fat", "-F", "32", "-i", _ESP_ID, esp)
    run("mmd", "-i", esp, "::/EFI", "::/EFI/BOOT")
    run("mcopy", "-i", esp, loader, "::/EFI/BOOT/BOOTX64.EFI")
    run("dd", f"if={esp}", f"of={disk}", "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")
