"""What the host has left for an image to fill: of its file system, and of the thin pool that either may lie in.

A file system on a thin volume may show more free space than its pool has; a guest that then writes is stopped by QEMU
(or, worse, sees errors). An image may be a block device as well: then nothing but its owner makes it larger.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from growdisk.backends.command import run
from growdisk.backends.json_values import NotThatValue, decoded
from growdisk.errors import GrowdiskError
from growdisk.values import dataclass

_COLUMNS = "lv_kernel_major,lv_kernel_minor,vg_name,lv_name,pool_lv,lv_size,data_percent"
_SECONDS = 20.0


@dataclass(frozen=True)
class HostRoom:
    """Bytes. `where`: "on /srv", "in the thin pool vg0/pool". `device_size` is that of an image that is a device."""

    free: int
    total: int
    where: str
    device_size: int | None = None

    @property
    def nearly_full(self) -> bool:
        return self.free < self.total // 20


@dataclass(frozen=True)
class _Volume:
    lv_kernel_major: str
    lv_kernel_minor: str
    vg_name: str
    lv_name: str
    pool_lv: str
    lv_size: str
    data_percent: str


@dataclass(frozen=True)
class _Report:
    lv: tuple[_Volume, ...]


@dataclass(frozen=True)
class _Reports:
    report: tuple[_Report, ...]


def room_for(path: Path) -> HostRoom:
    """The narrowest that an image at `path` can grow into."""
    status = path.stat()
    is_device = stat.S_ISBLK(status.st_mode)
    number = status.st_rdev if is_device else status.st_dev
    pool = _thin_pool_of(os.major(number), os.minor(number))
    if is_device:
        size = _sysfs_size(number)
        return HostRoom(*((pool.free, pool.total, pool.where) if pool else (size, size, f"on {path}")), size)
    space = os.statvfs(path)
    own = HostRoom(space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize, f"on {path.parent}")
    return pool if pool is not None and pool.free < own.free else own


def thin_pool_in(report: bytes, major: int, minor: int) -> HostRoom | None:
    """The pool of a thin volume, in what `lvs --reportformat json --units b --nosuffix` says. NotThatValue."""
    volumes = [volume for part in decoded(report, _Reports).report for volume in part.lv]
    own = [v for v in volumes if (v.lv_kernel_major, v.lv_kernel_minor) == (str(major), str(minor)) and v.pool_lv]
    pools = [p for v in own for p in volumes if (p.vg_name, p.lv_name) == (v.vg_name, v.pool_lv)]
    if not pools:
        return None
    try:
        size, taken = int(pools[0].lv_size), float(pools[0].data_percent)
    except ValueError as error:
        raise NotThatValue(str(error)) from error
    return HostRoom(int(size * (100 - taken) / 100), size, f"in the thin pool {pools[0].vg_name}/{pools[0].lv_name}")


def _thin_pool_of(major: int, minor: int) -> HostRoom | None:
    """None where the device is not of LVM, or LVM cannot be asked: it is asked for a warning only."""
    try:
        if not Path(f"/sys/dev/block/{major}:{minor}/dm/uuid").read_text().startswith("LVM-"):
            return None
        words = ["lvs", "--all", "--reportformat", "json", "--units", "b", "--nosuffix", "-o", _COLUMNS]
        return thin_pool_in(run(words, timeout=_SECONDS).stdout.encode(), major, minor)
    except (OSError, GrowdiskError, NotThatValue):
        return None


def _sysfs_size(number: int) -> int:
    return 512 * int(Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/size").read_text())
