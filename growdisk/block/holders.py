"""Finds who uses a block device or image file of the host, in /proc and /sys, by any node.

QEMU's locks (locks.py) lie on an inode. libvirt gives each QEMU device nodes of its own, so the
locks on a device are not seen from here, and QEMU does not claim a device as a mount does. So all
open files are looked at. In use is:

    what lies on it    a mount, swap, a mapping, an array, a loop device, an open partition
    the device itself  open in any process, under any node
    what it lies on    opened to write (the disk of a partition, the backing file of a loop device)

Other volumes of the same group, and other partitions of the same disk, do not matter.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from growdisk.block.host_devices import (
    LoopDevice,
    Node,
    Span,
    device_path_of,
    disk_of_partition,
    kernel_name_of,
    linked_devices,
    loops,
    mounts,
    node_of,
    partitions_of,
    sysfs_text,
    unescaped,
    value_of,
)
from growdisk.block.locks import named_process, open_files
from growdisk.errors import ImageError, ImageInUse
from growdisk.fast_dataclass import dataclass

# PROC_PID_INIT_INO of the kernel: this inode is the first namespace's on every host.
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"
_MOMENT, _PAUSE = 0.5, 0.05  # seconds
# udev looks at a device whose size has changed; on a busy host that takes its time.
_UDEV, _UDEV_SECONDS = ("(udev-worker) (pid", "systemd-udevd (pid"), 60.0


@dataclass(frozen=True)
class Use:
    """`holders` in words for people; `pids` of the processes among them.

    `unseen`: what could not be looked at. `release`: how to end the use of a holder that is not a
    process.
    """

    holders: tuple[str, ...]
    pids: tuple[int, ...] = ()
    unseen: tuple[str, ...] = ()
    release: str = ""

    def __bool__(self) -> bool:
        return bool(self.holders)


@dataclass(frozen=True)
class _Held:
    """A use by the host itself, and the command that ends it."""

    words: str
    release: str


@dataclass(frozen=True)
class _Family:
    """`upper`: the target and what lies on it; `lower`: what it lies on, where writers count."""

    upper: frozenset[Node]
    lower: frozenset[Node]
    held: tuple[_Held, ...]


def use_of(path: Path, *, claimed: bool = False) -> Use:
    """Who uses the device or file at `path`.

    `claimed`: this process has the device open exclusively itself. Our own process does not count.
    OSError if there is nothing at `path`.
    """
    target = node_of(path.stat())
    family = _family(target)
    held = [*_mounts(family.upper), *_swaps(family.upper), *family.held]
    pids, unseen = _openers(family, all_of_target=isinstance(target, int))
    # Only if nothing has been found: the kernel says that there is a claim, and not whose.
    held = held or ([] if pids else _claims(family, target, claimed=claimed))
    words = [*(use.words for use in held), *map(named_process, pids)]
    return Use(tuple(dict.fromkeys(words)), tuple(pids), unseen, held[0].release if held else "")


def is_open_here(path: Path) -> bool:
    """Whether this process itself has it open to write to it."""
    node = frozenset({node_of(path.stat())})
    return _has_open("self", frozenset(), node)


def _family(target: Node) -> _Family:
    known = loops()
    lower = list(_lower(Span(target), known))
    sharing = [
        loop.number
        for span in lower
        for loop in known
        if loop.backing.overlaps(span) and loop.number != target
    ]  # what shares bytes with it: another loop device on the same file
    own_chain = {span.node for span in lower}
    upper = [target, *_upper(target, known)]
    for loop in sharing:
        # A loop device that we lie on ourselves is below, and shares nothing.
        if loop not in own_chain:
            upper += [loop, *_upper(loop, known)]
    above = [node for node in dict.fromkeys(upper) if node != target and isinstance(node, int)]
    return _Family(frozenset(upper), frozenset(own_chain), tuple(_mappings(above)))


def _upper(node: Node, known: list[LoopDevice]) -> Iterator[int]:
    direct = [loop.number for loop in known if loop.backing.node == node]
    if isinstance(node, int):
        direct += [*partitions_of(node), *linked_devices(node, "holders")]
    for number in direct:
        yield number
        yield from _upper(number, known)


def _lower(span: Span, known: list[LoopDevice]) -> Iterator[Span]:
    """What it lies on, all the way down."""
    if not isinstance(span.node, int):
        return
    below = [Span(slave) for slave in linked_devices(span.node, "slaves")]
    # A partition has no slaves in /sys: the disk that it is on is the folder around its own.
    if (disk := disk_of_partition(span.node)) is not None:
        below.append(disk)
    below += [loop.backing for loop in known if loop.number == span.node]
    for lower in below:
        yield lower
        yield from _lower(lower, known)


def _mappings(numbers: list[int]) -> Iterator[_Held]:
    """The devices that are built on another one, without partitions: they exist used or not."""
    for number in numbers:
        kernel_name = kernel_name_of(number)
        name = value_of(number, "dm/name")
        uuid = value_of(number, "dm/uuid")
        if value_of(number, "partition"):
            continue
        if uuid.startswith("LVM-"):
            # LVM doubles the hyphens in both names and puts a single one between them.
            group = name.replace("--", "\0").partition("-")[0].replace("\0", "-")
            yield _Held(
                f"the logical volume {name}",
                f"take the volume group out of use (vgchange -an {group})",
            )
        elif name:
            yield _Held(f"the mapping {name}", f"remove that mapping (dmsetup remove {name})")
        elif kernel_name.startswith("loop"):
            yield _Held(
                f"the loop device /dev/{kernel_name}",
                f"detach that (losetup -d /dev/{kernel_name})",
            )
        else:
            device = device_path_of(number)
            yield _Held(f"the device {device}", f"take {device} apart first")


def _mounts(nodes: frozenset[Node]) -> Iterator[_Held]:
    for mount in mounts():
        in_use = mount.number in nodes or (
            not os.major(mount.number) and _device_at(mount.source) in nodes
        )
        if in_use:  # btrfs has a number that is not a device's
            yield _Held(
                f"the mount {mount.place}", f"unmount it (umount {shlex.quote(mount.place)})"
            )


def _device_at(source: str) -> Node | None:
    if not source.startswith("/"):
        return None
    with suppress(OSError, ValueError):
        return node_of(Path(source).stat())
    return None


def _swaps(nodes: frozenset[Node]) -> Iterator[_Held]:
    with suppress(OSError):
        for line in Path("/proc/swaps").read_text(errors="surrogateescape").splitlines()[1:]:
            if _device_at(place := unescaped(line.split()[0])) in nodes:
                yield _Held(
                    "this host's swap", f"take it out of use (swapoff {shlex.quote(place)})"
                )


def _claims(family: _Family, target: Node, *, claimed: bool) -> list[_Held]:
    """Whether the kernel says that a device is claimed, also by another namespace's mount."""
    for node in family.upper:
        # Our own claim would be the answer: on the device itself, and on its partitions.
        if not isinstance(node, int) or (
            claimed and (node == target or value_of(node, "partition"))
        ):
            continue
        flags = os.O_RDONLY | os.O_EXCL | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            os.close(os.open(device_path_of(node), flags))
        except OSError as error:
            if error.errno == errno.EBUSY:
                return [_Held("this host (a mount, a mapping, or an array)", "end that use")]
    return []


