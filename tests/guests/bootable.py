"""Debian guests that start from other layouts than the classic one.

One system tree serves them all.

    gpt        GPT: 1 BIOS boot, 2 root, last on the disk
    cloud      GPT: 14 BIOS boot, 15 EFI system, and 1 root last, as cloud images have it; starts by BIOS and by UEFI
    lvm        MBR: sda1 /boot, sda2 extended, sda5 physical volume: root and swap_1, as Debian's installer does
    luks       MBR: sda1 /boot, sda2 LUKS2 with the root file system
    cryptlvm   MBR: sda1 /boot, sda2 extended, sda5 LUKS2, in it a volume group: Debian's encrypted installation

GRUB's parts are put where grub-install puts them. On a GPT its core.img lies in the BIOS boot
partition, whose place both the boot sector and core.img's own first sector have to be told.
"""  # noqa: E501

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from growdisk.units import ByteRange, GiB, MiB
from tests.guests.appliance import bench, device
from tests.guests.cache import cached, recipe_hash
from tests.guests.classic import KERNEL_OPTIONS, PACKAGES, SUITE, _own_files
from tests.guests.content import Entry, directory, odd_files, text, write_tar
from tests.guests.ext4 import make_ext4
from tests.guests.tools import run

PHRASE = b"open, sesame"
DISK_SIZE = 2 * GiB
_BOOT_SIZE = 160 * MiB
_ROOT_SIZE = 1200 * MiB  # of the file system that is copied into volumes and containers
_ROOT_UUID = "7d1b6c0a-0c55-4f3e-9a41-b54d0a7c1e01"
_BOOT_UUID = "7d1b6c0a-0c55-4f3e-9a41-b54d0a7c1e02"
_LUKS_UUID = "7d1b6c0a-0c55-4f3e-9a41-b54d0a7c1e03"
_SECTOR = 512
_MIB_SECTORS = MiB // _SECTOR
_LAST = DISK_SIZE // _SECTOR - _MIB_SECTORS
_EXTENDED = (1 + 160) * _MIB_SECTORS

_GPT = {
    "gpt": f"1: start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, name=bios\n"
    f"2: start=4096, size={_LAST - 4096}, type=L, name=größe\n",
    "cloud": f"1: start={128 * _MIB_SECTORS}, size={_LAST - 128 * _MIB_SECTORS}, type=L\n"
    "14: start=2048, size=8192, type=21686148-6449-6E6F-744E-656564454649\n"
    f"15: start=10240, size={122 * _MIB_SECTORS}, type=U\n",
}
_MBR = {
    "lvm": f"2: start={_EXTENDED}, size={_LAST - _EXTENDED}, type=5\n"
    f"5: start={_EXTENDED + 2048}, size={_LAST - _EXTENDED - 2048}, type=8e\n",
    "luks": f"2: start={_EXTENDED}, size={_LAST - _EXTENDED}, type=83\n",
    "cryptlvm": f"2: start={_EXTENDED}, size={_LAST - _EXTENDED}, type=5\n"
    f"5: start={_EXTENDED + 2048}, size={_LAST - _EXTENDED - 2048}, type=83\n",
}
_CRYPT = f"cryptopts=target=cryptroot,source=UUID={_LUKS_UUID},luks"
_ROOTS = {
    "lvm": "root=/dev/mapper/guest--vg-root",
    "luks": f"root=/dev/mapper/cryptroot {_CRYPT}",
    "cryptlvm": f"root=/dev/mapper/crypt--vg-root {_CRYPT}",
}
# core.img for each way to find /boot/grub, and one for UEFI with all that it needs inside.
_CORES = """
set -eu
cd /boot/grub/i386-pc
grub-mkimage -O i386-pc -o core-gpt.img -p '(,gpt2)/boot/grub' biosdisk part_gpt ext2
grub-mkimage -O i386-pc -o core-cloud.img -p '(,gpt1)/boot/grub' biosdisk part_gpt ext2
grub-mkimage -O i386-pc -o core-mbr.img -p '(,msdos1)/grub' biosdisk part_msdos ext2
grub-mkimage -O x86_64-efi -o core.efi -p '(,gpt1)/boot/grub' \\
    part_gpt ext2 fat normal configfile linux search search_fs_uuid echo test
sed -i 's/^CRYPTSETUP=.*//' /etc/cryptsetup-initramfs/conf-hook
echo CRYPTSETUP=y >>/etc/cryptsetup-initramfs/conf-hook
update-initramfs -u
"""


