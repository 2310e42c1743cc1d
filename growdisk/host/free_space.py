"""The host's free space for an image: of its file system, and of a thin pool below either.

A file system on a thin volume may show more free space than its pool has; a guest that then writes
is stopped by QEMU (or, worse, sees errors). Between the two may be a LUKS container, or another
volume group. An image may be a block device as well: then only its owner can make it larger; a
loop device has what its backing file has.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from growdisk.block.host_devices import (
    device_number,
    file_behind,
    linked_devices,
    mount_of,
    size_of,
    value_of,
)
from growdisk.errors import GrowdiskError
from growdisk.fast_dataclass import dataclass, replace
from growdisk.host.json_codec import NotThatValue
from growdisk.host.logical_volumes import HostVolume, lvs, pool_of, use_of_pool, with_number


@dataclass(frozen=True)
class HostRoom:
    """Bytes.

    `where`: "on /srv", "in the thin pool vg0/pool". `device_size` is that of an image that is a
    device; `promised` what all volumes of the thin pool have together, where the image is one of
    them. Images that share the room have the same `shared`; "" for a device that has its room for
    itself.
    """

    free: int
    total: int
    where: str
    device_size: int | None = None
    promised: int | None = None
    shared: str = ""

    @property
    def nearly_full(self) -> bool:
        return self.free < self.total // 20


def room_for(path: Path) -> HostRoom:
    """The narrowest that an image at `path` can grow into."""
    status = path.stat()
    is_device = stat.S_ISBLK(status.st_mode)
    # A loop device has the room of its file, and that may lie on a thin volume in turn.
    if is_device and (file := file_behind(status.st_rdev)):
        return replace(room_for(file), device_size=size_of(status.st_rdev))
    number = status.st_rdev if is_device else _device_under(path, status.st_dev)
    pool = _thin_pool_of(number)
    # Without a thin pool below, a device has all of its room already.
    if is_device:
        size = size_of(number)
        return replace(pool, device_size=size) if pool else HostRoom(size, size, f"on {path}", size)
    # A file: its file system, or the pool below if that has less. What the pool has promised is not
    # the image's, but the file system's.
    space = os.statvfs(path)
    free, total = space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize
    own = HostRoom(
        free, total, f"on {path.parent}", shared=f"{os.major(number)}:{os.minor(number)}"
    )
    return replace(pool, promised=None) if pool is not None and pool.free < own.free else own


def thin_pool_in(volumes: list[HostVolume], number: int) -> HostRoom | None:
    """The pool of a thin volume, if `volumes` has one with this number that is thin.

    NotThatValue.
    """
    own = with_number(volumes, number)
    pool = pool_of(own, volumes) if own else None
    if pool is None:
        return None
    use = use_of_pool(pool)
    in_pool = [v for v in volumes if (v.vg_name, v.pool_lv) == (pool.vg_name, pool.lv_name)]
    promised = sum(int(volume.lv_size) for volume in in_pool)
    return HostRoom(
        use.free, use.size, f"in the thin pool {pool.name}", promised=promised, shared=pool.name
    )


def _thin_pool_of(number: int) -> HostRoom | None:
    """The free space of the thin pool below a device; None without one, or if LVM cannot tell."""
    try:
        numbers = list(_volumes_under(number))
        if not numbers:
            return None
        volumes = lvs()
        pools = [thin_pool_in(volumes, each) for each in numbers]
        return min((pool for pool in pools if pool), key=lambda pool: pool.free, default=None)
    except (OSError, GrowdiskError, NotThatValue):
        # Asked for a warning only: what cannot be known is none.
        return None


def _volumes_under(number: int) -> Iterator[int]:
    """LVM's volumes that a device lies on, itself among them."""
    # Device mapper's own UUID: LVM's begin with LVM-, those of LUKS with CRYPT-.
    if value_of(number, "dm/uuid").startswith("LVM-"):
        yield number
    for lower in linked_devices(number, "slaves"):
        yield from _volumes_under(lower)


def _device_under(path: Path, number: int) -> int:
    """The device of the file system that `path` is in."""
    # Major 0 is not a block device: a subvolume of btrfs, tmpfs, a network file system.
    if os.major(number):
        return number
    mount = mount_of(path)
    source = mount.source if mount and mount.source.startswith("/") else ""
    return device_number(source) or number
