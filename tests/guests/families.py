"""Debian guests of families that Debian's installer does not make:
nearly all start by UEFI, with swap behind the root.

    entries    systemd-boot; a loader entry on the EFI partition has resume=, the initrd beside it has RESUME
    uki        systemd-boot; a unified kernel image with resume= in its command line and RESUME in its initrd
    dracut     systemd-boot; an initrd of dracut without systemd that has resume= within itself
    anyhost    systemd-boot; an initrd of dracut with systemd, made for any host, that has resume= within itself
    hostonly   systemd-boot; an initrd of dracut with systemd, made for this host while its swap was on
    grub       GRUB; grub.cfg and /etc/default/grub have resume=
    subvolume  as entries, but the root is btrfs in the subvolume @rootfs
    fedora     GRUB, /boot of its own (ext4); btrfs with subvolumes root and home, its default one is the top level
    suse       GRUB; btrfs whose default subvolume is @/.snapshots/1/snapshot, with a read-only snapshot beside it
    bootpart   GRUB, /boot of its own; all of fstab by PARTUUID
    xfs        as entries, XFS
    unit       as entries; swap by PARTLABEL in a unit of systemd, wanted by a link
    auto       as entries; no file names the swap: systemd finds it by GPT's types
    random     as entries; swap with a random key, made at each start by crypttab
    trixie     as entries; Debian 13, ext4 with orphan_file and metadata_csum_seed
    plainext   as entries; ext4 without metadata_csum, as older releases made it
    sysvinit   as entries; without systemd
    home       as entries; /home behind the swap
    extlinux   by BIOS, with extlinux
    bullseye   as entries; Debian 11, whose ext4 has no metadata_csum; the swap by PARTUUID
    sid        as entries; Debian's unstable release, ext4 as trixie; the swap by its link in /dev/disk/by-uuid
    i386       as extlinux, for 32 bits

GPT: sda1 EFI system, sda2 root, sda3 swap; with a /boot of its own: sda1, sda2 /boot, sda3 root,
sda4 swap; home: sda4. By BIOS an MBR: sda1 root, sda2 extended, sda5 swap, as Debian's installer
does. family_systems.py has the systems, family_disks.py makes the disks.
"""  # noqa: E501

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tests.guests.content import Entry, directory, text
from tests.guests.family_systems import FIRST, SWAP_UUID

ROOT_UUID = "6c3f7a52-41d8-4b0e-9d35-0f2b8c7e5a01"
BOOT_UUID = "6c3f7a52-41d8-4b0e-9d35-0f2b8c7e5a03"
HOME_UUID = "6c3f7a52-41d8-4b0e-9d35-0f2b8c7e5a04"
ESP_ID = "6C3F7A52"
# Of the partitions, in small letters as udev has them.
ROOT_PART, SWAP_PART, BOOT_PART = (f"0d15c0de-41d8-4b0e-9d35-0f2b8c7e5a0{n}" for n in (1, 2, 3))
SWAP_NAME = "old-swap"

_SWAP_UNIT = "etc/systemd/system/dev-disk-by\\x2dpartlabel-old\\x2dswap.swap"
_SUSE = """\
btrfs subvolume create @; btrfs subvolume create @/home; btrfs subvolume create @/.snapshots
mkdir @/.snapshots/1 @/.snapshots/2
btrfs subvolume snapshot . @/.snapshots/1/snapshot; rm -rf @/.snapshots/1/snapshot/@
mkdir -p @/.snapshots/1/snapshot/.snapshots
btrfs subvolume snapshot -r @/.snapshots/1/snapshot @/.snapshots/2/snapshot
btrfs subvolume set-default @/.snapshots/1/snapshot; keep=@
"""


@dataclass(frozen=True)
class Family:
    """`fstab` are its lines without the EFI partition's; `script` runs at the top of a btrfs and
    sets `keep`, what stays there; `options` are the kernel's.
    """

    fstab: str
    system: str = FIRST
    loader: str = "entries"  # entries, uki, dracut, anyhost, hostonly, grub or extlinux
    root: str = "ext4"
    features: str = ""
    script: str = ""
    options: str = f"root=UUID={ROOT_UUID} ro resume=UUID={SWAP_UUID}"
    boot: bool = False
    home: bool = False
    random_swap: bool = False
    files: tuple[Entry, ...] = ()

    @property
    def bios(self) -> bool:
        return self.loader == "extlinux"


_EXT4 = f"UUID={ROOT_UUID} / ext4 errors=remount-ro 0 1\n"
_SWAP = f"UUID={SWAP_UUID} none swap sw 0 0\n"
_PLAIN = f"root=UUID={ROOT_UUID} ro"
_DEFAULTS = text(
    "etc/default/grub", f'GRUB_CMDLINE_LINUX_DEFAULT="quiet resume=UUID={SWAP_UUID}"\n'
)


def _btrfs(name: str) -> str:
    return f"btrfs subvolume snapshot . {name}; keep={name}\n"


