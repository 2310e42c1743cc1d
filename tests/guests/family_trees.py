"""The systems of the families' guests, as tars: one for each release of Debian, made once.

The first has the boot loaders of all: systemd-boot, and a GRUB that reads EFI/debian/grub.cfg where it starts from.
"""

from __future__ import annotations

import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.guests.cache import cached, recipe_hash
from tests.guests.classic import _own_files
from tests.guests.content import write_tar
from tests.guests.families import SWAP_UUID
from tests.guests.tools import run

FIRST = "bookworm"
_PACKAGES = (
    "linux-image-cloud-amd64", "systemd-sysv", "udev", "e2fsprogs", "initramfs-tools", "kmod", "zstd",
    "python3-minimal", "libpython3-stdlib",
)  # fmt: skip
_MORE = ("btrfs-progs", "cryptsetup", "systemd-boot-efi", "systemd-boot", "dracut-core", "grub-efi-amd64-bin")
# What an initrd is for is told beforehand: initramfs-tools reads RESUME, dracut its own option.
_SCRIPT = f"""
set -eu
release=$(basename /boot/vmlinuz-*); release=${{release#vmlinuz-}}
dracut --quiet --force --no-hostonly --no-early-microcode \\
    --omit 'systemd systemd-initrd dracut-systemd plymouth network' --add-drivers 'virtio_scsi sd_mod ext4' \\
    --kernel-cmdline 'resume=UUID={SWAP_UUID}' /boot/dracut.img "$release"
dracut --quiet --force --no-hostonly --no-early-microcode --omit 'plymouth network' \\
    --add-drivers 'virtio_scsi sd_mod ext4' \\
    --kernel-cmdline 'resume=UUID={SWAP_UUID}' /boot/hostonly.img "$release"
grub-mkimage -O x86_64-efi -o /boot/grub.efi -p '(,gpt1)/EFI/debian' \\
    part_gpt ext2 btrfs fat normal configfile linux search search_fs_uuid echo test
"""
_CLEAN = "rm -rf /usr/share/doc /usr/share/man /usr/share/locale /var/lib/apt/lists /var/cache/apt\n"


@dataclass(frozen=True)
class Tree:
    """A system as a tar."""

    tar: Path

    def member(self, name: str) -> bytes:
        with tarfile.open(self.tar) as tar:
            file = tar.extractfile(name)
            assert file is not None, name
            return file.read()

    def begins(self, start: str) -> bytes:
        """The one file whose name begins so."""
        with tarfile.open(self.tar) as tar:
            return self.member(next(name for name in tar.getnames() if name.startswith(start)))


def tree_of(suite: str) -> Tree:
    """Built when needed (2 minutes)."""
    sources = [Path(__file__), *(Path(__file__).with_name(f"{name}.py") for name in ("classic", "content"))]
    inside = Path(__file__).parent / "inside"
    recipe = recipe_hash([*sources, *inside.iterdir()])[:20]
    return Tree(cached(f"tree-{suite}-{recipe}", lambda folder: _debootstrap(folder, suite)) / "tree.tar")


def _debootstrap(folder: Path, suite: str) -> None:
    packages = (*_PACKAGES, *(_MORE if suite == FIRST else ()))
    conf = "$1/etc/initramfs-tools/conf.d"
    with tempfile.TemporaryDirectory(prefix="growdisk-tree-", dir="/var/tmp") as scratch:
        work = Path(scratch)
        own = write_tar(work / "own.tar", _own_files("no key\n"))
        (work / "script.sh").write_text((_SCRIPT if suite == FIRST else "") + _CLEAN)
        run(
            "mmdebstrap", "--quiet", "--variant=minbase", "--dpkgopt=force-unsafe-io",
            f"--include={','.join(packages)}",
            f'--essential-hook=mkdir -p "{conf}" && echo RESUME=UUID={SWAP_UUID} >"{conf}/resume"',
            f"--customize-hook=tar-in {own} /",
            '--customize-hook=chroot "$1" systemctl --quiet enable boot-report.service serial-getty@ttyS0.service',
            f"--customize-hook=copy-in {work / 'script.sh'} /tmp", '--customize-hook=chroot "$1" sh /tmp/script.sh',
            suite, folder / "tree.tar",
        )  # fmt: skip
