"""Mounts a folder of block devices for host tools, as any user may, by fusermount3.

fusermount3 asks the kernel and hands over the descriptor. A keeper mounts it, waits until growdisk
closes a pipe, normally or because it was killed, and unmounts. (What fusermount3 calls auto_unmount
works for root alone: it may not look into the folder of anybody else.)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.block.fuse import MAX_WRITE, FuseFolder
from growdisk.block.host_devices import mounts
from growdisk.errors import ToolFailed
from growdisk.host.command import kill_all, require, run, start

TOOL = "fusermount3"
_OPTIONS = f"rootmode=40000,default_permissions,nosuid,nodev,max_read={MAX_WRITE},fsname=growdisk"
# $1 fusermount3, $2 options, $3 the folder, $4 what it lies in. The keeper makes both, as growdisk
# may be killed at any instant, and removes both. The end is lazy: a tool may still have a file
# open. fusermount3 also fails when growdisk was killed before it took the descriptor: then all is
# mounted. A word in the pipe is an orderly end. Without it, all that work in the folder die: see
# command.kill_all(). One look is not enough, for who dies may just have had a child. (grep finds
# itself, but is gone when its turn comes.) A complaint about the mount is told alone; else stderr
# stays open, since its end tells communicate() of the keeper's end sooner than its polling would.
_KEEPER = """
trap '' HUP INT TERM PIPE
mkdir -m 700 -- "$4" "$3" || exit
status=0
"$1" -o "$2" -- "$3" </dev/null || status=$?
[ $status = 0 ] || exec 2>/dev/null
if [ $status = 0 ] && ! read -r _; then
    quiet=0 rounds=0
    while [ $quiet -lt 3 ] && [ $rounds -lt 100 ]; do
        quiet=$((quiet + 1)) rounds=$((rounds + 1))
        for line in $(grep -lsaF -- "$3/" /proc/[0-9]*/cmdline); do
            line=${line%/cmdline}
            kill -9 "${line#/proc/}" && quiet=0
        done
        sleep 0.05
    done
fi
"$1" -u -z -- "$3"
rmdir -- "$3" && rm -rf -- "$4"
exit $status
"""
_PATIENCE = 20.0
_PREFIX, _FOLDER, _ALIVE, _BORN = "growdisk-", "disk", "alive", "born"
_Keeper = tuple["subprocess.Popen[str]", Path]  # and what it mounts
# Keepers that have had their word; None: each is waited for at once.
_unmounting: ContextVar[list[_Keeper] | None] = ContextVar("unmounting", default=None)


@contextmanager
def unmounting_beside() -> Iterator[None]:
    """The folders that are left inside are unmounted beside the work, and are gone after it."""
    keepers: list[_Keeper] = []
    token = _unmounting.set(keepers)
    try:
        yield
    finally:
        _unmounting.reset(token)
        _await(keepers)


@contextmanager
def mounted(
    devices: Mapping[str, BlockDevice],
    *,
    cached: bool = True,
    writes: Callable[[], int] | None = None,
) -> Iterator[tuple[Path, FuseFolder]]:
    """The folder where `devices` are files until the block is left.

    ToolMissing; ToolFailed if it is not allowed. What lies beside the folder, in the one around
    it, goes when it goes: see unmounting_beside(). `cached` and `writes`: see FuseFolder.
    """
    tool, unmounting = require(TOOL), _unmounting.get()
    _await(unmounting or [])
    # A growdisk that was killed with its keeper could not clean up: the next one does.
    _sweep()
    scratch = Path(tempfile.gettempdir()) / f"{_PREFIX}{os.urandom(8).hex()}"
    place = scratch / _FOLDER
    ours, theirs = socket.socketpair()
    with ours, theirs:
        end = theirs.fileno()
        # fusermount3 sends the descriptor of /dev/fuse over this socket: libfuse's own protocol.
        keeper = start(
            ["sh", "-c", _KEEPER, "growdisk-keeper", tool, _OPTIONS, place, scratch],
            pass_fds=(end,),
            env={"_FUSE_COMMFD": str(end)},
            shown=[TOOL, "-o", _OPTIONS, place],
        )
        # The keeper alone has it now: else recv_fds() would wait in vain when it has died.
        theirs.close()
        try:
            folder = FuseFolder(devices, _kernels_end(ours, keeper), cached=cached, writes=writes)
            try:
                with _sign_of_life(scratch):
                    yield place, folder
            finally:
                # First the server ends, then the keeper unmounts: a tool that is still there gets
                # an error, and does not wait for ever.
                folder.close()
        finally:
            # The word makes it an orderly end, after which the keeper kills nobody.
            if keeper.returncode is None:
                with contextlib.suppress(BrokenPipeError):  # it was killed
                    assert keeper.stdin is not None
                    keeper.stdin.write("done\n")
                    keeper.stdin.flush()
            if unmounting is None:
                _await([(keeper, place)])
            else:
                unmounting.append((keeper, place))


def _await(keepers: list[_Keeper]) -> None:
    while keepers:
        keeper, place = keepers.pop()
        if keeper.returncode is None:
            # One that is stopped does its work later.
            with contextlib.suppress(subprocess.TimeoutExpired):
                keeper.communicate(timeout=_PATIENCE)
        if (keeper.returncode or 0) < 0:  # it was killed
            _clear(place)


@contextmanager
def _sign_of_life(scratch: Path) -> Iterator[None]:
    """Hold the lock that shows that this growdisk is alive."""
    born = scratch / _BORN
    with born.open("w") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        # Its name only when it is locked: another growdisk would remove the folder in between.
        born.rename(scratch / _ALIVE)
        yield


def _sweep() -> None:
    """Unmount folders that nobody serves any more: keeper and growdisk were killed together."""
    # The folder itself is not touched to find out: its server may be stopped, and we would hang
    # with it. The kernel's list and the lock beside it tell enough.
    for mount in mounts():
        place = Path(mount.place)
        if (mount.source, mount.kind) != ("growdisk", "fuse") or not _is_ours(place):
            continue
        with contextlib.suppress(OSError), (place.parent / _ALIVE).open() as alive:
            # Raises while its growdisk lives, whose folder is then left alone.
            fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _clear(place)


def _clear(place: Path) -> None:
    """Do what a keeper that is dead cannot."""
    kill_all(f"{place}/")
    run([TOOL, "-u", "-z", "--", place], accept=None, timeout=_PATIENCE)
    shutil.rmtree(place.parent, ignore_errors=True)


def _is_ours(place: Path) -> bool:
    return place.name == _FOLDER and place.parent.name.startswith(_PREFIX)


def _kernels_end(ours: socket.socket, keeper: subprocess.Popen[str]) -> int:
    """The descriptor of /dev/fuse that fusermount3 has mounted."""
    ours.settimeout(_PATIENCE)
    _, descriptors, _, _ = socket.recv_fds(ours, 1, 1, socket.MSG_CMSG_CLOEXEC)
    if descriptors:
        # Without a descriptor the socket was closed: fusermount3 has failed, and has said why.
        return descriptors[0]
    _, complaint = keeper.communicate(timeout=_PATIENCE)
    raise ToolFailed(TOOL, keeper.returncode, complaint.strip() or "it gave no reason")
