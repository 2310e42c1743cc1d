"""Disks of the families' guests, each made when it is asked for: a root file system, what boots it, and swap last."""

from __future__ import annotations

import argparse
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from growdisk.units import ByteRange, MiB
from tests.guests.appliance import bench, device
from tests.guests.cache import cached, recipe_hash
from tests.guests.classic import KERNEL_OPTIONS
from tests.guests.content import directory, odd_files, text, write_tar
from tests.guests.ext4 import make_ext4
from tests.guests.families import (
    BOOT_PART,
    BOOT_UUID,
    ESP_ID,
    FAMILIES,
    ROOT_PART,
    ROOT_UUID,
    SWAP_NAME,
    SWAP_PART,
    SWAP_UUID,
    Family,
)
from tests.guests.family_trees import FIRST, Tree, tree_of
from tests.guests.swap import make_swap
from tests.guests.tools import run

DISK_SIZE = 2304 * MiB
_ESP, _SWAP = ByteRange(MiB, 201 * MiB), ByteRange(DISK_SIZE - 129 * MiB, DISK_SIZE - MiB)
_BOOT = ByteRange(_ESP.end, _ESP.end + 160 * MiB)
_LOADER = "./usr/lib/systemd/boot/efi/systemd-bootx64.efi"
_STUB = "./usr/lib/systemd/boot/efi/linuxx64.efi.stub"
_STUB_MENU = (
    "search --no-floppy --fs-uuid --set=root {uuid}\nset prefix=($root){folder}/grub\nconfigfile $prefix/grub.cfg\n"
)


def family_guest(name: str) -> Path:
    """A qcow2, read-only; built when needed (a minute, and the system's tree once)."""
    names = ("families", "family_disks", "family_trees", "classic", "content", "ext4", "appliance", "swap")
    sources = [Path(__file__).with_name(f"{source}.py") for source in names]
    recipe = recipe_hash([*sources, *(Path(__file__).parent / "inside").iterdir()])[:20]
    return cached(f"family-{name}-{recipe}", lambda folder: _build(folder, name)) / "guest.qcow2"


