"""fallocate(2), which Python has without its modes: takes or frees the host's blocks of a range."""

from __future__ import annotations

import errno
import os

KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 0x01, 0x02, 0x10
#: What a file system answers that cannot do it at all.
NOT_SUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV})
#: What a full file system answers, or a quota.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """OSError in one of NOT_SUPPORTED, or for what is really wrong: ENOSPC, EDQUOT, EFBIG, EIO."""
    import ctypes  # loaded by those alone who need it

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.fallocate(fd, mode, ctypes.c_longlong(offset), ctypes.c_longlong(length)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