@dataclass(frozen=True)
class _Tree:
    """The system in its parts: all of it; without /boot; and what is in /boot."""

    whole: Path
    root: Path
    boot: Path

    def member(self, path: str) -> bytes:
        with tarfile.open(self.whole) as tar:
            file = tar.extractfile(path)
            assert file is not None
            return file.read()

    def kernel(self) -> str:
        with tarfile.open(self.whole) as tar:
            names = [name for name in tar.getnames() if name.startswith("./boot/vmlinuz-")]
        return names[0].removeprefix("./boot/vmlinuz-")


def bootable_guests() -> Path:
    """The folder with NAME.qcow2 of each, read-only; built when needed (4 minutes)."""
    sources = [
        Path(__file__).with_name(f"{name}.py")
        for name in ("bootable", "classic", "content", "ext4", "appliance")
    ]
    inside = Path(__file__).parent / "inside"
    return cached(f"bootable-{recipe_hash([*sources, *inside.iterdir()])[:20]}", _build)


def _build(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="growdisk-bootable-", dir="/var/tmp") as scratch:
        work = Path(scratch)
        tree = _debootstrap(work)
        disks = [
            *(_flat(work, tree, name) for name in _GPT),
            *(_layered(work, tree, name) for name in _MBR),
        ]
        _fill(work, tree, [disk for disk in disks if disk.stem in _MBR])
        for disk in disks:
            image = folder / f"{disk.stem}.qcow2"
            run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, image)
            image.chmod(0o444)


def _debootstrap(work: Path) -> _Tree:
    own = write_tar(work / "own.tar", [*_own_files("no key\n")])
    tree = _Tree(work / "tree.tar", work / "root.tar", work / "boot.tar")
    packages = [*PACKAGES, "lvm2", "cryptsetup-initramfs", "grub-efi-amd64-bin"]
    (work / "cores.sh").write_text(_CORES)
    conf = "$1/etc/initramfs-tools/conf.d"
    run(
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--dpkgopt=force-unsafe-io",
        f"--include={','.join(packages)}",
        f'--essential-hook=mkdir -p "{conf}" && echo RESUME=none >"{conf}/resume"',
        f"--customize-hook=tar-in {own} /",
        '--customize-hook=chroot "$1" systemctl --quiet enable boot-report.service '
        "serial-getty@ttyS0.service",
        f'--customize-hook=chroot "$1" /usr/local/lib/offline-grub.sh {_ROOT_UUID}',
        f"--customize-hook=copy-in {work / 'cores.sh'} /tmp",
        '--customize-hook=chroot "$1" sh /tmp/cores.sh',
        SUITE,
        tree.whole,
    )
    with (
        tarfile.open(tree.whole) as whole,
        tarfile.open(tree.root, "w") as root,
        tarfile.open(tree.boot, "w") as boot,
    ):
        for member in whole:
            target, data = root, whole.extractfile(member) if member.isreg() else None
            if member.name.startswith("./boot/"):
                target, member.name = boot, "./" + member.name.removeprefix("./boot/")
                if member.islnk():
                    member.linkname = "./" + member.linkname.removeprefix("./boot/")
            target.addfile(member, data)
    return tree


# --- GPT, with the root file system right in a partition ----------------------------------------


