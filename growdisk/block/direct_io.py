"""Writes to the disk past the host's page cache (O_DIRECT), if much has to be durable anyway.

Through the cache each byte is copied once more, into memory that the host first has to find. With
memory at hand that is quicker, as the disk then gets many writes at a time. If memory is full of
other files, or the machine is virtual and its own host has taken memory back, it takes several
times as long as the disk does: RawFile changes over when it sees that. Only local file systems:
over a network the cache is what keeps many writes in flight.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

ALIGNMENT = 4096  # of offset, length and memory; what any disk of today is content with
LARGE = 64 << 10  # below that the cache is quicker
_NOT_LIKE_THIS = (errno.EINVAL, errno.EOPNOTSUPP)
# _IOW(0x94, 9, int), linux/fs.h
_FICLONE = 0x40049409


def reopen_direct(fd: int) -> int | None:
    """Another descriptor of an open file that writes past the cache; None if that is impossible."""
    status = os.fstat(fd)
    if not stat.S_ISBLK(status.st_mode) and not os.major(status.st_dev):
        # no disk of this host below it: in memory, a server's, or one that copies in other ways
        # (btrfs)
        return None
    try:
        # Not dup(): O_DIRECT belongs to the open file, which both would share.
        return os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC | os.O_DIRECT)
    except OSError:
        return None


def write_direct(fd: int, offset: int, data: memoryview) -> int:
    """Write what can be written past the cache of `data`; how much that was.

    The rest must go through it.
    """
    done, length = 0, len(data) // ALIGNMENT * ALIGNMENT
    # Where `data` lie in memory is not looked at: if that is not aligned, pwrite() says so.
    if length < LARGE or offset % ALIGNMENT:
        return 0
    try:
        # A short write may end anywhere; the rest, no longer aligned, goes through the cache.
        while done < length and not done % ALIGNMENT:
            done += os.pwrite(fd, data[done:length], offset + done)
    except OSError as error:
        if error.errno not in _NOT_LIKE_THIS:
            raise
    return done


def aligned(length: int) -> bytearray:
    """A buffer of zeros that can be written past the cache: it begins where a page of memory does.

    A bytearray that is cut at its front and end stays where it is in memory. Where it does not,
    writing goes through the cache, and is as right.
    """
    import ctypes

    buffer = bytearray(length + ALIGNMENT)
    front = -ctypes.addressof(ctypes.c_char.from_buffer(buffer)) % ALIGNMENT
    del buffer[:front]
    del buffer[length:]
    return buffer


def clone(source: int, target: int) -> bool:
    """Let a file share all blocks of another until one of them changes (reflink).

    False if that is impossible.
    """
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True
