"""Disks of a server as files of this host, by QEMU's storage daemon and FUSE.

The daemon is the client. A keeper ends it and unmounts when growdisk closes a pipe, normally or
because it was killed. Both inherit the claim on the disk (a lock), so that nobody uses it while an
earlier daemon may still write. A connection that is cut makes each later read and write fail; the
daemon does not reconnect by itself. For ssh://HOST/FILE, QEMU's NBD server is started on that host
first. Spec: qemu-storage-daemon(1).
"""

from __future__ import annotations

import json
import secrets
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from growdisk.block.address import Address
from growdisk.block.host_devices import mounts
from growdisk.block.nbd_handshake import NotOffered, query_export
from growdisk.durable import scratch_folder
from growdisk.errors import Refused
from growdisk.fast_dataclass import NamedTuple, dataclass
from growdisk.host.command import last_lines, require, run, start

_TOOL, _UNMOUNT = "qemu-storage-daemon", "fusermount3"


class _Patience(NamedTuple):
    what: str
    seconds: float
    poll: float


_DAEMON_PATIENCE = _Patience(f"{_TOOL} has no connection", 30.0, 0.02)
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

    WHAT = "cannot reach {address}"
    WHY = "{reason}"
    DO = "{hint}"
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
        # It ends only after its daemon: what is in the pipe is the daemon's complaint.
        _await(keeper, lambda: _is_mounted(place), address, _ended_daemon, _DAEMON_PATIENCE)
        yield
    finally:
        keeper.communicate()  # closes its stdin


def unmount_left(place: Path) -> None:
    """What is mounted there is of a daemon that was killed together with its keeper."""
    if _is_mounted(place):
        run([_UNMOUNT, "-u", "-z", "--", place], accept=None, timeout=_DAEMON_PATIENCE.seconds)


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


def _ended_daemon(address: Address, complaint: str) -> Refused:
    return DiskNotReached(str(address), last_lines(complaint) or f"{_TOOL} gave no reason")


def _await(
    process: subprocess.Popen[str],
    ready: Callable[[], bool],
    address: Address,
    ended: Callable[[Address, str], Refused],
    patience: _Patience,
) -> None:
    """Until it is `ready`. `ended` makes an error of what a process said that ended before."""
    end = time.monotonic() + patience.seconds
    while not ready():
        if process.poll() is not None:
            _, complaint = process.communicate()
            raise ended(address, complaint)
        if time.monotonic() > end:
            raise DiskNotReached(
                str(address), f"{patience.what} after {patience.seconds:.0f} s"
            ) from None
        time.sleep(patience.poll)


def _is_mounted(place: Path) -> bool:
    """Looked up in the kernel's list: its server may not answer any more."""
    return any(mount.place == str(place) for mount in mounts())


# --- ssh: the server's socket comes here, through ssh --------------------------------------------

# So the file is locked on its own host, as QEMU locks it: a guest there keeps growdisk out, and
# growdisk keeps guests out. The server ends when its client disconnects, when growdisk ends, or
# when the connection is cut.

_SSH_PATIENCE, _ANSWER = _Patience("ssh has no answer", 90.0, 0.1), 10.0
# ControlPath=none: on a shared connection the socket would be forwarded by another ssh, which
# outlives this one.
_OPTIONS = (
    "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=10", "-o",
    "ServerAliveCountMax=3", "-o", "ExitOnForwardFailure=yes", "-o", "ControlPath=none",
)  # fmt: skip
# $1 the file, $2 a folder of our own for the socket, then what qemu-nbd is told. stdin ends when
# growdisk or ssh does.
_FAR_SIDE = """
umask 077
file=$1 folder=$2
shift 2
if [ -b "$file" ]; then echo growdisk:device >&2; exit 3; fi
if ! [ -f "$file" ]; then echo "growdisk:there is no file $file on that host" >&2; exit 3; fi
command -v qemu-nbd >/dev/null || { echo "growdisk:that host has no qemu-nbd" >&2; exit 3; }
mkdir "$folder" || exit 3
exec 3<&0
qemu-nbd --socket="$folder/nbd" "$@" </dev/null &
server=$!
{ read -r _; kill "$server"; } <&3 2>/dev/null &
watcher=$!
status=0
wait "$server" || status=$?
kill "$watcher" 2>/dev/null
rm -rf "$folder"
exit $status
"""
_OWN = "growdisk:"
_LOCKED = "Failed to get"


