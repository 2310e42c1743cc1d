"""Disks of a server as files of this host, by QEMU's storage daemon and FUSE.

The daemon is the client. A keeper ends it and unmounts when growdisk closes a pipe, normally or
because it was killed. Both inherit the claim on the disk (a lock), so that nobody uses it while an
earlier daemon may still write. A connection that is cut makes each later read and write fail; the
daemon does not reconnect by itself. Spec: qemu-storage-daemon(1).
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from growdisk.block.address import Address
from growdisk.block.host_devices import mounts
from growdisk.errors import Refused
from growdisk.fast_dataclass import dataclass
from growdisk.host.command import last_lines, require, run, start

_TOOL, _UNMOUNT = "qemu-storage-daemon", "fusermount3"
_PATIENCE, _POLL = 30.0, 0.02
# $1 fusermount3, $2 the file; then the daemon's command line. What has begun in the daemon gets
# some seconds to end.
_KEEPER = """
trap '' HUP INT
unmount=$1 place=$2
shift 2
exec 3<&0
"$@" </dev/null &
daemon=$!
{
    read -r _
    kill "$daemon"
    tries=0
    while kill -0 "$daemon" && [ $tries -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
    kill -9 "$daemon"
} <&3 2>/dev/null &
watcher=$!
status=0
wait "$daemon" || status=$?
kill -9 "$watcher" 2>/dev/null
"$unmount" -u -z -- "$place" 2>/dev/null
exit $status
"""


@dataclass(eq=False)
class DiskNotReached(Refused):
    """`address` is a disk's that another program serves."""

    WHAT: ClassVar[str] = "cannot reach {address}"
    WHY: ClassVar[str] = "{reason}"
    DO: ClassVar[str] = "{hint}"
    address: str
    reason: str
    hint: str = "see that its server runs and can be reached from here"


@contextmanager
def shown_as_file(
    address: Address, server: Address, place: Path, *, writable: bool, claim: int
) -> Iterator[None]:
    """What `server` gives out is the file `place` until the block is left.

    DiskNotReached, ToolMissing. `address` is what the user calls it. `claim`: the descriptor of the
    lock that the daemon inherits.
    """
    # The file must be there already: FUSE mounts over it.
    unmount, words = require(_UNMOUNT), _daemon(server, place, writable=writable)
    keeper = start(
        ["sh", "-c", _KEEPER, "growdisk-keeper", unmount, place, *words],
        pass_fds=(claim,),
        env={},
        shown=words,
    )
    try:
        _await_ended_or(keeper, lambda: _is_mounted(place), address)
        yield
    finally:
        keeper.communicate()  # closes its stdin


def unmount_left(place: Path) -> None:
    """What is mounted there is of a daemon that was killed together with its keeper."""
    if _is_mounted(place):
        run([_UNMOUNT, "-u", "-z", "--", place], accept=None, timeout=_PATIENCE)


def _daemon(server: Address, place: Path, *, writable: bool) -> list[str]:
    inet = {"type": "inet", "host": server.host, "port": str(server.port), "keep-alive": True}
    where = {"type": "unix", "path": server.socket} if server.socket else inet
    disk = {
        "driver": "nbd",
        "node-name": "disk",
        "server": where,
        "export": server.path,
        "read-only": not writable,
    }
    file = {
        "type": "fuse",
        "id": "file",
        "node-name": "disk",
        "mountpoint": str(place),
        "writable": writable,
        "allow-other": "off",
    }
    return [_TOOL, "--blockdev", json.dumps(disk), "--export", json.dumps(file)]


def _await_ended_or(
    keeper: subprocess.Popen[str], ready: Callable[[], bool], address: Address
) -> None:
    """DiskNotReached, if the daemon ends before it is ready, or is not ready in time."""
    end = time.monotonic() + _PATIENCE
    while not ready():
        # It ends only after its daemon: what is in the pipe is the daemon's complaint.
        if keeper.poll() is not None:
            _, complaint = keeper.communicate()
            raise DiskNotReached(
                str(address), reason=last_lines(complaint) or f"{_TOOL} gave no reason"
            )
        if time.monotonic() > end:
            raise DiskNotReached(
                str(address), reason=f"{_TOOL} has no connection after {_PATIENCE:.0f} s"
            )
        time.sleep(_POLL)


def _is_mounted(place: Path) -> bool:
    """Looked up in the kernel's list: its server may not answer any more."""
    return any(mount.place == str(place) for mount in mounts())
