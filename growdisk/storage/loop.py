"""Loop devices: their backing file, and `losetup --set-capacity`. Spec: loop(4), losetup(8)."""

from __future__ import annotations

import os
from pathlib import Path

from growdisk.block.host_devices import device_path_of, file_behind, value_of
from growdisk.errors import write_failed
from growdisk.host.command import run
from growdisk.storage.values import Storage, unmanaged
from growdisk.units import format_size

_SECONDS = 60.0
_SECTOR = 512


def look(number: int) -> Storage:
    file = file_behind(number)
    if file is None:
        behind = value_of(number, "loop/backing_file") or "nothing"
        obstacle = (
            f"the loop device lies on {behind}, and that name leads to no file, or to another one"
        )
        return unmanaged(obstacle, "grow that, then losetup -c")
    # --set-capacity keeps the limit: the device would not grow with its file.
    if int(value_of(number, "loop/sizelimit") or 0):
        return unmanaged("the loop device has a size limit", "attach it again without one")
    # The device ends at the last whole sector, and restoring the old size would cut there.
    covered = file.stat().st_size - int(value_of(number, "loop/offset") or 0)
    if tail := covered % _SECTOR:
        return unmanaged(
            f"the file behind the loop device ends in {tail} bytes that are no whole "
            "sector: to go back would lose them",
            "make it whole (truncate -s %512), then losetup -c",
        )
    # Its file has grown since it was attached: a size below that would cut the file. A run of ours
    # that died in between goes on all the same (resize).
    if (beyond := covered - _SECTOR * int(value_of(number, "size"))) > 0:
        obstacle, hint = _longer(beyond, device_path_of(number))
        return Storage("loop", str(file), obstacle=obstacle, hint=hint)
    free = os.statvfs(file)
    space = free.f_bavail * free.f_frsize
    note = f"{file} grows as a sparse file; its file system has {format_size(space)} free"
    return Storage("loop", str(file), notes=(note,))


def _longer(beyond: int, device: Path | str) -> tuple[str, str]:
    return (
        f"the file behind the loop device has {format_size(beyond)} that the device does not show",
        f"let it show them (losetup -c {device})",
    )


def resize(device: Path, file: Path, sizes: tuple[int, int], offset: int) -> None:
    """From the old to the new of the `sizes` of the device, which begins `offset` into the file."""
    with file.open("r+b") as backing:
        if (beyond := os.fstat(backing.fileno()).st_size - offset - max(sizes)) > 0:
            obstacle, hint = _longer(beyond, device)
            raise write_failed(device, obstacle, hint=hint)
        os.ftruncate(backing.fileno(), offset + sizes[1])
        os.fsync(backing.fileno())
    # Last: the kernel takes the device's size from the file.
    run(["losetup", "--set-capacity", device], timeout=_SECONDS)
