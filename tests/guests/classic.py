"""A real Debian 12 as its installer leaves it:
MBR, sda1 root, sda2 with sda5 swap behind, GRUB in the gap.

Nothing here needs root or an appliance: mmdebstrap makes the tree, mke2fs the file system from it,
and GRUB's two parts are put where grub-install puts them. RESUME is set before the kernel is
installed, so that it is in the initrd.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from growdisk.units import GiB, MiB
from tests.guests.cache import cached, recipe_hash
from tests.guests.content import ODD_XATTRS, Entry, directory, odd_files, text, write_tar
from tests.guests.ext4 import make_ext4
from tests.guests.layouts import SECTOR, Content, Part, Table, classic
from tests.guests.swap import make_swap
from tests.guests.tools import run

DISK_SIZE = 3 * GiB
SWAP_SIZE = 512 * MiB
DISK_SIGNATURE = "0x1d5c0de5"
ROOT_UUID = "8f1ad1c5-9a4e-4f60-8a3b-6d1f5f0e7a11"
SWAP_UUID = "3a7dd4b2-6e5b-4d4e-9a53-0d4a58a1c0de"
SUITE = "bookworm"
PACKAGES = (
    "linux-image-cloud-amd64", "grub-pc", "systemd-sysv", "udev", "e2fsprogs", "fdisk", "parted",
    "initramfs-tools", "kmod", "zstd", "openssh-server", "qemu-guest-agent", "python3", "sudo",
    "ifupdown", "isc-dhcp-client",
)  # fmt: skip
KERNEL_OPTIONS = "net.ifnames=0 console=ttyS0"
TABLE: Table = classic(DISK_SIZE // SECTOR, SWAP_SIZE // SECTOR)

# Nobody reads in the guest; each boot counts its files.
_LEFT_OUT = ("doc", "info", "lintian", "locale", "man", "zoneinfo")

_INSIDE = Path(__file__).parent / "inside"
_RECIPE = [
    Path(__file__).parent / f"{name}.py"
    for name in ("classic", "content", "ext4", "layouts", "swap")
]

FSTAB = f"""\
# /etc/fstab: static file system information.
#
# Use 'blkid' to print the universally unique identifier for a
# device; this may be used with UUID= as a more robust way to name devices
# that works even if disks are added and removed. See fstab(5).
#
# systemd generates mount units based on this file, see systemd.mount(5).
# Please run 'systemctl daemon-reload' after making changes here.
#
# <file system> <mount point>   <type>  <options>       <dump>  <pass>
# / was on /dev/sda1 during installation
UUID={ROOT_UUID} /               ext4    errors=remount-ro 0       1
# swap was on /dev/sda5 during installation
UUID={SWAP_UUID} none            swap    sw              0       0
/dev/sr0        /media/cdrom0   udf,iso9660 user,noauto     0       0
"""

INTERFACES = "auto lo\niface lo inet loopback\n\nallow-hotplug eth0\niface eth0 inet dhcp\n"
AUTOLOGIN = """\
[Service]
ExecStart=
ExecStart=-/sbin/agetty --autologin root --keep-baud 115200 %I vt220
"""
# On a busy host an emulated guest may take more than systemd's 90 seconds to see its own console.
PATIENCE = "[Unit]\nJobRunningTimeoutSec=15min\n"
# DefaultDependencies=no: otherwise the target that wants it would also wait for it.
REPORT_UNIT = """\
[Unit]
Description=Report the boot on the serial port
DefaultDependencies=no
After=multi-user.target serial-getty@ttyS0.service

[Service]
ExecStart=/usr/local/lib/boot-report.py

