"""The time that a reproducible output stands still at: the latest that the base's own file systems tell of.

Nothing in the guest is then newer than its file system, and e2fsck does not find times that lie in its future.
"""

from __future__ import annotations

import struct
from contextlib import closing
from pathlib import Path

from growdisk.api.images.opening import open_device
from growdisk.block.device import BlockDevice
from growdisk.filesystems.ext import SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE
from growdisk.filesystems.identify import identify
from growdisk.guest_systems.device_names import devices_of
from growdisk.qcow2.probe import ImageFormat

_TIMES = (0x2C, 0x30, 0x40, 0x108)  # in an ext superblock: mounted, written, checked, made
_WITHOUT = 1577836800  # 2020, where no file system tells


def last_time_in(base: Path, base_format: ImageFormat, keys: tuple[bytes, ...] = ()) -> int:
    """Seconds since 1970."""
    with closing(open_device(base, base_format, key=keys)) as device:
        found = [moment for part in devices_of(device, base).values() for moment in _times(part)]
    return max(found, default=_WITHOUT) or _WITHOUT


def _times(device: BlockDevice) -> list[int]:
    content = identify(device)
    if content is None or not content.kind.startswith("ext"):
        return []
    superblock = device.read(SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE)
    return [struct.unpack_from("<I", superblock, at)[0] for at in _TIMES]
