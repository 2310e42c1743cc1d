"""Whether a backend works on this machine: what is installed, and what a trial says.

`direct` is tried within some 30 ms. `uml` takes a second or two: its outcome is remembered until a
file that it depends on changes. `guestfs` is looked for only, a launch takes ten seconds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from growdisk.block.raw import RawFile
from growdisk.errors import GrowdiskError, ToolFailed, ToolMissing
from growdisk.fast_dataclass import dataclass
from growdisk.host import fuse_mount, sandbox
from growdisk.host.command import PACKAGES, is_here, require, run

TOOLS = (fuse_mount.TOOL, *sandbox.TOOLS, "e2fsck", "resize2fs", "debugfs", "sfdisk")
_APPLIANCE_TOOLS = ("qemu-system-x86_64", "supermin")
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
    """Why a backend does not work here, and what would change that."""

    reason: str
    cure: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.cure}"


def why_no_direct(*, tried: bool = False) -> Obstacle | None:
    """What the direct backend lacks here; None if it works.

    `tried`: tools have just worked, confined, by FUSE.
    """
    # What costs nothing comes first, the trial last.
    if missing := [tool for tool in TOOLS if not is_here(tool)]:
        verb = "is" if len(missing) == 1 else "are"
        packages = sorted({PACKAGES[tool] for tool in missing})
        reason = f"{', '.join(missing)} {verb} not installed"
        return Obstacle(reason, f"sudo apt-get install {' '.join(packages)}")
    if tried:
        return None
    if not _FUSE.exists():
        return Obstacle(
            f"there is no {_FUSE} on this machine", "modprobe fuse, or give it to this container"
        )
    try:
        with trial_disk() as disk, fuse_mount.mounted({_NAME: disk}) as (place, _):
            sandbox.run_confined(["sh", "-c", _TRIAL], place / _NAME, writable=True, seconds=20)
    except ToolFailed as error:
        # The tool that failed says which half of it does not work.
        what = "tools cannot be confined here"
        if error.tool == fuse_mount.TOOL:
            what = "FUSE does not work here"
        return Obstacle(f"{what} ({error.detail})", "allow this user FUSE and user namespaces")
    except (GrowdiskError, OSError) as error:
        return Obstacle(
            f"FUSE does not work here ({error})", "see whether other FUSE file systems work"
        )
    return None


@contextmanager
def trial_disk() -> Iterator[RawFile]:
    """An empty disk to try something with; in memory, where nothing is left of it."""
    fd = os.memfd_create("growdisk-trial")
    os.truncate(fd, _TRIAL_SIZE)
    with closing(RawFile(fd, Path("the trial disk"), writable=True)) as disk:
        yield disk


def why_no_uml(*, fresh: bool = False) -> Obstacle | None:
    """What stands against a user-mode kernel here; None if it works. `fresh` tries again."""
    from growdisk.backends import uml
    from growdisk.host.probe_cache import cached_probe, file_facts

    if not is_here(uml.TOOL) or not uml.MODULES.is_dir():
        return Obstacle(
            f"{uml.TOOL} is not installed", f"sudo apt-get install {PACKAGES[uml.TOOL]}"
        )
    if (found := why_no_direct()) is not None:
        return found
    # The trial takes about a second: its outcome is valid until one of these files changes.
    files = (require(uml.TOOL), require("bwrap"), uml.__file__)
    facts = [file_facts(Path(file)) for file in files]
    known = cached_probe("uml", facts, lambda: {"reason": _trial_of_uml()}, fresh=fresh)
    if reason := known.get("reason", ""):
        what = f"a kernel cannot run as a program here ({reason})"
        return Obstacle(what, "allow this user ptrace and user namespaces")
    return None


def _trial_of_uml() -> str:
    from growdisk.backends import uml

    try:
        with (
            trial_disk() as disk,
            fuse_mount.mounted({_NAME: disk}, cached=False) as (place, _),
            uml.launch([place / _NAME], disk.flush) as appliance,
        ):
            size = appliance.size_of()
    except (GrowdiskError, OSError) as error:
        return str(error)
    if size == _TRIAL_SIZE:
        return ""
    return f"it sees {size} bytes of /dev/sda instead of {_TRIAL_SIZE}"


def require_appliance() -> None:
    """ToolMissing if the appliance need not even be tried.

    For before a run begins.
    """
    for tool in _APPLIANCE_TOOLS:
        require(tool)
    # Found is not loaded: a binding may be of another Python, or miss a library.
    import growdisk.backends.guestfs  # noqa: F401


def has_appliance() -> bool:
    """Whether all that the appliance needs is installed."""
    try:
        require_appliance()
    except ToolMissing:
        return False
    return True


def e2fsprogs_version() -> tuple[int, int]:
    """Of e2fsck, as (1, 47)."""
    answer = run(["e2fsck", "-V"], accept=None, timeout=20)
    match = re.search(r"e2fsck (\d+)\.(\d+)", answer.stderr + answer.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)
