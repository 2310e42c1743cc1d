"""Mounts a folder of block devices for host tools, as any user may: fusermount3 asks the kernel and hands us its end.

fusermount3 stays, holding the other end of a socket of ours. When that closes, in order or because growdisk was killed,
it unmounts what nobody serves any more. The kernel closes a dying process's descriptors in their order: so the socket
has a higher number than /dev/fuse, else fusermount3 would find the folder still served, and leave it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from growdisk.backends.command import start
from growdisk.block.device import BlockDevice
from growdisk.block.fuse import MAX_WRITE, FuseFolder
from growdisk.errors import ToolFailed

TOOL = "fusermount3"
_OPTIONS = f"auto_unmount,rootmode=40000,default_permissions,nosuid,nodev,max_read={MAX_WRITE},fsname=growdisk"
_PATIENCE = 20.0


@contextmanager
def mounted(devices: Mapping[str, BlockDevice]) -> Iterator[tuple[Path, FuseFolder]]:
    """The folder where `devices` are files until the block is left. ToolMissing; ToolFailed where it is not allowed."""
    with tempfile.TemporaryDirectory(prefix="growdisk-") as scratch:
        place = Path(scratch) / "disk"
        place.mkdir()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            process = start(
                [TOOL, "-o", _OPTIONS, "--", place],
                pass_fds=(theirs.fileno(),), env={"_FUSE_COMMFD": str(theirs.fileno())},
            )  # fmt: skip
            theirs.close()
            ours.settimeout(_PATIENCE)
            _, descriptors, _, _ = socket.recv_fds(ours, 1, 1, socket.MSG_CMSG_CLOEXEC)
            if not descriptors:
                _, complaint = process.communicate(timeout=_PATIENCE)
                raise ToolFailed(TOOL, process.returncode, complaint.strip() or "it gave no reason")
            keeper = fcntl.fcntl(ours.fileno(), fcntl.F_DUPFD_CLOEXEC, descriptors[0] + 1)
        try:
            folder = FuseFolder(devices, descriptors[0])
            try:
                yield place, folder
            finally:
                folder.close()
        finally:
            os.close(keeper)
            process.communicate(timeout=_PATIENCE)