def _openers(family: _Family, *, all_of_target: bool) -> tuple[list[int], tuple[str, ...]]:
    """Processes that have it open, and in words who could not be asked."""
    # A file's readers do no harm: of files only those who write count.
    devices = frozenset(node for node in family.upper if isinstance(node, int))
    always = family.upper if all_of_target else devices
    writers = (family.upper | family.lower) - always
    found, hidden = [], 0
    servers = _servers(family)
    for name in os.listdir("/proc"):  # noqa: PTH208 - thousands, of which no path is needed
        if not name.isdigit() or int(name) == os.getpid():
            continue
        # A process that serves a device of NBD's client has it open, but uses nothing of it.
        if any(Path(f"/proc/{name}/task/{thread}").exists() for thread in servers):
            continue
        try:
            if _has_open(name, always, writers):
                found.append(int(name))
        except PermissionError:
            # Kernel threads and ending processes have no memory of their own, and no files.
            hidden += "\nVmSize:" in sysfs_text(Path(f"/proc/{name}/status"))
        except OSError:  # it has ended
            continue
    return found, tuple(_unseen(hidden))


def _servers(family: _Family) -> list[str]:
    """The threads that serve devices of NBD's client."""
    numbers = (node for node in family.upper | family.lower if isinstance(node, int))
    return [thread for number in numbers if (thread := value_of(number, "pid"))]


