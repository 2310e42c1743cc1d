"""Whether this machine lets host tools be confined and shown partitions: tried, not guessed, in some 30 ms."""

from __future__ import annotations

import tempfile
from pathlib import Path

from growdisk.backends import fuse_mount, sandbox
from growdisk.backends.command import require
from growdisk.block.raw import RawFile
from growdisk.errors import GrowdiskError

_GUEST_TOOLS = ("e2fsck", "resize2fs", "debugfs", "sfdisk")
_TRIAL_SIZE = 1 << 20
_FUSE = Path("/dev/fuse")
_NAME = "trial"
# What a tool needs, no more: the file is there, has its size, and nothing else of the machine is.
_TRIAL = (
    f'test "$(stat -c %s {sandbox.DISK})" = {_TRIAL_SIZE} && ! test -e /home && ! test -e /root && : <>{sandbox.DISK}'
)


def why_not_direct() -> str:
    """What the direct backend lacks here; "" where it works."""
    try:
        for tool in (fuse_mount.TOOL, *sandbox.TOOLS, *_GUEST_TOOLS):
            require(tool)
        if not _FUSE.exists():
            return f"there is no {_FUSE} on this machine"
        _try()
    except GrowdiskError as error:
        return f"{error.what}: {error.why}"
    except OSError as error:
        return f"FUSE does not work here: {error.strerror or error}"
    return ""


def _try() -> None:
    with tempfile.TemporaryDirectory(prefix="growdisk-") as scratch:
        device = RawFile.create(Path(scratch) / "disk.raw", _TRIAL_SIZE)
        try:
            with fuse_mount.mounted({_NAME: device}) as (place, _):
                sandbox.run_confined(["sh", "-c", _TRIAL], place / _NAME, writable=True, seconds=20)
        finally:
            device.close()
