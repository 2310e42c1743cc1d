"""What lies on what on this host, as the kernel tells: block devices in /sys, mounts in /proc.

A node is a device (its number, as in st_rdev) or a file (st_dev, st_ino). `Span` is the part of a
lower node that an upper one covers. Only partitions and loop devices have one; a device mapper's
map is not read. Spec: Linux Documentation/ABI/stable/sysfs-block, loop(4), proc_pid_mountinfo(5).
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import struct
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from growdisk.fast_dataclass import dataclass

Node = int | tuple[int, int]

_END = 1 << 63
_LOOP_GET_STATUS64 = 0x4C05
_LOOP_INFO = struct.Struct("<3Q4I2I64s64s32s2Q")  # struct loop_info64
_IN_MEMORY = frozenset({"tmpfs", "devtmpfs", "ramfs"})
_DEVICES_IN_MEMORY = ("zram", "ram")
_UPPER = "upperdir="  # of an overlay: what a live system writes to
# of NFS and CIFS
LOCAL_LOCKS = frozenset({"nolock", "local_lock=all", "local_lock=posix", "nobrl"})
_SHARED = (
    "nfs", "cifs", "smb3", "9p", "ceph", "fuse", "virtiofs", "ocfs2", "gfs2", "lustre", "afs",
    "beegfs", "gpfs",
)  # fmt: skip


@dataclass(frozen=True)
class Span:
    """The half-open byte range [start, end) of `node`."""

    node: Node
    start: int = 0
    end: int = _END

    def overlaps(self, other: Span) -> bool:
        return self.node == other.node and self.start < other.end and other.start < self.end


@dataclass(frozen=True)
class LoopDevice:
    """A loop device in use; `path` is its backing file as the kernel names it."""

    number: int
    path: str
    backing: Span


def node_of(status: os.stat_result) -> Node:
    return status.st_rdev if stat.S_ISBLK(status.st_mode) else (status.st_dev, status.st_ino)


def sysfs(number: int) -> Path:
    """The folder of a device in /sys."""
    return Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")


def kernel_name_of(number: int) -> str:
    """The kernel's name: sda3, dm-0, loop1."""
    try:
        return sysfs(number).resolve(strict=True).name
    except OSError:
        return f"{os.major(number)}:{os.minor(number)}"


def device_path_of(number: int) -> str:
    """The path that the kernel gives a device; "!" stands for a slash in its name."""
    return f"/dev/{kernel_name_of(number).replace('!', '/')}"


def value_of(number: int, name: str) -> str:
    """An attribute of a device; "" if it has none."""
    return sysfs_text(sysfs(number) / name)


def size_of(number: int) -> int:
    """Bytes of a device, as the kernel has it now. OSError."""
    # /sys counts in 512 bytes, whatever the device's own sectors are.
    return 512 * int((sysfs(number) / "size").read_text())


def sysfs_text(path: Path) -> str:
    """What a small file of the kernel says; "" if there is none."""
    try:
        # Names of files and programs need not be text.
        return path.read_text(errors="surrogateescape").strip()
    except OSError:
        return ""


def partitions_of(number: int) -> list[int]:
    return _numbers(file.parent for file in sysfs(number).glob("*/partition"))


def linked_devices(number: int, kind: str) -> list[int]:
    """The "holders", mappings and arrays that are built on the device, or the "slaves" below it."""
    return _numbers((sysfs(number) / kind).glob("*"))


def disk_of_partition(number: int) -> Span | None:
    """The disk that a partition is on, and where; None for everything else."""
    if not value_of(number, "partition"):
        return None
    start = 512 * int(value_of(number, "start"))
    parent = _number(sysfs(number).resolve().parent)
    return None if parent is None else Span(parent, start, start + size_of(number))


def loops() -> list[LoopDevice]:
    """All loop devices in use."""
    found = (_loop(folder.parent) for folder in Path("/sys/block").glob("loop*/loop"))
    return [loop for loop in found if loop is not None]


def file_behind(number: int) -> Path | None:
    """The file that a loop device lies on, by its name.

    None if another file has that name by now: something is mounted over its folder, or it was
    attached in another namespace. None, too, if we may not look.
    """
    with suppress(OSError, ValueError):
        for loop in loops():
            path = Path(loop.path)
            if (
                loop.number == number
                and path.is_file()
                and node_of(path.stat()) == loop.backing.node
            ):
                return path
    return None