def _flat(work: Path, tree: _Tree, name: str) -> Path:
    disk = _blank(work, name)
    _boot_code(disk, tree, f"core-{name}.img", 2048, with_table=True)
    run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", disk, stdin=f"label: gpt\n{_GPT[name]}")
    start = (128 if name == "cloud" else 2) * MiB
    own = [
        text("etc/fstab", f"UUID={_ROOT_UUID} / ext4 errors=remount-ro 0 1\n"),
        _menu(tree, "/boot", _ROOT_UUID),
    ]
    parts = [
        tree.whole,
        write_tar(work / "own.tar", own),
        write_tar(work / "odd.tar", odd_files(crowd=100)),
    ]
    make_ext4(disk, ByteRange(start, _LAST * _SECTOR), parts, uuid=_ROOT_UUID)
    if name == "cloud":
        _efi_system(work, disk, tree)
    return disk


def _efi_system(work: Path, disk: Path, tree: _Tree) -> None:
    """The fallback path, which a firmware without boot entries takes."""
    esp, loader = work / "esp", work / "loader"
    with esp.open("wb") as file:
        file.truncate(122 * MiB)
    loader.write_bytes(tree.member("./boot/grub/i386-pc/core.efi"))
    run("mkfs.fat", "-F", "32", "-n", "UEFI", esp)
    run("mmd", "-i", esp, "::/EFI", "::/EFI/BOOT")
    run("mcopy", "-i", esp, loader, "::/EFI/BOOT/BOOTX64.EFI")
    run("dd", f"if={esp}", f"of={disk}", "bs=1M", "seek=5", "conv=notrunc,sparse", "status=none")


# --- /boot apart, and the root file system further in -------------------------------------------


def _layered(work: Path, tree: _Tree, name: str) -> Path:
    disk = _blank(work, name)
    _boot_code(disk, tree, "core-mbr.img", 1, with_table=False)
    script = (
        f"label: dos\nlabel-id: 0x0b007ab1\n1: start=2048, size={_BOOT_SIZE // _SECTOR}, "
        "type=83, bootable\n"
    )
    run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", disk, stdin=script + _MBR[name])
    menu = write_tar(
        work / "menu.tar", [_menu(tree, "", _BOOT_UUID, _ROOTS[name], "grub/grub.cfg")]
    )
    make_ext4(disk, ByteRange(MiB, MiB + _BOOT_SIZE), [tree.boot, menu], uuid=_BOOT_UUID)
    return disk


def _fill(work: Path, tree: _Tree, disks: Sequence[Path]) -> None:
    root = work / "root.raw"
    with root.open("wb") as file:
        file.truncate(_ROOT_SIZE)
    boot = write_tar(work / "boot-folder.tar", [directory("boot")])
    make_ext4(root, ByteRange(0, _ROOT_SIZE), [tree.root, boot, work / "odd.tar"], uuid=_ROOT_UUID)
    key = work / "key"
    key.write_bytes(PHRASE)
    for name, start in (("luks", _EXTENDED), ("cryptlvm", _EXTENDED + 2048)):
        _format(work / f"{name}.raw", key, start)
    with bench([*disks, root]) as appliance:
        given = appliance.give(PHRASE)
        for name, number in (("luks", 2), ("cryptlvm", 5)):
            appliance.run(f"cryptsetup open --key-file {given} {device(name, number)} {name}")
        for name, group, place in (
            ("lvm", "guest", device("lvm", 5)),
            ("cryptlvm", "crypt", "/dev/mapper/cryptlvm"),
        ):
            vg = f"{group}-vg"
            appliance.run(
                f"lvm pvcreate {place}; lvm vgcreate {vg} {place}; lvm lvcreate -y -n root -L "
                f"1200M {vg}\n"
                f"lvm lvcreate -y -n swap_1 -L 64M {vg}; mkswap /dev/{vg}/swap_1\n"
                + _copied(
                    f"/dev/{vg}/root", f"/dev/mapper/{group}--vg-", crypt=name != "lvm", swap=True
                )
                + f"\nlvm vgchange -an {vg}"
            )
            if name == "cryptlvm":
                appliance.run("cryptsetup close cryptlvm")
        appliance.run(
            _copied("/dev/mapper/luks", "/dev/mapper/crypt", crypt=True) + "\ncryptsetup close luks"
        )


