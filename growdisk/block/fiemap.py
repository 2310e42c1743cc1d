"""Which blocks of the host a file has, also those allocated but never written (FIEMAP).

Reading cannot tell these from holes. Spec: Linux include/uapi/linux/fiemap.h.
"""

from __future__ import annotations

import fcntl
import struct
from collections.abc import Iterator

_FIEMAP = 0xC020660B  # _IOWR('f', 11, struct fiemap)
# FIEMAP_FLAG_SYNC: what is still in memory alone has no blocks before it is written out.
_SYNC, _LAST = 1, 1
_AT_ONCE = 256
_HEADER = struct.Struct("=QQIIII")  # start, length, flags, mapped, count, reserved
_EXTENT = struct.Struct("=QQQ16xI12x")  # logical, physical, length, flags


def allocated_extents(fd: int, offset: int, length: int) -> Iterator[tuple[int, int]]:
    """Those of [offset, offset+length), as [start, end); the first and last may reach beyond.

    OSError if unknown.
    """
    end = offset + length
    while offset < end:
        room = bytearray(
            _HEADER.pack(offset, end - offset, _SYNC, 0, _AT_ONCE, 0)
            + bytes(_AT_ONCE * _EXTENT.size)
        )
        fcntl.ioctl(fd, _FIEMAP, room)
        mapped = _HEADER.unpack_from(room)[3]
        flags = _LAST
        for index in range(mapped):
            logical, _, extent_length, flags = _EXTENT.unpack_from(
                room, _HEADER.size + index * _EXTENT.size
            )
            offset = logical + extent_length
            yield logical, offset
        if mapped == 0 or flags & _LAST:
            return
