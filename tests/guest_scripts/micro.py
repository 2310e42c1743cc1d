"""Guests of a few megabytes that boot in seconds:
the host's kernel, busybox, and of the host's tools what is wanted.

Their disks are those of tests/guests/small.py, with a root that really runs: fstab, RESUME, initrd
and GRUB's menu are there to be repaired. The kernel comes from the host's /boot and starts from an
initramfs that only loads drivers.
"""

from __future__ import annotations

import platform
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

from tests.guests.cache import cached, recipe_hash
from tests.guests.content import Entry, directory, text
from tests.guests.tools import environment, run

BUSYBOX = Path("/bin/busybox")
UTIL_LINUX = (
    "sfdisk", "fdisk", "partx", "addpart", "delpart", "resizepart", "flock", "mkswap", "swapon",
    "swapoff",
)  # fmt: skip
PARTED = ("parted", "partprobe")
EXT = ("resize2fs", "e2fsck")

_DRIVERS = (
    "virtio_pci", "virtio_scsi", "virtio_blk", "sd_mod", "virtio_console", "ata_piix", "ext4",
)  # fmt: skip
_FOLDERS = (
    "bin", "sbin", "lib", "lib64", "usr", "usr/bin", "sys", "run", "var", "var/lib", "var/log",
    "tmp", "root",
)  # fmt: skip
_INITRAMFS_INIT = """\
#!/bin/sh
mount -t devtmpfs none /dev
mount -t proc none /proc
mount -t sysfs none /sys
exec </dev/ttyS0 >/dev/ttyS0 2>&1
while read -r module; do insmod "/modules/$module"; done </modules/order
root=$(sed -n 's/.*microroot=\\([^ ]*\\).*/\\1/p' /proc/cmdline)
n=0
until mount -o rw "/dev/$root" /new; do
    [ $((n += 1)) -lt 60 ] || exec sh
    sleep 1
done
umount /proc /sys
mount --move /dev /new/dev
exec switch_root /new /init
"""
_INIT = """\
#!/bin/sh
mount -t proc none /proc
mount -t sysfs none /sys
mount -t tmpfs none /run
mount -t tmpfs none /tmp
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo
for part in /dev/[sv]da[0-9]*; do
    [ "$(dd if="$part" bs=1 skip=4086 count=10 2>/dev/null)" != SWAPSPACE2 ] || swapon "$part"
done
[ ! -x /etc/rc.local ] || /etc/rc.local
for script in /etc/local.d/*.start; do [ ! -x "$script" ] || "$script"; done
echo GROWDISK-MICRO-UP
exec setsid cttyhack sh
"""


def root_files(tools: Iterable[str]) -> tuple[Entry, ...]:
    """What makes a small disk's root bootable, with `tools` of the
    host beside busybox's applets.
    """
    wanted = set(tools)
    entries = [directory(folder) for folder in _FOLDERS]
    entries += [text("init", _INIT, 0o755), Entry("bin/busybox", BUSYBOX.read_bytes(), 0o755)]
    for applet in _applets():
        if applet not in wanted and applet not in ("busybox", "init"):
            entries.append(Entry(f"bin/{applet}", kind=tarfile.SYMTYPE, link="busybox"))
    for tool in wanted:
        entries.append(Entry(f"sbin/{tool}", _program(tool).read_bytes(), 0o755))
    libraries = {library for tool in wanted for library in _libraries(_program(tool))}
    entries += [
        directory(folder)
        for folder in sorted({f for lib in libraries for f in _parents(lib)} - set(_FOLDERS))
    ]
    entries += [Entry(str(lib).lstrip("/"), lib.read_bytes(), 0o755) for lib in sorted(libraries)]
    return tuple(entries)


def kernel(*more: str) -> tuple[Path, Path]:
    """The host's kernel, and an initramfs for it (cached), which loads `more` drivers too.

    Only where they are needed: under emulation, XFS and btrfs take a third of a boot.
    """
    image = sorted(Path("/boot").glob("vmlinuz-*"))[-1]
    version = image.name.removeprefix("vmlinuz-")
    key = f"micro-{version}-{recipe_hash([Path(__file__)], ' '.join(more))[:24]}"
    made = cached(key, lambda folder: _make_initramfs(folder, version, (*_DRIVERS, *more)))
    return image, made / "initramfs"


def _make_initramfs(folder: Path, version: str, drivers: Sequence[str]) -> None:
    tree = folder / "tree"
    for name in ("bin", "dev", "proc", "sys", "new", "modules"):
        (tree / name).mkdir(parents=True)
    (tree / "bin/busybox").write_bytes(BUSYBOX.read_bytes())
    (tree / "bin/busybox").chmod(0o755)
    for applet in ("sh", "mount", "umount", "insmod", "sed", "sleep", "switch_root"):
        (tree / "bin" / applet).symlink_to("busybox")
    modules = closure_of(version, drivers)
    for module in modules:
        (tree / "modules" / module.name).write_bytes(module.read_bytes())
    (tree / "modules/order").write_text("".join(f"{module.name}\n" for module in modules))
    (tree / "init").write_text(_INITRAMFS_INIT)
    (tree / "init").chmod(0o755)
    names = "".join(f"{path.relative_to(tree)}\n" for path in [tree, *sorted(tree.rglob("*"))])
    archive = subprocess.run(
        ["cpio", "-o", "-H", "newc", "-R", "0:0", "--quiet"], input=names.encode(), cwd=tree,
        env=environment(),
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "initramfs").write_bytes(archive.stdout)
    run("rm", "-rf", tree)


def closure_of(version: str, drivers: Sequence[str]) -> Sequence[Path]:
    """The drivers and what they need, that first. Those built into the kernel have no file."""
    return list(dict.fromkeys(_closure(Path("/lib/modules") / version, drivers)))


def _closure(root: Path, drivers: Sequence[str]) -> Iterator[Path]:
    needs: dict[str, list[str]] = {}
    for line in (root / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {Path(path).name.split(".")[0].replace("-", "_"): path for path in needs}

    def closure(path: str) -> Iterator[Path]:
        for needed in needs[path]:
            yield from closure(needed)
        yield root / path

    for driver in drivers:
        if driver in by_name:
            yield from closure(by_name[driver])


@cache
def _applets() -> Sequence[str]:
    return run(BUSYBOX, "--list").split()


@cache
def _program(tool: str) -> Path:
    return Path(run("which", tool).strip()).resolve()


@cache
def _libraries(program: Path) -> Sequence[Path]:
    said = subprocess.run(
        ["ldd", program], capture_output=True, text=True, env=environment()
    ).stdout
    return [Path(match) for match in re.findall(r"(/\S+\.so\S*) \(0x", said)]


def _parents(path: Path) -> Iterator[str]:
    for parent in reversed(path.parents):
        if name := str(parent).strip("/"):
            yield name


assert platform.machine() == "x86_64", "the guests here are of this kind"
