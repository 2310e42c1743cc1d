"""Disks of the families' guests, each made when it is asked for:
a root file system, what boots it, and swap last.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from growdisk.units import ByteRange, MiB
from tests.guests.appliance import Bench, bench, device
from tests.guests.cache import cached, recipe_hash
from tests.guests.classic import KERNEL_OPTIONS
from tests.guests.content import Entry, directory, odd_files, text, write_tar
from tests.guests.ext4 import make_ext4
from tests.guests.families import (
    BOOT_PART,
    BOOT_UUID,
    ESP_ID,
    FAMILIES,
    HOME_UUID,
    ROOT_PART,
    ROOT_UUID,
    SWAP_NAME,
    SWAP_PART,
    Family,
)
from tests.guests.family_systems import FIRST, SWAP_UUID, SYSTEMS
from tests.guests.family_trees import Tree, tree_of
from tests.guests.swap import make_swap
from tests.guests.tools import run

DISK_SIZE = 2304 * MiB
_ESP, _LAST = ByteRange(MiB, 201 * MiB), ByteRange(DISK_SIZE - 129 * MiB, DISK_SIZE - MiB)
_BEFORE_LAST = ByteRange(_LAST.start - _LAST.length, _LAST.start)
_BOOT = ByteRange(_ESP.end, _ESP.end + 160 * MiB)
_LOADER = "./usr/lib/systemd/boot/efi/systemd-bootx64.efi"
_STUB = "./usr/lib/systemd/boot/efi/linuxx64.efi.stub"
_STUB_MENU = (
    "search --no-floppy --fs-uuid --set=root {uuid}\nset "
    "prefix=($root){folder}/grub\nconfigfile $prefix/grub.cfg\n"
)


def family_guest(name: str) -> Path:
    """A qcow2, read-only; built when needed (a minute, and the system's tree once)."""
    names = ("family_disks", "family_trees", "classic", "content", "ext4", "appliance", "swap")
    sources = [Path(__file__).with_name(f"{source}.py") for source in names]
    own = repr((FAMILIES[name], SYSTEMS[FIRST], SYSTEMS[FAMILIES[name].system]))
    recipe = recipe_hash([*sources, *(Path(__file__).parent / "inside").iterdir()], own)[:20]
    return cached(f"family-{name}-{recipe}", lambda folder: _build(folder, name)) / "guest.qcow2"


def _build(folder: Path, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="growdisk-family-", dir="/var/tmp") as scratch:
        guest = _Guest(
            Path(scratch), FAMILIES[name], tree_of(FAMILIES[name].system), tree_of(FIRST)
        )
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", guest.made(), folder / "guest.qcow2")
    (folder / "guest.qcow2").chmod(0o444)


@dataclass(frozen=True)
class _Guest:
    """`loaders` is the tree that the boot loaders are from."""

    work: Path
    family: Family
    tree: Tree
    loaders: Tree

    @property
    def disk(self) -> Path:
        return self.work / "disk.raw"

    @property
    def swap(self) -> ByteRange:
        return _BEFORE_LAST if self.family.home else _LAST

    @property
    def root(self) -> ByteRange:
        if self.family.bios:
            return ByteRange(MiB, self.swap.start - MiB)
        return ByteRange(_BOOT.end if self.family.boot else _ESP.end, self.swap.start)

    def made(self) -> Path:
        with self.disk.open("wb") as file:
            file.truncate(DISK_SIZE)
        run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", self.disk, stdin=self._table())
        if not self.family.random_swap:
            make_swap(self.disk, self.swap, uuid=SWAP_UUID)
        if self.family.home:
            owned = [
                directory("user", 0o700, (1000, 1000)),
                text("user/letter", "behind the swap\n"),
            ]
            make_ext4(self.disk, _LAST, [write_tar(self.work / "home.tar", owned)], uuid=HOME_UUID)
        self._fill_root(self._tars())
        if self.family.bios:
            self._install_extlinux()
        else:
            self._fill_esp()
        return self.disk

    def _table(self) -> str:
        if self.family.bios:
            return (
                f"label: dos\n1: start={self.root.start // 512}, size={self.root.length // 512}, "
                "type=83, bootable\n"
                f"2: start={self.root.end // 512}, size={(self.swap.end - self.root.end) // 512}, "
                "type=5\n"
                f"5: start={self.swap.start // 512}, size={self.swap.length // 512}, type=82\n"
            )
        rows = [
            (_ESP, "U", "", ""),
            (self.root, "L", ROOT_PART, ""),
            (self.swap, "S", SWAP_PART, SWAP_NAME),
        ]
        if self.family.boot:
            rows.insert(1, (_BOOT, "L", BOOT_PART, ""))
        if self.family.home:
            rows.append((_LAST, "H", "", ""))
        lines = [
            f"start={place.start // 512}, size={place.length // 512}, type={kind}"
            + (f", uuid={guid}" if guid else "")
            + (f', name="{name}"' if name else "")
            for place, kind, guid, name in rows
        ]
        return "label: gpt\n" + "\n".join(lines) + "\n"

    # --- the root, and /boot ---------------------------------------------------------------------

    def _tars(self) -> list[Path]:
        """With a /boot of its own, that is made here."""
        esp = f"UUID={ESP_ID[:4]}-{ESP_ID[4:]} /boot/efi vfat umask=0077 0 2\n"
        fstab = self.family.fstab + ("" if self.family.bios else esp)
        own = [text("etc/fstab", fstab), *self.family.files, *odd_files(crowd=20)]
        grub: list[Entry] = []
        if self.family.loader == "grub":
            grub = [
                directory("boot"),
                directory("boot/grub"),
                text("boot/grub/grub.cfg", self._menu()),
            ]
        if not self.family.boot:
            return [self.tree.tar, write_tar(self.work / "own.tar", [*own, *grub])]
        root, boot = _without_boot(self.tree, self.work)
        in_boot = [directory("grub"), text("grub/grub.cfg", self._menu()), directory("efi")]
        make_ext4(
            self.disk, _BOOT, [boot, write_tar(self.work / "menu.tar", in_boot)], uuid=BOOT_UUID
        )
        return [root, write_tar(self.work / "own.tar", [*own, directory("boot")])]

    def _menu(self) -> str:
        folder, uuid = self._boot_folder()
        return (
            f"set timeout=0\nsearch --no-floppy --fs-uuid --set=root {uuid}\nmenuentry Debian {{\n"
            f"linux {folder}/{self._named('vmlinuz-')} {self._options()}\n"
            f"initrd {folder}/{self._named('initrd.img-')}\n}}\n"
        )

    def _boot_folder(self) -> tuple[str, str]:
        """As GRUB finds it: in its file system, on btrfs from the top level on."""
        if self.family.boot:
            return "", BOOT_UUID
        return (
            "/@/.snapshots/1/snapshot/boot" if "@/.snapshots" in self.family.script else "/boot"
        ), ROOT_UUID

    def _named(self, start: str) -> str:
        with tarfile.open(self.tree.tar) as tar:
            return next(n for n in tar.getnames() if n.startswith(f"./boot/{start}")).removeprefix(
                "./boot/"
            )

    def _fill_root(self, tars: Sequence[Path]) -> None:
        if self.family.root == "ext4":
            self._make_ext4(tars)
            return
        whole = self.work / "whole.tar"
        _joined(tars, whole)
        make = (
            f"mkfs.btrfs -q -f -U {ROOT_UUID}"
            if self.family.root == "btrfs"
            else f"mkfs.xfs -q -f -m uuid={ROOT_UUID}"
        )
        with bench([self.disk]) as appliance:
            place = device(self.disk, 3 if self.family.boot else 2)
            appliance.run(f"{make} {place}; mkdir -p /sysroot")
            appliance.handle.mount(place, "/")
            appliance.handle.tar_in(str(whole), "/", xattrs=True)
            if self.family.script:
                appliance.run(
                    f"cd /sysroot; {self.family.script}\nfor f in * .[!.]*; do\n"
                    'case " $keep " in *" $f "*) ;; *) [ ! -e "$f" ] || rm -rf "$f" ;; esac; '
                    "done; sync"
                )

    def _make_ext4(self, tars: Sequence[Path]) -> None:
        """tune2fs knows no offset: where it is needed, in a file, whose data then moves."""
        if not self.family.features:
            make_ext4(self.disk, self.root, tars, uuid=ROOT_UUID)
            return
        alone = self.work / "alone"
        with alone.open("wb") as file:
            file.truncate(self.root.length)
        make_ext4(alone, ByteRange(0, self.root.length), tars, uuid=ROOT_UUID)
        run("tune2fs", "-O", self.family.features, alone)
        place = ["bs=1M", f"seek={self.root.start // MiB}", "conv=notrunc,sparse", "status=none"]
        run("dd", f"if={alone}", f"of={self.disk}", *place)
        alone.unlink()

    # --- what only the guest's own programs do ----------------------------------------------------

    @contextmanager
    def _entered(self, number: int) -> Iterator[Bench]:
        """An appliance with the root mounted, and what `chroot /sysroot` needs."""
        with bench([self.disk]) as appliance:
            appliance.handle.mount(device(self.disk, number), "/")
            appliance.run("for f in dev proc sys run; do mount --bind /$f /sysroot/$f; done")
            yield appliance
            appliance.run("for f in dev proc sys run; do umount /sysroot/$f; done; sync")

    def _install_extlinux(self) -> None:
        """ldlinux.sys lies where the boot sector of the partition looks
        for it, by number of the block.
        """
        with self._entered(1) as appliance:
            appliance.handle.mkdir_p("/boot/extlinux")
            appliance.handle.write(
                "/boot/extlinux/extlinux.conf",
                "default linux\nprompt 0\ntimeout 1\nlabel linux\n"
                f"  linux /boot/{self._named('vmlinuz-')}\n  initrd "
                f"/boot/{self._named('initrd.img-')}\n"
                f"  append {self._options()}\n",
            )
            appliance.run("chroot /sysroot extlinux --install /boot/extlinux")
        with self.disk.open("r+b") as file:
            file.write(self.tree.member("./usr/lib/EXTLINUX/mbr.bin")[:440])

    def _made_for_this_host(self) -> bytes:
        """dracut looks at the devices that are in use, so the swap is on.

        What the kernel resumes from it is told.
        """
        with self._entered(2) as appliance:
            swap = device(self.disk, 3)
            release = self._named("vmlinuz-").removeprefix("vmlinuz-")
            appliance.run(
                f"swapon {swap}; chroot /sysroot dracut --quiet --force --hostonly "
                "--hostonly-cmdline --add resume "
                f"--no-early-microcode --add-drivers 'virtio_scsi virtio_pci sd_mod ext4' "
                f"--kernel-cmdline 'resume=UUID={SWAP_UUID}' /boot/host.img {release}\n"
                f"swapoff {swap}"
            )
            content: bytes = appliance.handle.read_file("/boot/host.img")
            return content

    # --- the EFI system partition ----------------------------------------------------------------

    def _fill_esp(self) -> None:
        esp, place = self.work / "esp", self.work / "file"
        with esp.open("wb") as file:
            file.truncate(_ESP.length)
        run("mkfs.fat", "-F", "32", "-i", ESP_ID, esp)
        for folder in (
            "EFI",
            "EFI/BOOT",
            "EFI/Linux",
            "EFI/debian",
            "loader",
            "loader/entries",
            "debian",
        ):
            run("mmd", "-i", esp, f"::/{folder}")
        for path, content in self._files_of_esp().items():
            place.write_bytes(content)
            run("mcopy", "-i", esp, place, f"::/{path}")
        run(
            "dd", f"if={esp}", f"of={self.disk}", "bs=1M", "seek=1", "conv=notrunc,sparse",
            "status=none",
        )  # fmt: skip

    def _files_of_esp(self) -> dict[str, bytes]:
        if self.family.loader == "grub":
            folder, uuid = self._boot_folder()
            menu = _STUB_MENU.format(uuid=uuid, folder=folder)
            return {
                "EFI/BOOT/BOOTX64.EFI": self.loaders.member("./boot/grub.efi"),
                "EFI/debian/grub.cfg": menu.encode(),
            }
        files = {
            "EFI/BOOT/BOOTX64.EFI": self.loaders.member(_LOADER),
            "loader/loader.conf": b"timeout 0\n",
        }
        return files | (self._unified() if self.family.loader == "uki" else self._entries())

    def _entries(self) -> dict[str, bytes]:
        entry = (
            "title Debian\nlinux /debian/linux\ninitrd /debian/initrd.img\noptions "
            f"{self._options()}\n"
        )
        return {
            "loader/entries/debian.conf": entry.encode(),
            "debian/linux": self.tree.begins("./boot/vmlinuz-"),
            "debian/initrd.img": self._initrd(),
        }

    def _initrd(self) -> bytes:
        loader = self.family.loader
        if loader == "hostonly":
            return self._made_for_this_host()
        return self.tree.begins(
            f"./boot/{loader}.img" if loader in ("dracut", "anyhost") else "./boot/initrd.img-"
        )

    def _unified(self) -> dict[str, bytes]:
        """As the manual page of systemd-stub has it made."""
        parts = {
            ".osrel": (b"ID=debian\nVERSION_ID=12\nPRETTY_NAME=Debian\n", 0x20000),
            ".cmdline": (self._options().encode(), 0x30000),
            ".linux": (self.tree.begins("./boot/vmlinuz-"), 0x2000000),
            ".initrd": (self.tree.begins("./boot/initrd.img-"), 0x4000000),
        }
        words: list[str | Path] = []
        for name, (content, place) in parts.items():
            (self.work / name[1:]).write_bytes(content)
            words += [
                "--add-section",
                f"{name}={self.work / name[1:]}",
                "--change-section-vma",
                f"{name}={place:#x}",
            ]
        (self.work / "stub").write_bytes(self.loaders.member(_STUB))
        run("objcopy", *words, self.work / "stub", self.work / "unified.efi")
        return {"EFI/Linux/debian.efi": (self.work / "unified.efi").read_bytes()}

    def _options(self) -> str:
        return f"{self.family.options} {KERNEL_OPTIONS}"


def _without_boot(tree: Tree, work: Path) -> tuple[Path, Path]:
    """The tree in two: what is not in /boot, and what is."""
    paths = work / "root.tar", work / "boot.tar"
    with (
        tarfile.open(tree.tar) as whole,
        tarfile.open(paths[0], "w") as root,
        tarfile.open(paths[1], "w") as boot,
    ):
        for member in whole:
            data = whole.extractfile(member) if member.isreg() else None
            target = boot if member.name.startswith("./boot/") else root
            if target is boot:
                member.name = "./" + member.name.removeprefix("./boot/")
            target.addfile(member, data)
    return paths


def _joined(tars: Sequence[Path], whole: Path) -> None:
    """One tar of all: what comes later wins. Device nodes are left to the guest's own kernel."""
    with tarfile.open(whole, "w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as joined:
        for tar in tars:
            with tarfile.open(tar, errors="surrogateescape") as one:
                for member in one:
                    if not member.isdev():
                        joined.addfile(member, one.extractfile(member) if member.isreg() else None)


def main() -> None:
    """`python -m tests.guests.family_disks NAME…`:
    build guests if need be, print where they are.
    """
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="*", default=list(FAMILIES))
    for name in parser.parse_args().names:
        sys.stdout.write(f"{family_guest(name)}\n")


if __name__ == "__main__":
    main()
