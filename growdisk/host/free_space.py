"""What the host has left for an image to fill: of its file system, and of the thin pool that either may lie in.

A file system on a thin volume may show more free space than its pool has; a guest that then writes is stopped by QEMU
(or, worse, sees errors). Between the two may lie a container of LUKS, or another volume group. An image may be a block
device as well: then nothing but its owner makes it larger.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from growdisk.errors import GrowdiskError
from growdisk.fast_dataclass import dataclass, replace
from growdisk.host.command import run
from growdisk.host.json_codec import NotThatValue, decoded

_COLUMNS = "lv_kernel_major,lv_kernel_minor,vg_name,lv_name,pool_lv,lv_size,data_percent,metadata_percent"
_METADATA_FULL = 95.0
_SECONDS = 20.0


@dataclass(frozen=True)
class HostRoom:
    """Bytes. `where`: "on /srv", "in the thin pool vg0/pool". `device_size` is that of an image that is a device;
    `promised` what all volumes of the thin pool have together, where the image is one of them."""

    free: int
    total: int
    where: str
    device_size: int | None = None
    promised: int | None = None

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
    metadata_percent: str


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
    number = status.st_rdev if is_device else _device_under(path, status.st_dev)
    pool = _thin_pool_of(number)
    if is_device:
        size = _sysfs_size(number)
        return replace(pool, device_size=size) if pool else HostRoom(size, size, f"on {path}", size)
    space = os.statvfs(path)
    own = HostRoom(space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize, f"on {path.parent}")
    return replace(pool, promised=None) if pool is not None and pool.free < own.free else own


def thin_pool_in(report: bytes, major: int, minor: int) -> HostRoom | None:
    """The pool of a thin volume, in what `lvs --reportformat json --units b --nosuffix` says. NotThatValue."""
    volumes = [volume for part in decoded(report, _Reports).report for volume in part.lv]
    own = [v for v in volumes if (v.lv_kernel_major, v.lv_kernel_minor) == (str(major), str(minor)) and v.pool_lv]
    pools = [p for v in own for p in volumes if (p.vg_name, p.lv_name) == (v.vg_name, v.pool_lv)]
    if not pools:
        return None
    try:
        size, taken, metadata = int(pools[0].lv_size), float(pools[0].data_percent), float(pools[0].metadata_percent)
    except ValueError as error:
        raise NotThatValue(str(error)) from error
    if metadata >= _METADATA_FULL:  # then it takes nothing new, whatever it has free
        taken = max(taken, metadata)
    where = f"in the thin pool {pools[0].vg_name}/{pools[0].lv_name}"
    promised = sum(int(v.lv_size) for v in volumes if (v.vg_name, v.pool_lv) == (pools[0].vg_name, pools[0].lv_name))
    return HostRoom(int(size * (100 - taken) / 100), size, where, promised=promised)


def _thin_pool_of(number: int) -> HostRoom | None:
    """None where the device is not of LVM, or LVM cannot be asked: it is asked for a warning only."""
    try:
        volumes = list(_volumes_under(_sysfs(number)))
        if not volumes:
            return None
        words = ["lvs", "--all", "--reportformat", "json", "--units", "b", "--nosuffix", "-o", _COLUMNS]
        report = run(words, timeout=_SECONDS).stdout.encode()
        pools = [thin_pool_in(report, *volume) for volume in volumes]
        return min((pool for pool in pools if pool), key=lambda pool: pool.free, default=None)
    except (OSError, GrowdiskError, NotThatValue):
        return None


def _volumes_under(device: Path) -> Iterator[tuple[int, int]]:
    """LVM's volumes that `device` lies on, itself among them: major and minor."""
    uuid = device / "dm" / "uuid"
    if uuid.exists() and uuid.read_text().startswith("LVM-"):
        major, minor = (device / "dev").read_text().split(":")
        yield int(major), int(minor)
    for lower in (device / "slaves").glob("*"):
        yield from _volumes_under(lower)


def _device_under(path: Path, number: int) -> int:
    """The device of the file system that `path` is in; btrfs gives each subvolume a number that is no device's."""
    if os.major(number):
        return number
    try:
        found = run(["findmnt", "--noheadings", "--nofsroot", "--output", "SOURCE", "--target", path], timeout=_SECONDS)
        return Path(found.stdout.strip()).stat().st_rdev
    except (OSError, GrowdiskError):
        return number


def _sysfs(number: int) -> Path:
    return Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")


def _sysfs_size(number: int) -> int:
    return 512 * int((_sysfs(number) / "size").read_text())
