"""What is mounted where, as this process sees it. Spec: proc_pid_mountinfo(5)."""

from __future__ import annotations

import os
from pathlib import Path

from growdisk.block.host_devices import file_behind, kernel_name_of
from growdisk.fast_dataclass import dataclass

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
    lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    return [_mount(line) for line in lines]


def mount_of(path: Path) -> HostMount | None:
    """The mount that `path` lies in, or would: the last one at the longest place above it."""
    real = Path(os.path.realpath(path))
    around = [mount for mount in mounts() if real.is_relative_to(mount.place)]
    # max() takes the first of equals: reversed, that is the last one mounted at one place, which
    # hides the others.
    return max(reversed(around), key=lambda mount: len(mount.place), default=None)


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
    return (
        # The backslash last: before, it would make new escapes.
        word.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
    )


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
