"""Makes the storage below a device larger, and exactly as large as it was.

Each may be called again after a crash.
"""

from __future__ import annotations

import time
from pathlib import Path

from growdisk.block.host_devices import value_of
from growdisk.errors import ImageError, ToolFailed, write_failed
from growdisk.storage import loop, lvm, rbd, zvol
from growdisk.storage.look import look_at_storage
from growdisk.storage.values import Storage
from growdisk.units import Bytes

_ARRIVAL_SECONDS = 30.0


def device_size(path: Path) -> int:
    """Bytes of the device, as the kernel has it now."""
    # sysfs counts in 512 bytes, whatever the device's sectors are.
    return 512 * int(value_of(path.stat().st_rdev, "size"))


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
    _resize(path, look_at_storage(path), size, smaller=size < old)
    # The tool may end before the kernel has the new size: with rbd it hears of it from the cluster.
    deadline = time.monotonic() + _ARRIVAL_SECONDS
    while device_size(path) != size:
        if time.monotonic() > deadline:
            reason = f"it has {device_size(path)} bytes after it was resized to {size}"
            raise write_failed(
                path, reason, hint="see what the tools of its storage say, and run growdisk again"
            )
        time.sleep(0.05)


def _resize(path: Path, storage: Storage, size: int, *, smaller: bool) -> None:
    match storage.kind:
        case "lvm":
            lvm.resize(storage.name, size, smaller=smaller)
        case "zvol":
            zvol.resize(storage.name, size)
        case "rbd":
            rbd.resize(storage.name, size, smaller=smaller)
        case "loop":
            offset = int(value_of(path.stat().st_rdev, "loop/offset") or 0)
            loop.resize(path, Path(storage.name), size, offset)
        case "other":
            raise write_failed(path, storage.obstacle, hint=storage.hint)