def _has_open(pid: str, always: frozenset[Node], writers: frozenset[Node]) -> bool:
    for fd, status in open_files(pid):
        if not (stat.S_ISBLK(status.st_mode) or stat.S_ISREG(status.st_mode)):
            continue
        node = node_of(status)
        if node in always or (node in writers and _writes(pid, fd)):
            return True
    return False


def _writes(pid: str, fd: str) -> bool:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/fdinfo/{fd}").read_text().splitlines():
            if line.startswith("flags:"):
                return bool(int(line.split()[1], 8) & (os.O_WRONLY | os.O_RDWR))
    return False


def _unseen(hidden: int) -> Iterator[str]:
    if hidden:
        yield f"the open files of {hidden} processes of other users"
    # With hidepid=2 others' processes have no folder in /proc, so none of them was counted.
    elif os.geteuid() != 0 and _hides_processes():
        yield "the processes of other users (/proc is mounted with hidepid)"
    with suppress(OSError):
        if str(Path("/proc/self/ns/pid").readlink()) != _INITIAL_PID_NAMESPACE:
            yield "processes outside this container"


def _hides_processes() -> bool:
    return any(
        option.startswith("hidepid=") and option != "hidepid=0"
        for m in mounts()
        for option in m.options
    )


def refuse_users(
    path: Path, *, claimed: bool = False, not_in_use: bool = False, written: bool = False
) -> None:
    """ImageInUse if anybody else uses it, use-unknown if not all users of a device can be seen.

    `not_in_use`: the user's word that there are none of the latter. `claimed`: this process has the
    device open exclusively already. `written`: the kernel knows of somebody who writes to the file.
    """
    use = _lasting_use(path, claimed=claimed)
    if use and use.release and not use.pids:
        # No program has it open: the host itself has built something on it.
        raise ImageInUse.named(
            "held-by-host",
            "{path} is in use",
            "{holder} uses it",
            "{hint}; then run the same command again",
            {"path": path, "holder": ", ".join(use.holders), "hint": use.release},
        )
    if use or (written and not is_open_here(path)):
        raise ImageInUse(
            path, holder=", ".join(use.holders) or "a process that cannot be seen from here"
        )
    if use.unseen and not not_in_use and path.is_block_device() and os.geteuid() != 0:
        # A device of the host, and not all who may use it can be seen.
        raise ImageError.named(
            "use-unknown",
            "cannot know whether {path} is in use",
            "an ordinary user cannot look at {unseen}",
            "run growdisk as root; or add --not-in-use if you are sure that nobody uses it",
            {"path": path, "unseen": use.unseen},
        )


def _lasting_use(path: Path, *, claimed: bool) -> Use:
    """What only looks at a device (udev, blkid, losetup) is gone in a moment; who stays uses it."""
    use, began = use_of(path, claimed=claimed), time.monotonic()
    # Only programs go away by themselves; a mount or a mapping stays.
    while use.pids and not use.release:
        is_udev = all(holder.startswith(_UDEV) for holder in use.holders)
        if time.monotonic() - began >= (_UDEV_SECONDS if is_udev else _MOMENT):
            break
        time.sleep(_PAUSE)
        use = use_of(path, claimed=claimed)
    return use