def _build(folder: Path, name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="growdisk-family-", dir="/var/tmp") as scratch:
        guest = _Guest(Path(scratch), FAMILIES[name], tree_of(FAMILIES[name].suite), tree_of(FIRST))
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
    def root(self) -> ByteRange:
        return ByteRange(_BOOT.end if self.family.boot else _ESP.end, _SWAP.start)

    def made(self) -> Path:
        with self.disk.open("wb") as file:
            file.truncate(DISK_SIZE)
        run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", self.disk, stdin=self._table())
        if not self.family.random_swap:
            make_swap(self.disk, _SWAP, uuid=SWAP_UUID)
        self._fill_root(self._tars())
        self._fill_esp()
        return self.disk

    def _table(self) -> str:
        rows = [(_ESP, "U", "", ""), (self.root, "L", ROOT_PART, ""), (_SWAP, "S", SWAP_PART, SWAP_NAME)]
        if self.family.boot:
            rows.insert(1, (_BOOT, "L", BOOT_PART, ""))
        lines = [
            f"start={place.start // 512}, size={place.length // 512}, type={kind}"
            + (f", uuid={guid}" if guid else "") + (f', name="{name}"' if name else "")
            for place, kind, guid, name in rows
        ]  # fmt: skip
        return "label: gpt\n" + "\n".join(lines) + "\n"

    # --- the root, and /boot ---------------------------------------------------------------------

    def _tars(self) -> list[Path]:
        """With a /boot of its own, that is made here."""
        esp = f"UUID={ESP_ID[:4]}-{ESP_ID[4:]} /boot/efi vfat umask=0077 0 2\n"
        own = [text("etc/fstab", self.family.fstab + esp), *self.family.files, *odd_files(crowd=20)]
        menu = text("boot/grub/grub.cfg", self._menu())
        grub = [directory("boot"), directory("boot/grub"), menu] if self.family.loader == "grub" else []
        if not self.family.boot:
            return [self.tree.tar, write_tar(self.work / "own.tar", [*own, *grub])]
        root, boot = _without_boot(self.tree, self.work)
        in_boot = [directory("grub"), text("grub/grub.cfg", self._menu()), directory("efi")]
        make_ext4(self.disk, _BOOT, [boot, write_tar(self.work / "menu.tar", in_boot)], uuid=BOOT_UUID)
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
        return ("/@/.snapshots/1/snapshot/boot" if "@/.snapshots" in self.family.script else "/boot"), ROOT_UUID

    def _named(self, start: str) -> str:
        with tarfile.open(self.tree.tar) as tar:
            return next(n for n in tar.getnames() if n.startswith(f"./boot/{start}")).removeprefix("./boot/")

    def _fill_root(self, tars: Sequence[Path]) -> None:
        if self.family.root == "ext4":
            self._make_ext4(tars)
            return
        whole = self.work / "whole.tar"
        _joined(tars, whole)
        number = 3 if self.family.boot else 2
        make = (
            f"mkfs.btrfs -q -f -U {ROOT_UUID}" if self.family.root == "btrfs" else f"mkfs.xfs -q -f -m uuid={ROOT_UUID}"
        )
        with bench([self.disk]) as appliance:
            appliance.run(f"{make} {device(self.disk, number)}; mkdir -p /sysroot")
            appliance.handle.mount(f"/dev/sda{number}", "/")
            appliance.handle.tar_in(str(whole), "/", xattrs=True)
            if self.family.script:
                appliance.run(
                    f"cd /sysroot; {self.family.script}\nfor f in * .[!.]*; do\n"
                    'case " $keep " in *" $f "*) ;; *) [ ! -e "$f" ] || rm -rf "$f" ;; esac; done; sync'
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

    # --- the EFI system partition ----------------------------------------------------------------

    def _fill_esp(self) -> None:
        esp, place = self.work / "esp", self.work / "file"
        with esp.open("wb") as file:
            file.truncate(_ESP.length)
        run("mkfs.fat", "-F", "32", "-i", ESP_ID, esp)
        for folder in ("EFI", "EFI/BOOT", "EFI/Linux", "EFI/debian", "loader", "loader/entries", "debian"):
            run("mmd", "-i", esp, f"::/{folder}")
        for path, content in self._files_of_esp().items():
            place.write_bytes(content)
            run("mcopy", "-i", esp, place, f"::/{path}")
        run("dd", f"if={esp}", f"of={self.disk}", "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")

    def _files_of_esp(self) -> dict[str, bytes]:
        if self.family.loader == "grub":
            folder, uuid = self._boot_folder()
            menu = _STUB_MENU.format(uuid=uuid, folder=folder)
            return {
                "EFI/BOOT/BOOTX64.EFI": self.loaders.member("./boot/grub.efi"),
                "EFI/debian/grub.cfg": menu.encode(),
            }
        files = {"EFI/BOOT/BOOTX64.EFI": self.loaders.member(_LOADER), "loader/loader.conf": b"timeout 0\n"}
        return files | (self._unified() if self.family.loader == "uki" else self._entries())

    def _entries(self) -> dict[str, bytes]:
        dracut = self.family.loader in ("dracut", "hostonly")
        initrd = f"./boot/{self.family.loader}.img" if dracut else "./boot/initrd.img-"
        entry = f"title Debian\nlinux /debian/linux\ninitrd /debian/initrd.img\noptions {self._options()}\n"
        return {
            "loader/entries/debian.conf": entry.encode(), "debian/linux": self.tree.begins("./boot/vmlinuz-"),
            "debian/initrd.img": self.tree.begins(initrd),
        }  # fmt: skip

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
            words += ["--add-section", f"{name}={self.work / name[1:]}", "--change-section-vma", f"{name}={place:#x}"]
        (self.work / "stub").write_bytes(self.loaders.member(_STUB))
        run("objcopy", *words, self.work / "stub", self.work / "unified.efi")
        return {"EFI/Linux/debian.efi": (self.work / "unified.efi").read_bytes()}

    def _options(self) -> str:
        return f"{self.family.options} {KERNEL_OPTIONS}"


def _without_boot(tree: Tree, work: Path) -> tuple[Path, Path]:
    """The tree in two: what is not in /boot, and what is."""
    paths = work / "root.tar", work / "boot.tar"
    with tarfile.open(tree.tar) as whole, tarfile.open(paths[0], "w") as root, tarfile.open(paths[1], "w") as boot:
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
    """`python -m tests.guests.family_disks NAME…`: build guests if need be, print where they are."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="*", default=list(FAMILIES))
    for name in parser.parse_args().names:
        sys.stdout.write(f"{family_guest(name)}\n")


if __name__ == "__main__":
    main()