[Install]
WantedBy=multi-user.target
"""


class Guest:
    """The folder of a built guest."""

    def __init__(self, folder: Path) -> None:
        self.image = folder / "classic.qcow2"
        self.ssh_key = folder / "ssh_key"


def classic_guest() -> Guest:
    """The guest, built now if it is not in the cache (2 minutes).

    Its image is read-only: take an overlay or a copy.
    """
    return Guest(cached(f"classic-{recipe_hash([*_RECIPE, *_INSIDE.iterdir()])[:32]}", build))


def build(folder: Path) -> None:
    """Make classic.qcow2 and the key that opens it in `folder`."""
    guest = Guest(folder)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "growdisk-tests", "-f", guest.ssh_key)
    with tempfile.TemporaryDirectory(prefix="growdisk-classic-", dir="/var/tmp") as scratch:
        work = Path(scratch)
        own = write_tar(work / "own.tar", _own_files(guest.ssh_key.with_suffix(".pub").read_text()))
        odd = write_tar(work / "odd.tar", odd_files(crowd=800))
        tree = _debootstrap(work, own)
        disk = _assemble(work / "disk.raw", [tree, odd])
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, guest.image)
    guest.image.chmod(0o444)


def _debootstrap(work: Path, own: Path, packages: Sequence[str] = PACKAGES) -> Path:
    """The installed system as a tar."""
    tree = work / "tree.tar"
    conf = "$1/etc/initramfs-tools/conf.d"
    run(
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in _LEFT_OUT),
        # it would empty /etc/machine-id, and each boot of an overlay would be a first one
        "--skip=cleanup/reproducible",
        f"--include={','.join(packages)}",
        f'--essential-hook=mkdir -p "{conf}" && echo RESUME=UUID={SWAP_UUID} >"{conf}/resume"',
        f"--customize-hook=tar-in {own} /",
        '--customize-hook=chroot "$1" systemctl --quiet enable boot-report.service '
        "serial-getty@ttyS0.service",
        # It looks for snapshots of LVM, which no guest of these has, for a tenth of each boot.
        '--customize-hook=chroot "$1" systemctl --quiet disable e2scrub_reap.service',
        f'--customize-hook=chroot "$1" /usr/local/lib/offline-grub.sh {ROOT_UUID}',
        SUITE,
        tree,
    )
    return tree


def _own_files(public_key: str) -> list[Entry]:
    return [
        text("etc/fstab", FSTAB),
        text("etc/hostname", "classic\n"),
        text("etc/hosts", "127.0.0.1\tlocalhost\n127.0.1.1\tclassic\n"),
        # A fixed identity: an empty one would make every boot of an overlay a "first boot" with
        # work of its own.
        text("etc/machine-id", "0c1a551c0c1a551c0c1a551c0c1a551c\n", 0o444),
        text("etc/network/interfaces", INTERFACES),
        text("etc/default/grub", _default_grub()),
        directory("root", 0o700),
        directory("root/.ssh", 0o700),
        text("root/.ssh/authorized_keys", public_key, 0o600),
        directory("etc/systemd/system/serial-getty@ttyS0.service.d"),
        text("etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf", AUTOLOGIN),
        directory("etc/systemd/system/dev-ttyS0.device.d"),
        text("etc/systemd/system/dev-ttyS0.device.d/patience.conf", PATIENCE),
        text("etc/systemd/system/boot-report.service", REPORT_UNIT),
        text("usr/local/lib/boot-report.py", (_INSIDE / "boot-report.py").read_text(), 0o755),
        text("usr/local/lib/offline-grub.sh", (_INSIDE / "offline-grub.sh").read_text(), 0o755),
    ]


def _default_grub() -> str:
    return (
        "GRUB_DEFAULT=0\nGRUB_TIMEOUT=0\nGRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo "
        "Debian`\n"
        f'GRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX="{KERNEL_OPTIONS}"\nGRUB_TERMINAL=console\n'
    )


def _assemble(disk: Path, tars: list[Path]) -> Path:
    """Boot code first: sfdisk keeps what it finds."""
    with disk.open("wb") as file:
        file.truncate(DISK_SIZE)
    _install_grub(disk, tars[0])
    TABLE.write(disk, DISK_SIGNATURE)
    make_ext4(disk, _part(Content.ROOT).place, tars, uuid=ROOT_UUID, xattrs=ODD_XATTRS)
    swap = _part(Content.SWAP)
    make_swap(disk, swap.place, uuid=SWAP_UUID)
    return disk


def _part(content: Content) -> Part:
    part = TABLE.part(content)
    assert part is not None
    return part


def _install_grub(disk: Path, tree: Path) -> None:
    """boot.img into the boot sector's code, core.img into the sectors behind it,
    as grub-bios-setup does.
    """
    boot = bytearray(_from_tar(tree, "./boot/grub/i386-pc/boot.img"))
    core = _from_tar(tree, "./boot/grub/i386-pc/core.img")
    assert len(core) <= (2048 - 1) * SECTOR
    # The jump that distrusts the BIOS's drive number is for floppies only; a hard disk gets two
    # no-operations.
    boot[0x66:0x68] = b"\x90\x90"
    with disk.open("r+b") as file:
        file.write(boot[:440])
        file.seek(510)
        file.write(b"\x55\xaa" + core)


def _from_tar(tree: Path, member: str) -> bytes:
    with tarfile.open(tree) as tar:
        file = tar.extractfile(member)
        assert file is not None
        return file.read()


def main() -> None:
    """`python -m tests.guests.classic`: build the guest if need be, print where it is."""
    argparse.ArgumentParser(description=main.__doc__).parse_args()
    sys.stdout.write(f"{classic_guest().image}\n")


if __name__ == "__main__":
    main()
