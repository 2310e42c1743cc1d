"""Guests whose root file system is further in: in logical volumes, encrypted containers, or both.

No system inside.

    lvm      MBR, sda1 /boot, sda2 extended, sda5 a physical volume, as Debian does; group guest-vg: root, home (XFS)
    luks1    MBR, sda1 LUKS1 with ext4
    luks2    GPT, sda1 /boot, sda2 LUKS2 with LVM in it: Debian's and Ubuntu's encrypted installation; group crypt
    thin     MBR, sda1 a physical volume with a thin pool, a snapshot, and nothing that could grow
    zoo      GPT, sda1 XFS, sda2 btrfs whose default subvolume is read-only, sda3 NTFS, sda4 F2FS, sda5 ext3, sda6 ext2,
             sda7 an ext4 as old as they come

The keys are one with a byte that is not text, and one with a line break behind it.
"""  # noqa: E501

from __future__ import annotations

from pathlib import Path

from growdisk.units import MiB
from tests.guests.appliance import Bench, device, quick_bench
from tests.guests.cache import cached, recipe_hash
from tests.guests.tools import run

KEYS = {"luks1": b"a phrase\n", "luks2": b"\xff\0 no text\n"}
FSTAB = "/dev/mapper/guest--vg-root / ext4 defaults 0 1\n"
_SIZES = {"lvm": 512, "luks1": 96, "luks2": 160, "thin": 128, "zoo": 900}
_LAST = 1  # MiB that installers leave free at the end
ZOO = {
    1: ("xfs", 320),
    2: ("btrfs", 128),
    3: ("ntfs", 64),
    4: ("f2fs", 128),
    5: ("ext3", 64),
    6: ("ext2", 64),
    7: ("old ext4", 64),
}
_MAKERS = {
    "xfs": ["mkfs.xfs", "-q", "-L", "flat"], "btrfs": ["mkfs.btrfs", "-q"],
    "ntfs": ["mkntfs", "-F", "-q", "-f"],
    "f2fs": ["mkfs.f2fs", "-q"], "ext3": ["mkfs.ext3", "-q"], "ext2": ["mkfs.ext2", "-q"],
    "old ext4": ["mkfs.ext4", "-q", "-O", "^64bit,^resize_inode,^metadata_csum"],
}  # fmt: skip
# Quick to open: what makes passphrases hard to guess is not what is tested.
_FORMATS = {
    "luks1": ["--type", "luks1", "--pbkdf-force-iterations", "1000"],
    "luks2": ["--type", "luks2", "--pbkdf", "argon2id", "--pbkdf-memory", "32768",
        "--pbkdf-parallel", "1",
              "--pbkdf-force-iterations", "4", "--sector-size", "4096"],
}  # fmt: skip


def layered_guests() -> Path:
    """The folder with NAME.raw of each, read-only; built when needed."""
    recipe = recipe_hash([Path(__file__), Path(__file__).with_name("appliance.py")])
    return cached(f"layered-{recipe[:12]}", _build)


def _build(folder: Path) -> None:
    disks = {name: folder / f"{name}.raw" for name in _SIZES}
    for name, disk in disks.items():
        with disk.open("wb") as file:
            file.truncate(_SIZES[name] * MiB)
        run("sfdisk", "-q", "--no-reread", disk, stdin=_table(name))
    _format(disks["luks1"], "luks1", 1, _SIZES["luks1"] - 1 - _LAST)
    _format(disks["luks2"], "luks2", 33, _SIZES["luks2"] - 33 - _LAST)
    _fill_zoo(disks["zoo"])
    names = ["lvm", "luks1", "luks2", "thin", "zoo"]
    with quick_bench([disks[name] for name in names]) as appliance:
        _fill(appliance)
    for disk in disks.values():
        disk.chmod(0o444)


def _table(name: str) -> str:
    end = (_SIZES[name] - _LAST) * 2048
    match name:
        case "lvm":
            inner = 33 * 2048
            parts = f"1: start=2048, size={31 * 2048}, type=83, bootable\n"
            parts += (
                f"2: start={inner - 2}, size={end - inner + 2}, type=5\n5: start={inner}, "
                f"size={end - inner}, type=8e\n"
            )
            return f"label: dos\nlabel-id: 0x1a7e4ed1\n{parts}"
        case "luks2":
            return (
                f"label: gpt\n1: start=2048, size={32 * 2048}\n2: start={33 * 2048}, "
                f"size={end - 33 * 2048}\n"
            )
        case "zoo":
            lines, at = "", 1
            for number, (_, size) in ZOO.items():
                lines += f"{number}: start={at * 2048}, size={size * 2048}\n"
                at += size
            return f"label: gpt\n{lines}"
    return f"label: dos\n1: start=2048, size={end - 2048}, type=83\n"


