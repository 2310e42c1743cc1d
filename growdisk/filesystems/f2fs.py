"""The superblock of F2FS and its checkpoints, which say whether it was cleanly unmounted.

The superblock is at byte 1024, little-endian (kernel documentation: filesystems/f2fs; Linux
include/linux/f2fs_fs.h).

What was synced after the last checkpoint is in a chain of its own, which a kernel follows when
it mounts: fsck.f2fs and resize.f2fs know nothing of that chain, and cut it off.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import replace
from growdisk.filesystems.content import Content, F2fsContent, dashed
from growdisk.units import align_down

# magic, log block size, log blocks per segment, segments per section, blocks, first checkpoint,
# uuid, label (UTF-16)
_SUPERBLOCK = struct.Struct("<I12xIII8xQ32xI28x16s1024s")
_FEATURES_AT, _DEVICES_AT = 2180, 2201
_ZONED, _READ_ONLY = 0x2, 0x4000
_SUPERBLOCK_OFFSET = 1024
_MAGIC = 0xF2F52010
_BLOCK = 4096
# version, blocks for users, those of them that are taken, flags
_CHECKPOINT = struct.Struct("<QQQ108xI")
_UNMOUNTED = 0x1
# blocks of the checkpoint with all that belongs to it; where the checksum is
_PACK_BLOCKS, _CHECKSUM_AT = struct.Struct("<136xI"), struct.Struct("<164xI")
_LEAST_CHECKSUM_AT, _MOST_CHECKSUM_AT = 192, _BLOCK - 4
_ALL_ONES = (1 << 32) - 1
_SECTIONS = (
    "its F2FS has sections of several segments (mkfs.f2fs -s), which resize.f2fs mixes up, so that "
    "a kernel would stop writing to it some day"
)


def read_f2fs(head: bytes) -> Content | None:
    raw = head[_SUPERBLOCK_OFFSET:_BLOCK]
    if len(raw) < _DEVICES_AT + 1:
        return None
    magic, log_block_size, log_segment, in_section, blocks, checkpoint, uuid, label = (
        _SUPERBLOCK.unpack_from(raw)
    )
    if magic != _MAGIC or log_block_size != 12:
        return None
    return F2fsContent(
        "f2fs",
        dashed(uuid),
        label.decode("utf-16-le", "replace").split("\0")[0],
        blocks * _BLOCK,
        unfit=_unfit(raw, in_section),
        # The second checkpoint lies a segment after the first; they are written in turns.
        checkpoints=(checkpoint * _BLOCK, (checkpoint + (1 << min(log_segment, 20))) * _BLOCK),
    )


def with_checkpoint(device: BlockDevice, content: F2fsContent) -> F2fsContent:
    """`content` with its usage and whether it was cleanly unmounted, by the newer checkpoint."""
    # The version is the first field, so max() takes the newer one. Without any, no kernel mounts it
    # and nothing is known: not clean.
    _version, blocks, taken, flags = max(_whole_checkpoints(device, content), default=(0, 0, 0, 0))
    # What is not for users (`blocks` leaves it out) counts as used.
    used = (content.size or 0) - (blocks - taken) * _BLOCK if taken <= blocks else -1
    clean = bool(flags & _UNMOUNTED)
    return replace(content, clean=clean, used=used if blocks and used >= 0 else None)


def _whole_checkpoints(
    device: BlockDevice, content: F2fsContent
) -> Iterator[tuple[int, int, int, int]]:
    """Those that were written to their end (Linux fs/f2fs/checkpoint.c, validate_checkpoint)."""
    first, second = content.checkpoints
    for at in content.checkpoints:
        if (head := _sound_block(device, at)) is None:
            continue
        # The last block of a checkpoint repeats its first, and is written after all others.
        (blocks,) = _PACK_BLOCKS.unpack_from(head)
        if not 1 < blocks <= (second - first) // _BLOCK:
            continue
        tail = _sound_block(device, at + (blocks - 1) * _BLOCK)
        if tail is not None and tail[:8] == head[:8]:
            yield _CHECKPOINT.unpack_from(head)


def _sound_block(device: BlockDevice, at: int) -> bytes | None:
    """A block of a checkpoint, if its checksum is right."""
    if at + _BLOCK > device.size:
        return None
    block = device.read(at, _BLOCK)
    (place,) = _CHECKSUM_AT.unpack_from(block)
    if not _LEAST_CHECKSUM_AT <= place <= _MOST_CHECKSUM_AT or place % 4:
        return None
    # crc32_le() of the kernel: neither the start nor the end is inverted, as zlib does. The
    # checksum itself is left out.
    summed = block[:place] + block[place + 4 :]
    checksum = zlib.crc32(summed, _MAGIC ^ _ALL_ONES) ^ _ALL_ONES
    return block if checksum == int.from_bytes(block[place : place + 4], "little") else None


def grown_f2fs(content: Content, device_size: int) -> int:
    """Bytes after resize.f2fs."""
    return max(align_down(device_size, _BLOCK), content.size or 0)


def _unfit(raw: bytes, segments_in_section: int) -> str:
    (features,) = struct.unpack_from("<I", raw, _FEATURES_AT)
    # The first byte of the first device's path: a file system on one device names none.
    if raw[_DEVICES_AT]:
        return "its F2FS lies on several devices"
    if features & _ZONED:
        return "its F2FS is made for zoned devices, which this disk is not"
    if features & _READ_ONLY:
        return "its F2FS was made to be read only"
    # resize.f2fs 1.15 moves the places where logs go on by segments, so that files and nodes come
    # to lie in one section. fsck.f2fs may find that sound; a kernel that cleans the section does
    # not, and writes no more ("Inconsistent segment").
    return _SECTIONS if segments_in_section > 1 else ""
