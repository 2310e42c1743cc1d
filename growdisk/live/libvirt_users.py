"""Which running machines of libvirt use a device of this host, by any path.

virsh is asked, with a time limit: a libvirt that hangs must not hang growdisk.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from growdisk.errors import GrowdiskError
from growdisk.host.command import run
from growdisk.live.libvirt_sockets import listening

_SECONDS = 10.0


def running_users(number: int) -> list[str]:
    """The names of running machines with a disk whose device number is `number`.

    Empty if libvirt does not answer.
    """
    uris = listening() if shutil.which("virsh") else ()
    return [name for uri in uris for name, path in _running_disks(uri) if _number(path) == number]


def _running_disks(uri: str) -> Iterator[tuple[str, str]]:
    """Pairs of a machine's name and a path of one of its disks."""
    try:
        # --nowait: a machine that is busy with a job is not waited for.
        listed = run(
            ["virsh", "-q", "-r", "-c", uri, "domstats", "--block", "--list-active", "--nowait"],
            timeout=_SECONDS,
        )
    except (GrowdiskError, OSError):
        return
    name = ""
    for line in listed.stdout.splitlines():
        if found := re.fullmatch(r"Domain: '(.*)'", line.strip()):
            name = found[1]
        elif found := re.fullmatch(r"block\.\d+\.path=(.*)", line.strip()):
            yield name, found[1]


def _number(path: str) -> int | None:
    try:
        # 0 is a file: it has no number.
        return Path(path).stat().st_rdev or None
    except (OSError, ValueError):
        return None
