"""The systems of the families' guests, as data: family_trees.py makes them.

bookworm   Debian 12, with the boot loaders of all: systemd-boot, and a GRUB that reads EFI/debian/grub.cfg
trixie, bullseye, sid   other releases of Debian
sysvinit   Debian 12 without systemd
i386       Debian 12 for 32 bits, with extlinux
rhel       Debian 12 with what Red Hat's have: LVM, XFS, and an initrd of dracut alone
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

SWAP_UUID = "6c3f7a52-41d8-4b0e-9d35-0f2b8c7e5a02"
FIRST = "bookworm"
_COMMON = "udev e2fsprogs initramfs-tools kmod zstd python3-minimal libpython3-stdlib"
_CLOUD = "linux-image-cloud-amd64"
# Mirrors of the updates have what is seldom asked for late, or no more.
_WITHOUT_UPDATES = (
    '--setup-hook=sed -i /security/d "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* || :'
)
_EXPIRED = '--aptopt=Acquire::Check-Valid-Until "false"'
_LOADERS = "systemd-boot-efi systemd-boot dracut-core grub-efi-amd64-bin extlinux"
# What an initrd is for is told beforehand: initramfs-tools reads RESUME, dracut its own option.
_ALL_LOADERS = f"""
set -eu
release=$(basename /boot/vmlinuz-*); release=${{release#vmlinuz-}}
dracut --quiet --force --no-hostonly --no-early-microcode \\
    --omit 'systemd systemd-initrd dracut-systemd plymouth network' --add-drivers 'virtio_scsi sd_mod ext4' \\
    --kernel-cmdline 'resume=UUID={SWAP_UUID}' /boot/dracut.img "$release"
dracut --quiet --force --no-hostonly --no-early-microcode --omit 'plymouth network' \\
    --add-drivers 'virtio_scsi sd_mod ext4' \\
    --kernel-cmdline 'resume=UUID={SWAP_UUID}' /boot/anyhost.img "$release"
grub-mkimage -O x86_64-efi -o /boot/grub.efi -p '(,gpt1)/EFI/debian' \\
    part_gpt ext2 btrfs fat normal configfile linux search search_fs_uuid echo test
"""  # noqa: E501
# As Red Hat's installer leaves it: one initrd of dracut for any host, and no initramfs-tools.
_RED_HAT = """
set -eu
release=$(basename /boot/vmlinuz-*); release=${release#vmlinuz-}
dracut --quiet --force --no-hostonly --no-early-microcode --omit 'plymouth network' --add lvm \\
    --add-drivers 'virtio_scsi sd_mod xfs' "/boot/initramfs-$release.img" "$release"
rm -f /boot/initrd.img*
grub-mkimage -O x86_64-efi -o /boot/grub.efi -p '(,gpt2)/grub2' \\
    part_gpt xfs fat normal configfile linux loadenv search search_fs_uuid echo test
"""
# What follows in /etc/inittab starts when the scripts of the runlevel have ended.
_SYSVINIT = "echo 'rp:2345:once:/usr/local/lib/boot-report.py' >>/etc/inittab\n"


@dataclass(frozen=True)
class System:
    """`script` runs in it when all is installed; `options` are mmdebstrap's."""

    packages: str
    suite: str = "bookworm"
    script: str = ""
    options: tuple[str, ...] = ()


SYSTEMS: Mapping[str, System] = MappingProxyType({
    FIRST: System(f"{_CLOUD} systemd-sysv {_COMMON} btrfs-progs cryptsetup {_LOADERS}",
        script=_ALL_LOADERS),
    "trixie": System(f"{_CLOUD} systemd-sysv {_COMMON}", suite="trixie"),
    # Its last package that names a kernel is gone from the archive; the kernels are there.
    "bullseye": System(f"{_CLOUD} systemd-sysv {_COMMON}", suite="bullseye",
        options=(_WITHOUT_UPDATES,)),
    # The archive's mirrors may lag behind.
    "sid": System(f"{_CLOUD} systemd-sysv {_COMMON}", suite="sid", options=(_EXPIRED,)),
    "i386": System(
        f"linux-image-686 systemd-sysv {_COMMON} extlinux",
        options=("--architectures=i386", _WITHOUT_UPDATES)
    ),
    "rhel": System(
        f"{_CLOUD} systemd-sysv {_COMMON.replace('initramfs-tools', 'dracut')} lvm2 xfsprogs grub-efi-amd64-bin",  # noqa: E501
        script=_RED_HAT,
    ),
    "sysvinit": System(f"{_CLOUD} sysvinit-core {_COMMON}", script=_SYSVINIT),
})  # fmt: skip