def _format(disk: Path, key: Path, start: int) -> None:
    """A LUKS header made here, as quick to open as can be:
    how hard it is to guess the phrase is not what is tested.
    """
    alone = disk.with_suffix(".luks")
    with alone.open("wb") as file:
        file.truncate((_LAST - start) * _SECTOR)
    run(
        "cryptsetup", "-q", "luksFormat", "--type", "luks2", "--pbkdf", "pbkdf2",
        "--pbkdf-force-iterations", "1000", "--uuid", _LUKS_UUID, alone, key,
    )  # fmt: skip
    run(
        "dd", f"if={alone}", f"of={disk}", "bs=1M", f"seek={start // _MIB_SECTORS}",
        "conv=notrunc,sparse", "status=none",
    )  # fmt: skip


def _copied(to: str, mapped: str, *, crypt: bool, swap: bool = False) -> str:
    """The root file system onto a device, with its own fstab and crypttab;
    `mapped` and "root" is its name there.
    """
    fstab = (
        f"{mapped}root / ext4 errors=remount-ro 0 1\\nUUID={_BOOT_UUID} /boot ext4 defaults 0 2\\n"
    )
    if swap:
        fstab += f"{mapped}swap_1 none swap sw 0 0\\n"
    table = (
        f"printf 'cryptroot UUID={_LUKS_UUID} none luks\\n' >/tmp/m/etc/crypttab" if crypt else ":"
    )
    return (
        f"dd if=/dev/disk/guestfs/root of={to} bs=4M status=none; e2fsck -fy {to} || true; mkdir "
        "-p /tmp/m\n"
        f"resize2fs {to}; mount {to} /tmp/m; printf '{fstab}' >/tmp/m/etc/fstab; {table}; umount "
        "/tmp/m; sync"
    )


# --- what all of them have ----------------------------------------------------------------------


def _blank(work: Path, name: str) -> Path:
    disk = work / f"{name}.raw"
    with disk.open("wb") as file:
        file.truncate(DISK_SIZE)
    return disk


def _menu(
    tree: _Tree, folder: str, uuid: str, root: str = "", path: str = "boot/grub/grub.cfg"
) -> Entry:
    release, root = tree.kernel(), root or f"root=UUID={uuid}"
    return text(
        path,
        f"set timeout=0\nsearch --no-floppy --fs-uuid --set=root {uuid}\nmenuentry Debian {{\n"
        f"linux {folder}/vmlinuz-{release} {root} ro {KERNEL_OPTIONS}\ninitrd "
        f"{folder}/initrd.img-{release}\n}}\n",
    )


def _boot_code(disk: Path, tree: _Tree, core_name: str, place: int, *, with_table: bool) -> None:
    """boot.img into the boot sector, core.img into the sectors from `place`."""
    boot = bytearray(tree.member("./boot/grub/i386-pc/boot.img"))
    core = bytearray(tree.member(f"./boot/grub/i386-pc/{core_name}"))
    assert len(core) <= (MiB if with_table else (2048 - 1) * _SECTOR)
    boot[0x66:0x68] = b"\x90\x90"
    boot[0x5C:0x64] = place.to_bytes(8, "little")
    core[0x1F4:0x1FC] = (place + 1).to_bytes(8, "little")
    with disk.open("r+b") as file:
        file.write(boot[:440])
        file.seek(510)
        file.write(b"\x55\xaa")
        file.seek(place * _SECTOR)
        file.write(core)
