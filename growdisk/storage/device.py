"""The storage that a block device lies on: found, made larger, and made exactly as large as it was.

By the tools of that storage; looking only reads. Each may be called again after a crash.
"""

from __future__ import annotations

import time
from pathlib import Path

from growdisk.block.host_devices import (
    device_path_of,
    disk_of_partition,
    kernel_name_of,
    size_of,
    value_of,
)
from growdisk.block.identity import dataset_of
from growdisk.errors import GrowdiskError, ImageError, ToolFailed, write_failed
from growdisk.host.json_codec import NotThatValue
from growdisk.storage import loop, lvm, rbd, zvol
from growdisk.storage.values import Storage, unmanaged
from growdisk.units import Bytes

_LUN = "grow it at the storage that it comes from, then let the host look again (echo 1 > {rescan})"


def look_at_storage(path: Path) -> Storage:
    """Of the device at `path`. What cannot be asked is an obstacle, never an error."""
    number = path.stat().st_rdev
    try:
        return _look(number, kernel_name_of(number))
    except (GrowdiskError, NotThatValue, OSError, ValueError) as error:
        return unmanaged(f"its storage cannot be asked ({error})", "grow it by its own tools")


def _look(number: int, kernel_name: str) -> Storage:
    # First: a partition of a loop device has a name that begins with loop as well.
    if (disk := disk_of_partition(number)) is not None and isinstance(disk.node, int):
        hint = f"grow the partition first (growpart, or parted {device_path_of(disk.node)})"
        return unmanaged("it is a partition of this host's disk", hint)
    if value_of(number, "dm/uuid").startswith("LVM-"):
        return lvm.look(number)
    if kernel_name.startswith("loop"):
        return loop.look(number)
    if kernel_name.startswith("rbd"):
        return rbd.look(kernel_name)
    if dataset := dataset_of(number) if kernel_name.startswith("zd") else "":
        return zvol.look(dataset)
    return unmanaged("growdisk does not manage its storage", _hint(number, kernel_name))


def _hint(number: int, kernel_name: str) -> str:
    """The tools of its own that make it larger."""
    # Everything of device mapper is called dm-N: the prefix of its UUID tells who made it.
    name, uuid = value_of(number, "dm/name"), value_of(number, "dm/uuid")
    rescan = f"/sys/block/{kernel_name}/device/rescan"
    if uuid.startswith("mpath-"):
        return f"grow the LUN, rescan each of its paths, then multipathd resize map {name}"
    if uuid.startswith("CRYPT-"):
        return f"grow what it lies on, then cryptsetup resize {name}"
    if name:
        return f"load a larger map for {name} (dmsetup)"
    hints = {
        "md": f"mdadm --grow --size=max /dev/{kernel_name}",
        "drbd": "grow both sides, then drbdadm resize",
        "nbd": "grow it at its server, and attach it again",
        "nvme": "grow the namespace, then nvme ns-rescan",
        "vd": "grow it in the machine that has this host as its guest",
        "sd": _LUN.format(rescan=rescan),
        "zd": "zfs set volsize=SIZE DATASET",
    }
    return next(
        (hint for start, hint in hints.items() if kernel_name.startswith(start)),
        "grow it by its own tools",
    )


_ARRIVAL_SECONDS = 30.0


def device_size(path: Path) -> int:
    """Bytes of the device, as the kernel has it now."""
    return size_of(path.stat().st_rdev)


def refuse_without_room(path: Path, storage: Storage, size: int) -> None:
    """storage-full, storage-refuses: before anything is written. Reads only."""
    growth = size - device_size(path)
    if storage.room is not None and growth > storage.room:
        raise ImageError.named(
            "storage-full",
            "cannot make {path} larger by {amount}",
            "{place} has {free} left",
            "give it more space first, or ask for less; nothing was changed",
            {
                "path": path,
                "amount": Bytes(growth),
                "place": storage.place,
                "free": Bytes(storage.room),
            },
        )
    # Free extents are not all that counts: a volume may want them in one piece, or in stripes.
    if storage.kind == "lvm" and growth > 0:
        try:
            lvm.rehearse(storage.name, size)
        except ToolFailed as error:
            raise ImageError.named(
                "storage-refuses",
                "cannot make {path} larger",
                "{tool} says: {reason}",
                "mend that first; nothing was changed",
                {"path": path, "tool": error.tool, "reason": error.detail},
            ) from error


def resize_device(path: Path, size: int) -> None:
    """Until the kernel has the new size.

    The storage is looked up again: a name in a plan may be old. ToolFailed, write-failed, OSError.
    """
    old = device_size(path)
    # Done already, maybe before a crash.
    if old == size:
        return
    _resize(path, look_at_storage(path), old, size)
    # The tool may end before the kernel has the new size: with rbd it hears of it from the cluster.
    deadline = time.monotonic() + _ARRIVAL_SECONDS
    while device_size(path) != size:
        if time.monotonic() > deadline:
            reason = f"it has {device_size(path)} bytes after it was resized to {size}"
            raise write_failed(
                path, reason, hint="see what the tools of its storage say, and run growdisk again"
            )
        time.sleep(0.05)


def _resize(path: Path, storage: Storage, old: int, size: int) -> None:
    smaller = size < old
    match storage.kind:
        case "lvm":
            lvm.resize(storage.name, size, smaller=smaller)
        case "zvol":
            zvol.resize(storage.name, size)
        case "rbd":
            rbd.resize(storage.name, size, smaller=smaller)
        case "loop":
            offset = int(value_of(path.stat().st_rdev, "loop/offset") or 0)
            loop.resize(path, Path(storage.name), (old, size), offset)
        case "other":
            raise write_failed(path, storage.obstacle, hint=storage.hint)