def held_at_server(address: str, holder: str) -> Refused:
    return Refused.named(
        "held-at-server",
        "{address} is in use",
        "{holder}",
        "shut the guest down (or end that program) on its host, and run the same command again",
        {"address": address, "holder": holder},
    )


@contextmanager
def far_server(
    address: Address, image_format: str, *, writable: bool, claim: int
) -> Iterator[Address]:
    """What can be asked for the content of the file, as long as the block is not left.

    DiskNotReached, held-at-server, ToolMissing. `claim`: the descriptor of the lock that ssh
    inherits.
    """
    with scratch_folder("growdisk-far-") as folder:
        # Two sockets: ours, which ssh forwards to the one that the far side makes in a folder of
        # its own.
        socket, far = folder / "nbd", f"/tmp/growdisk-{secrets.token_hex(8)}"
        arguments = [_locked(address.path, image_format), *([] if writable else ["--read-only"])]
        script = shlex.join(["sh", "-c", _FAR_SIDE, "growdisk", address.path, far, *arguments])
        forwarded = f"{socket}:{far}/nbd"
        words = ["ssh", *_OPTIONS, *_port(address), "-L", forwarded, "--", _login(address)]
        # exec: the login shell does not stay between ssh and our script, so that stdin is the
        # script's.
        words.append(f"exec {script}")
        ssh = start(words, pass_fds=(claim,), env={}, shown=words)
        try:
            server = Address("nbd+unix", "", socket=str(socket))
            _await(ssh, lambda: _answers(server), address, _refusal, _SSH_PATIENCE)
            yield server
        finally:
            ssh.communicate()  # closes its stdin


def _locked(path: str, image_format: str) -> str:
    """As QEMU names what it opens."""
    # By itself qemu-nbd keeps out guests, but no other qemu-nbd; blkdebug is the driver that can
    # let nobody else write.
    file = {"driver": "file", "filename": path}
    alone = {"driver": "blkdebug", "image": file, "unshare-child-perms": ["write", "resize"]}
    return "json:" + json.dumps({"driver": image_format, "file": alone})


def _answers(server: Address) -> bool:
    """ssh takes a connection at once, and its other end when there is something."""
    try:
        query_export(server, _ANSWER)
    except (OSError, NotOffered):
        return False
    return True


def _refusal(address: Address, ssh_output: str) -> Refused:
    """DiskNotReached, held-at-server: what ssh or the far side has said."""
    # Our script's own words first: what the user's shell says at login stands in the same stream.
    own = [line.removeprefix(_OWN) for line in ssh_output.splitlines() if line.startswith(_OWN)]
    advice = f"run growdisk on {address.host}"
    if own == ["device"]:
        reason = "it is a block device of that host, and who uses it can only be seen there"
        return DiskNotReached(
            str(address), reason, hint=f"{advice}: growdisk expand {shlex.quote(address.path)}"
        )
    if own:
        return DiskNotReached(
            str(address), own[0], hint=f"install qemu-utils there, check the path, or {advice}"
        )
    # QEMU says: Failed to get "write" lock.
    if _LOCKED in ssh_output:
        return held_at_server(
            str(address), holder=f"another program there has it open ({last_lines(ssh_output)})"
        )
    command = shlex.join(["ssh", *_port(address), _login(address), "true"])
    hint = f"see that this works without a question: {command}"
    return DiskNotReached(
        str(address), reason=last_lines(ssh_output) or "ssh gave no reason", hint=hint
    )


def _login(address: Address) -> str:
    return f"{address.user}@{address.host}" if address.user else address.host


def _port(address: Address) -> list[str]:
    return ["-p", str(address.port)] if address.port else []
