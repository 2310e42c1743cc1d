"""Hashes of dm-verity: if one byte of the hashed data changes, the guest does not start.

Their superblock is in a partition of its own, or after the file system that it protects, in
the same one. Spec: cryptsetup, docs of veritysetup (on-disk format 1).
"""

from __future__ import annotations

import struct

from growdisk.block.device import BlockDevice
from growdisk.units import KiB, MiB, align_up

VERITY = "DM_verity_hash"
_MAGIC = b"verity\0\0"
# magic, version, type, uuid, algorithm, data block, hash block, blocks
_SUPERBLOCK = struct.Struct("<8sII16s32sIIQ")
_ROUNDED = (512, 4 * KiB, 64 * KiB, MiB)


def hashed_bytes(device: BlockDevice) -> int:
    """How many bytes the hashes on `device` cover; 0 if it does not begin with their superblock."""
    if device.size < _SUPERBLOCK.size:
        return 0
    magic, version, *_, data_block, _hash_block, blocks = _SUPERBLOCK.unpack(
        device.read(0, _SUPERBLOCK.size)
    )
    return int(data_block * blocks) if (magic, version) == (_MAGIC, 1) else 0


def has_hashes_behind(device: BlockDevice, end: int) -> bool:
    """Whether they begin after byte `end`, at the next place that is used for it."""
    places = {align_up(end, unit) for unit in _ROUNDED}
    return any(
        at + len(_MAGIC) <= device.size and device.read(at, len(_MAGIC)) == _MAGIC for at in places
    )
