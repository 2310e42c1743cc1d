"""Debian guests of the families that Debian's installer does not make: all start by UEFI, with swap behind the root.

    entries    systemd-boot; a loader entry on the EFI partition has resume=, the initrd beside it has RESUME
    uki        systemd-boot; a unified kernel image with resume= in its command line and RESUME in its initrd
    dracut     systemd-boot; an initrd of dracut without systemd that has resume= within itself
    subvolume  as entries, but the root is btrfs in the subvolume @rootfs

GPT: sda1 EFI system, sda2 root, sda3 swap. One system tree serves them all.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import tempfile
from pathlib import Path

from growdisk.units import ByteRange, GiB, MiB
from tests.guests.appliance import bench, device
from tests.guests.cache import cached, recipe_hash
from tests.guests.classic import KERNEL_OPTIONS, SUITE, _own_files
from tests.guests.content import odd_files, text, write_tar
from tests.guests.ext4 import make_ext4
from tests.guests.swap import make_swap
from tests.guests.tools import run

DISK_SIZE = 2 * GiB
ROOT_UUID = "6c3f7a52-41d8-4b0e-9d35-0f2b8c7e5a01"
SWAP_UUID = "6c3f7a52-41d8-4b0e-9d35-0f2b8c7e5a02"
ESP_ID = "6C3F7A52"
NAMES = ("entries", "uki", "dracut", "subvolume")

_ESP = ByteRange(MiB, 161 * MiB)
_ROOT = ByteRange(161 * MiB, DISK_SIZE - 129 * MiB)
_SWAP = ByteRange(DISK_SIZE - 129 * MiB, DISK_SIZE - MiB)
_PACKAGES = (
    "linux-image-cloud-amd64", "systemd-sysv", "udev", "e2fsprogs", "btrfs-progs", "initramfs-tools", "kmod", "zstd",
    "python3-minimal", "libpython3-stdlib", "systemd-boot-efi", "systemd-boot", "dracut-core",
)  # fmt: skip
# What an initrd is for is told beforehand: initramfs-tools reads RESUME, dracut its own option.
_INITRDS = f"""
set -eu
release=$(basename /boot/vmlinuz-*); release=${{release#vmlinuz-}}
dracut --quiet --force --no-hostonly --no-early-microcode \\
    --omit 'systemd systemd-initrd dracut-systemd plymouth network' --add-drivers 'virtio_scsi sd_mod ext4' \\
    --kernel-cmdline 'resume=UUID={SWAP_UUID}' /boot/dracut.img "$release"
rm -rf /usr/share/doc /usr/share/man /usr/share/locale /var/lib/apt/lists /var/cache/apt
"""
_STUB = "./usr/lib/systemd/boot/efi/linuxx64.efi.stub"
_LOADER = "./usr/lib/systemd/boot/efi/systemd-bootx64.efi"


def family_guests() -> Path:
    """The folder with NAME.qcow2 of each, read-only; built when needed (4 minutes)."""
    sources = [Path(__file__).with_name(f"{n}.py") for n in ("families", "classic", "content", "ext4", "appliance")]
    inside = Path(__file__).parent / "inside"
    return cached(f"families-{recipe_hash([*sources, *inside.iterdir()])[:20]}", _build)


def _build(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="growdisk-families-", dir="/var/tmp") as scratch:
        work = Path(scratch)
        tree = _debootstrap(work)
        disks = {name: _disk(work, tree, name) for name in NAMES}
        _make_subvolume(disks["subvolume"])
        for name, disk in disks.items():
            image = folder / f"{name}.qcow2"
            run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, image)
            image.chmod(0o444)


def _debootstrap(work: Path) -> Path:
    own = write_tar(work / "own.tar", _own_files("no key\n"))
    (work / "initrds.sh").write_text(_INITRDS)
    conf = "$1/etc/initramfs-tools/conf.d"
    run(
        "mmdebstrap", "--quiet", "--variant=minbase", "--dpkgopt=force-unsafe-io", f"--include={','.join(_PACKAGES)}",
        f'--essential-hook=mkdir -p "{conf}" && echo RESUME=UUID={SWAP_UUID} >"{conf}/resume"',
        f"--customize-hook=tar-in {own} /",
        '--customize-hook=chroot "$1" systemctl --quiet enable boot-report.service serial-getty@ttyS0.service',
        f"--customize-hook=copy-in {work / 'initrds.sh'} /tmp", '--customize-hook=chroot "$1" sh /tmp/initrds.sh',
        SUITE, work / "tree.tar",
    )  # fmt: skip
    return work / "tree.tar"


def _disk(work: Path, tree: Path, name: str) -> Path:
    disk = work / f"{name}.raw"
    with disk.open("wb") as file:
        file.truncate(DISK_SIZE)
    parts = ((_ESP, "U"), (_ROOT, "L"), (_SWAP, "S"))
    lines = [f"start={p.start // 512}, size={p.length // 512}, type={kind}" for p, kind in parts]
    run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", disk, stdin="label: gpt\n" + "\n".join(lines) + "\n")
    make_swap(disk, _SWAP, uuid=SWAP_UUID)
    root = "btrfs subvol=@rootfs" if name == "subvolume" else "ext4 errors=remount-ro"
    fstab = (
        f"UUID={ROOT_UUID} / {root} 0 {0 if name == 'subvolume' else 1}\nUUID={SWAP_UUID} none swap sw 0 0\n"
        f"UUID={ESP_ID[:4]}-{ESP_ID[4:]} /boot/efi vfat umask=0077 0 2\n"
    )
    own = write_tar(work / f"{name}.tar", [text("etc/fstab", fstab), *odd_files(crowd=20)])
    (_btrfs if name == "subvolume" else _ext4)(disk, [tree, own])
    _fill_esp(work, disk, tree, name)
    return disk


def _ext4(disk: Path, tars: list[Path]) -> None:
    make_ext4(disk, _ROOT, tars, uuid=ROOT_UUID)


def _btrfs(disk: Path, tars: list[Path]) -> None:
    """All of it at the top level; _make_subvolume() does the rest."""
    alone = disk.with_suffix(".btrfs")
    with alone.open("wb") as file:
        file.truncate(_ROOT.length)
    script = 'set -e; r=$1; i=$2; u=$3; shift 3; for t; do tar -xf "$t" -C "$r" --numeric-owner -p; done\n'
    script += 'find "$r" -type b -o -type c | xargs -r rm -f\nexec mkfs.btrfs -q -U "$u" --rootdir "$r" "$i"'
    with tempfile.TemporaryDirectory(prefix="growdisk-root-", dir=disk.parent) as root:
        run("fakeroot", "sh", "-c", script, "make-btrfs", root, alone, ROOT_UUID, *tars)
    run("dd", f"if={alone}", f"of={disk}", "bs=1M", f"seek={_ROOT.start // MiB}", "conv=notrunc,sparse", "status=none")
    alone.unlink()


def _make_subvolume(disk: Path) -> None:
    with bench([disk]) as appliance:
        appliance.run(
            f"mkdir -p /tmp/m; mount {device(disk, 2)} /tmp/m; cd /tmp/m; btrfs subvolume snapshot . @rootfs\n"
            "find . -mindepth 1 -maxdepth 1 ! -name @rootfs -exec rm -rf {} +\ncd /; umount /tmp/m; sync"
        )


# --- the EFI system partition -------------------------------------------------------------------


def _fill_esp(work: Path, disk: Path, tree: Path, name: str) -> None:
    esp, place = work / "esp", work / "files"
    with esp.open("wb") as file:
        file.truncate(_ESP.length)
    run("mkfs.fat", "-F", "32", "-i", ESP_ID, esp)
    files = {"EFI/BOOT/BOOTX64.EFI": _member(tree, _LOADER), "loader/loader.conf": b"timeout 0\n"}
    files |= _unified(work, tree) if name == "uki" else _entries(tree, name)
    for folder in ("EFI", "EFI/BOOT", "EFI/Linux", "loader", "loader/entries", "debian"):
        run("mmd", "-i", esp, f"::/{folder}")
    for path, content in files.items():
        place.write_bytes(content)
        run("mcopy", "-i", esp, place, f"::/{path}")
    run("dd", f"if={esp}", f"of={disk}", "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")


def _entries(tree: Path, name: str) -> dict[str, bytes]:
    """dracut's initrd has resume= within itself; nothing else in this guest names it."""
    kernel, initrd = _kernel(tree), "dracut.img" if name == "dracut" else _name(tree, "./boot/initrd.img-")
    options = _options(name) + ("" if name == "dracut" else f" resume=UUID={SWAP_UUID}")
    entry = f"title Debian\nlinux /debian/linux\ninitrd /debian/initrd.img\noptions {options}\n"
    return {
        "loader/entries/debian.conf": entry.encode(), "debian/linux": kernel,
        "debian/initrd.img": _member(tree, f"./boot/{initrd.removeprefix('./boot/')}"),
    }  # fmt: skip


def _unified(work: Path, tree: Path) -> dict[str, bytes]:
    """As the manual page of systemd-stub has it made."""
    parts = {
        ".osrel": (b"ID=debian\nVERSION_ID=12\nPRETTY_NAME=Debian\n", 0x20000),
        ".cmdline": (f"{_options('uki')} resume=UUID={SWAP_UUID}".encode(), 0x30000),
        ".linux": (_kernel(tree), 0x2000000), ".initrd": (_member(tree, _name(tree, "./boot/initrd.img-")), 0x4000000),
    }  # fmt: skip
    words: list[str | Path] = []
    for name, (content, place) in parts.items():
        (work / name[1:]).write_bytes(content)
        words += ["--add-section", f"{name}={work / name[1:]}", "--change-section-vma", f"{name}={place:#x}"]
    (work / "stub").write_bytes(_member(tree, _STUB))
    run("objcopy", *words, work / "stub", work / "unified.efi")
    return {"EFI/Linux/debian.efi": (work / "unified.efi").read_bytes()}


def _options(name: str) -> str:
    flags = " rootflags=subvol=@rootfs" if name == "subvolume" else ""
    return f"root=UUID={ROOT_UUID} ro{flags} {KERNEL_OPTIONS}"


def _kernel(tree: Path) -> bytes:
    return _member(tree, _name(tree, "./boot/vmlinuz-"))


def _name(tree: Path, start: str) -> str:
    with tarfile.open(tree) as tar:
        return next(name for name in tar.getnames() if name.startswith(start))


def _member(tree: Path, name: str) -> bytes:
    with tarfile.open(tree) as tar:
        file = tar.extractfile(name)
        assert file is not None, name
        return file.read()


def main() -> None:
    """`python -m tests.guests.families`: build the guests if need be, print where they are."""
    argparse.ArgumentParser(description=main.__doc__).parse_args()
    sys.stdout.write(f"{family_guests()}\n")


if __name__ == "__main__":
    main()
