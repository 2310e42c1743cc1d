"""Loop devices: the file behind it, and `losetup --set-capacity`. Spec: loop(4), losetup(8)."""

from __future__ import annotations

import os
from pathlib import Path

from growdisk.block.host_devices import loops, node_of, value_of
from growdisk.host.command import run
from growdisk.storage.values import Storage
from growdisk.units import format_size

_SECONDS = 60.0


def look(number: int) -> Storage:
    found = next((loop for loop in loops() if loop.number == number), None)
    if found is None or not Path(found.path).is_file():
        behind = found.path if found else "nothing"
        return Storage("other", "", obstacle=f"the loop device lies on {behind}", hint="grow that, then losetup -c")
    if node_of(Path(found.path).stat()) != found.backing.node:
        # Something is mounted over its folder, or it was attached in another namespace.
        obstacle = f"another file has the name of the one that the loop device lies on, {found.path}"
        return Storage("other", "", obstacle=obstacle, hint="grow the right one, then losetup -c")
    if int(value_of(number, "loop/sizelimit") or 0):
        return Storage("other", "", obstacle="the loop device has a size limit", hint="attach it again without one")
    free = os.statvfs(found.path)
    space = free.f_bavail * free.f_frsize
    note = f"{found.path} grows as a sparse file; its file system has {format_size(space)} free"
    return Storage("loop", found.path, notes=(note,))


def resize(device: Path, file: Path, size: int, offset: int) -> None:
    """`size` of the device, which begins `offset` bytes into the file."""
    with file.open("r+b") as backing:
        os.ftruncate(backing.fileno(), offset + size)
        os.fsync(backing.fileno())
    run(["losetup", "--set-capacity", device], timeout=_SECONDS)