def _format(disk: Path, kind: str, start: int, size: int) -> None:
    """A LUKS header, made here: deriving keys under emulation takes long."""
    alone, key = disk.with_suffix(".part"), disk.with_suffix(".key")
    key.write_bytes(KEYS[kind].rstrip(b"\n") if kind == "luks1" else KEYS[kind])
    with alone.open("wb") as file:
        file.truncate(size * MiB)
    run("cryptsetup", "-q", "luksFormat", *_FORMATS[kind], alone, key)
    _put(alone, disk, start)
    key.unlink()


def _fill_zoo(disk: Path) -> None:
    at = 1
    for kind, size in ZOO.values():
        alone = disk.with_suffix(".part")
        with alone.open("wb") as file:
            file.truncate(size * MiB)
        run(*_MAKERS[kind], alone)
        _put(alone, disk, at)
        at += size


def _put(alone: Path, disk: Path, at: int) -> None:
    run(
        "dd", f"if={alone}", f"of={disk}", "bs=1M", f"seek={at}", "conv=notrunc,sparse",
        "status=none",
    )  # fmt: skip
    alone.unlink()


def _fill(appliance: Bench) -> None:
    boot, lvm, thin = device("lvm", 1), device("lvm", 5), device("thin", 1)
    appliance.run(
        f"mkdir -p /tmp/b; mount -t btrfs {device('zoo', 2)} /tmp/b; btrfs subvolume create "
        "/tmp/b/@\n"
        "echo kept >/tmp/b/@/file; btrfs property set -ts /tmp/b/@ ro true; btrfs subvolume "
        "set-default /tmp/b/@\n"
        "umount /tmp/b"
    )
    appliance.run(
        f"mkfs.ext2 -q {boot}; lvm pvcreate {lvm}; lvm vgcreate guest-vg {lvm}\n"
        "lvm lvcreate -y -n root -l 20 guest-vg; lvm lvcreate -y -n home -L 304M guest-vg\n"
        "mkfs.ext4 -q /dev/guest-vg/root; mkfs.xfs -q /dev/guest-vg/home\n"
        + _with_files("/dev/guest-vg/root")
        + _with_files("/dev/guest-vg/home")
        + "lvm vgchange -an guest-vg"
    )
    for kind, number in (("luks1", 1), ("luks2", 2)):
        key = appliance.give(KEYS[kind].rstrip(b"\n") if kind == "luks1" else KEYS[kind])
        appliance.run(f"cryptsetup open --key-file {key} {device(kind, number)} {kind}")
    appliance.run(
        "mkfs.ext4 -q /dev/mapper/luks1\n"
        + _with_files("/dev/mapper/luks1")
        + "cryptsetup close luks1"
    )
    appliance.run(
        f"mkfs.ext2 -q {device('luks2', 1)}; lvm pvcreate /dev/mapper/luks2; lvm vgcreate crypt "
        "/dev/mapper/luks2\n"
        "lvm lvcreate -y -n swap_1 -l 4 crypt; lvm lvcreate -y -n root -l 100%FREE crypt\n"
        "mkfs.ext4 -q /dev/crypt/root\n"
        + _with_files("/dev/crypt/root")
        + "lvm vgchange -an crypt; cryptsetup close luks2"
    )
    no_check = "--config 'global/thin_check_executable=\"\"'"
    appliance.run(
        f"lvm pvcreate {thin}; lvm vgcreate thin {thin}; modprobe dm-thin-pool; modprobe "
        "dm-snapshot\n"
        f"lvm lvcreate {no_check} -y -L 32M -T thin/pool; lvm lvcreate {no_check} -y -V 64M -T "
        "thin/pool -n root\n"
        "lvm lvcreate -y -L 16M -n data thin; mkfs.ext4 -q /dev/thin/data; lvm lvcreate -y -s -L "
        "8M -n old thin/data\n"
        f"lvm vgchange {no_check} -an thin"
    )


def _with_files(device: str) -> str:
    """Files to recognise the file system by."""
    return (
        f"mkdir -p /tmp/m; mount {device} /tmp/m; mkdir -p /tmp/m/etc; printf %s '{FSTAB}' "
        ">/tmp/m/etc/fstab\n"
        "seq 100000 >/tmp/m/numbers; umount /tmp/m\n"
    )