def _loop(folder: Path) -> LoopDevice | None:
    try:
        file = folder / "loop/backing_file"
        path = file.read_text(errors="surrogateescape").rstrip("\n")
        start, limit = (
            int((folder / "loop" / name).read_text()) for name in ("offset", "sizelimit")
        )
    except OSError:  # detached meanwhile
        return None
    number, node = _number(folder), _backing_node(folder.name, path)
    if number is None or node is None:
        return None
    return LoopDevice(number, path, Span(node, start, start + limit if limit else _END))


def _backing_node(name: str, path: str) -> Node | None:
    """The file behind a loop device: by the kernel's answer if permitted, else by its path."""
    try:
        with open(f"/dev/{name}", "rb", buffering=0, opener=_opener) as device:
            answer = fcntl.ioctl(device, _LOOP_GET_STATUS64, bytes(_LOOP_INFO.size))
        # lo_device, lo_inode and lo_rdevice, all of the backing file.
        file_system, inode, number, *_ = _LOOP_INFO.unpack(answer)
        # With a number, the backing file is a block device itself.
        return number or (file_system, inode)
    except OSError:
        pass
    try:
        # By its path, if we may not ask: wrong if the file was moved or deleted.
        return node_of(Path(path).stat())
    except (OSError, ValueError):
        return None


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def device_number(path: str) -> int | None:
    """Of a device node; None for a file, which has none, and where nothing is."""
    try:
        return Path(path).stat().st_rdev or None
    except (OSError, ValueError):
        return None


def _numbers(folders: Iterable[Path]) -> list[int]:
    return [number for folder in sorted(folders) if (number := _number(folder)) is not None]


def _number(folder: Path) -> int | None:
    try:
        major, minor = (folder / "dev").read_text().split(":")
    except (OSError, ValueError):
        return None
    return os.makedev(int(major), int(minor))


# --- mounts ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HostMount:
    """A mount: `number` is the file system's device number, `source` is what is mounted at `place`.

    `kind` is the type of the file system.
    """

    number: int
    place: str
    kind: str
    source: str
    options: frozenset[str]


def mounts() -> list[HostMount]:
    """All mounts that this process sees."""
    lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    return [_mount(line) for line in lines]


def mount_of(path: Path) -> HostMount | None:
    """The mount that `path` lies in, or would: the last one at the longest place above it."""
    real = Path(os.path.realpath(path))
    above = [mount for mount in mounts() if real.is_relative_to(mount.place)]
    # max() takes the first of equals: reversed, that is the last one mounted at one place, which
    # hides the others.
    return max(reversed(above), key=lambda mount: len(mount.place), default=None)


def memory_under(path: Path) -> str:
    """The memory (tmpfs, zram0) that `path` lies in, or would lie in; "" if on a disk."""
    mount = mount_of(path)
    if mount is None or mount.kind in _IN_MEMORY:
        return mount.kind if mount else ""
    if (name := kernel_name_of(mount.number)).startswith(_DEVICES_IN_MEMORY):
        return name
    upper = next(
        (option.removeprefix(_UPPER) for option in mount.options if option.startswith(_UPPER)), None
    )
    below = Path(upper) if upper else file_behind(mount.number)
    # A path from before the root was changed may lead to this very mount.
    return memory_under(below) if below and below.exists() and mount_of(below) != mount else ""


def is_on_fuse(fd: int) -> bool:
    """Whether a program serves this open file."""
    number = os.fstat(fd).st_dev
    return any(mount.number == number and mount.kind.startswith("fuse") for mount in mounts())


def is_shared(mount: HostMount) -> bool:
    """Whether other hosts, or other programs on its server, may reach the same files."""
    return mount.kind.startswith(_SHARED)


def unescaped(word: str) -> str:
    """What the kernel writes as \\040 is a blank."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)


def _mount(line: str) -> HostMount:
    fields, _, rest = line.partition(" - ")
    # ID, parent, MAJOR:MINOR, root, place, options, more fields - type, source, options
    number, _, place, options = fields.split(" ")[2:6]
    major, minor = number.split(":")
    kind, source, *more = rest.split(" ")
    words = frozenset(",".join((options, *more)).split(","))
    return HostMount(
        os.makedev(int(major), int(minor)), unescaped(place), kind, unescaped(source), words
    )
