"""Whether a kernel can run as a program here: tried once per boot, in a second or two."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

from growdisk.backends import direct_available, uml
from growdisk.backends.direct_available import Obstacle
from growdisk.backends.guest_handle import DISK
from growdisk.backends.uml import MODULES, TOOL, launch
from growdisk.block.raw import RawFile
from growdisk.errors import GrowdiskError
from growdisk.host.command import PACKAGES, is_here, require
from growdisk.host.fuse_mount import mounted
from growdisk.host.probe_cache import CachedProbe, file_facts

_TRIAL_SIZE = 1 << 20
_NAME = "disk"
_CURE = "allow this user ptrace and user namespaces"


def why_unavailable(*, fresh: bool = False) -> Obstacle | None:
    """What stands against it here; None if it works. `fresh` tries again."""
    if not is_here(TOOL) or not MODULES.is_dir():
        return Obstacle(f"{TOOL} is not installed", f"sudo apt-get install {PACKAGES[TOOL]}")
    if (found := direct_available.why_unavailable()) is not None:
        return found
    # The trial takes about a second: its outcome holds until one of these files changes.
    probe = CachedProbe(
        "uml", *(file_facts(Path(file)) for file in (require(TOOL), require("bwrap"), uml.__file__))
    )
    known = None if fresh else probe.recall()
    if known is None:
        known = {"reason": _why_not()}
        probe.remember(known)
    reason = known.get("reason", "")
    return Obstacle(f"a kernel cannot run as a program here ({reason})", _CURE) if reason else None


def _why_not() -> str:
    try:
        with (
            tempfile.TemporaryDirectory(prefix="growdisk-") as scratch,
            closing(RawFile.create(Path(scratch) / "disk.raw", _TRIAL_SIZE)) as device,
            mounted({_NAME: device}, cached=False) as (place, _),
            launch([place / _NAME], device.flush) as appliance,
        ):
            size = appliance.disk_size()
    except (GrowdiskError, OSError) as error:
        return str(error)
    return "" if size == _TRIAL_SIZE else f"it sees {size} bytes of {DISK} instead of {_TRIAL_SIZE}"
