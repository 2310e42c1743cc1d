"""Whether host tools can be confined here and shown partitions: tried, in some 30 ms."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

from growdisk.block.raw import RawFile
from growdisk.errors import GrowdiskError, ToolFailed
from growdisk.fast_dataclass import dataclass
from growdisk.host import fuse_mount, sandbox
from growdisk.host.command import PACKAGES, is_here

TOOLS = (fuse_mount.TOOL, *sandbox.TOOLS, "e2fsck", "resize2fs", "debugfs", "sfdisk")
_TRIAL_SIZE = 1 << 20
_FUSE = Path("/dev/fuse")
_NAME = "trial"
# What a tool needs, no more: the file is there, has its size, and nothing else of the machine is.
_TRIAL = (
    f'test "$(stat -c %s {sandbox.DISK})" = {_TRIAL_SIZE} && ! test -e /home && ! test -e '
    f"/root && : <>{sandbox.DISK}"
)


@dataclass(frozen=True)
class Obstacle:
    """Why the direct backend does not work here, and what would change that."""

    reason: str
    cure: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.cure}"


def why_unavailable(*, tried: bool = False) -> Obstacle | None:
    """What the direct backend lacks here; None if it works.

    `tried`: tools have just worked, confined, by FUSE.
    """
    # What costs nothing comes first, the trial last.
    if missing := [tool for tool in TOOLS if not is_here(tool)]:
        verb = "is" if len(missing) == 1 else "are"
        packages = sorted({PACKAGES[tool] for tool in missing})
        return Obstacle(
            f"{', '.join(missing)} {verb} not installed",
            f"sudo apt-get install {' '.join(packages)}",
        )
    if tried:
        return None
    if not _FUSE.exists():
        return Obstacle(
            f"there is no {_FUSE} on this machine", "modprobe fuse, or give it to this container"
        )
    try:
        _try()
    except ToolFailed as error:
        # The tool that failed tells which half of it does not work.
        what = (
            "FUSE does not work here"
            if error.tool == fuse_mount.TOOL
            else "tools cannot be confined here"
        )
        return Obstacle(f"{what} ({error.detail})", "allow this user FUSE and user namespaces")
    except (GrowdiskError, OSError) as error:
        return Obstacle(
            f"FUSE does not work here ({error})", "see whether other FUSE file systems work"
        )
    return None


def _try() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="growdisk-") as scratch,
        closing(RawFile.create(Path(scratch) / "disk.raw", _TRIAL_SIZE)) as device,
        fuse_mount.mounted({_NAME: device}) as (place, _),
    ):
        sandbox.run_confined(["sh", "-c", _TRIAL], place / _NAME, writable=True, seconds=20)
