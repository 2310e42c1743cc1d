"""Asks the kernel whether anybody else has a file open: a lease is granted only if nobody has.

Two system calls. QEMU's locks tell of those who take them. A lease tells of everybody: a QEMU with
locking=off, a loop device, a process of another user or of a container, and that without looking
through /proc. Only the owner of a file (or root) may ask, only for regular files, and only about
this host: for what is mounted from a server, or by FUSE, the answer is not all. Spec: fcntl(2),
F_SETLEASE.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from pathlib import Path

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import Literal

    Answer = Literal["nobody", "somebody", "unknown"]


def others_write(path: Path) -> Answer:
    """Whether anybody has the file open to write to it. This process must not have it so itself."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return "unknown"
    try:
        return _ask(fd, fcntl.F_RDLCK)
    finally:
        os.close(fd)


def others_open(fd: int) -> Answer:
    """Whether anybody but this one open file has it open, be it only to read.

    `fd` is open to write.
    """
    return _ask(fd, fcntl.F_WRLCK)


def _ask(fd: int, kind: int) -> Answer:
    try:
        # Who opens the file just now would have the kernel send SIGIO, which ends a process; this
        # one is ignored.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, kind)
        # Given back at once: somebody who opens the file would have to wait for it.
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return "somebody" if error.errno == errno.EAGAIN else "unknown"
    return "nobody"