FAMILIES: Mapping[str, Family] = MappingProxyType({
    "entries": Family(_EXT4 + _SWAP),
    "uki": Family(_EXT4 + _SWAP, loader="uki"),
    "dracut": Family(_EXT4 + _SWAP, loader="dracut", options=_PLAIN),
    "anyhost": Family(_EXT4 + _SWAP, loader="anyhost", options=_PLAIN),
    "hostonly": Family(_EXT4 + _SWAP, loader="hostonly", options=_PLAIN),
    "grub": Family(_EXT4 + _SWAP, loader="grub", files=(_DEFAULTS,)),
    "subvolume": Family(
        f"UUID={ROOT_UUID} / btrfs subvol=@rootfs 0 0\n{_SWAP}", root="btrfs",
        script=_btrfs("@rootfs"),
        options=f"{_PLAIN} rootflags=subvol=@rootfs resume=UUID={SWAP_UUID}",
    ),
    "fedora": Family(
        f"UUID={ROOT_UUID} / btrfs subvol=root 0 0\nUUID={BOOT_UUID} /boot ext4 defaults 1 2\n"
        f"UUID={ROOT_UUID} /home btrfs subvol=home 0 0\n{_SWAP}",
        root="btrfs", loader="grub", boot=True, files=(_DEFAULTS,),
        # Where there is a folder of the name, a snapshot would go into it.
        script='btrfs subvolume snapshot . new; mv root old-root; mv new root; '
        'mv home old-home; btrfs subvolume create home; '
        'mkdir -p root/home; keep="root home"\n',
        options=f"{_PLAIN} rootflags=subvol=root resume=UUID={SWAP_UUID}",
    ),
    "suse": Family(
        f"UUID={ROOT_UUID} / btrfs defaults 0 0\nUUID={ROOT_UUID} /home btrfs subvol=/@/home 0 0\n"
        f"UUID={ROOT_UUID} /.snapshots btrfs subvol=/@/.snapshots 0 0\n{_SWAP}",
        root="btrfs", loader="grub", script=_SUSE, files=(_DEFAULTS,),
    ),
    "bootpart": Family(
        f"PARTUUID={ROOT_PART} / ext4 defaults 0 1\nPARTUUID={BOOT_PART} /boot ext4 defaults 0 2\n"
        f"PARTUUID={SWAP_PART} none swap sw 0 0\n",
        loader="grub", boot=True,
        options=f"root=PARTUUID={ROOT_PART} ro resume=PARTUUID={SWAP_PART}",
    ),
    "xfs": Family(f"UUID={ROOT_UUID} / xfs defaults 0 0\n{_SWAP}", root="xfs"),
    "unit": Family(
        _EXT4, options=f"{_PLAIN} resume=PARTLABEL={SWAP_NAME}",
        files=(
            text(_SWAP_UNIT,
                f"[Unit]\nDescription=Swap\n[Swap]\nWhat=/dev/disk/by-partlabel/{SWAP_NAME}\n"),
            directory("etc/systemd/system/swap.target.wants"),
            Entry(
                f"etc/systemd/system/swap.target.wants/{_SWAP_UNIT.rpartition('/')[2]}",
                kind=tarfile.SYMTYPE,
                mode=0o777, link=f"../{_SWAP_UNIT.rpartition('/')[2]}",
            ),
        ),
    ),
    "auto": Family(_EXT4),
    "random": Family(
        f"{_EXT4}/dev/mapper/cryptswap none swap sw 0 0\n", random_swap=True,
        options=f"{_PLAIN} noresume",
        files=(text("etc/crypttab",
            f"cryptswap PARTUUID={SWAP_PART} /dev/urandom swap,cipher=aes-xts-plain64\n"),),
    ),
    "trixie": Family(_EXT4 + _SWAP, system="trixie", features="orphan_file,metadata_csum_seed"),
    "plainext": Family(_EXT4 + _SWAP, features="^metadata_csum"),
    # systemd makes missing mount points, others do not.
    "sysvinit": Family(_EXT4 + _SWAP, system="sysvinit", files=(directory("boot/efi"),)),
    "home": Family(f"{_EXT4}{_SWAP}UUID={HOME_UUID} /home ext4 defaults 0 2\n", home=True),
    "extlinux": Family(_EXT4 + _SWAP, loader="extlinux"),
    "bullseye": Family(
        f"{_EXT4}PARTUUID={SWAP_PART} none swap sw 0 0\n", system="bullseye",
        features="^metadata_csum",
        options=f"{_PLAIN} resume=PARTUUID={SWAP_PART}",
    ),
    "sid": Family(
        f"{_EXT4}/dev/disk/by-uuid/{SWAP_UUID} none swap sw 0 0\n", system="sid",
        features="orphan_file,metadata_csum_seed",
        options=f"{_PLAIN} resume=/dev/disk/by-uuid/{SWAP_UUID}",
    ),
    "i386": Family(_EXT4 + _SWAP, system="i386", loader="extlinux"),
})  # fmt: skip
