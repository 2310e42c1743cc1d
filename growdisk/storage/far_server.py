"""ssh://HOST/FILE: starts QEMU's NBD server on that host by ssh, which brings its socket here.

So the file is locked on its own host, as QEMU locks it: a guest there keeps growdisk out, and
growdisk keeps guests out. The server ends when its client disconnects, when growdisk ends, or when
the connection is cut.
"""

from __future__ import annotations

import json
import secrets
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from growdisk.block.address import Address
from growdisk.block.nbd_handshake import NotOffered, query_export
from growdisk.errors import Refused
from growdisk.host.command import last_lines, start
from growdisk.storage.served import DiskNotReached

_PATIENCE, _POLL, _ANSWER = 90.0, 0.1, 10.0
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
    with tempfile.TemporaryDirectory(prefix="growdisk-far-") as folder:
        # Two sockets: ours, which ssh forwards to the one that the far side makes in a folder of
        # its own.
        socket, far = Path(folder) / "nbd", f"/tmp/growdisk-{secrets.token_hex(8)}"
        arguments = [_locked(address.path, image_format), *([] if writable else ["--read-only"])]
        script = shlex.join(["sh", "-c", _FAR_SIDE, "growdisk", address.path, far, *arguments])
        login = f"{address.user}@{address.host}" if address.user else address.host
        words = [
            "ssh",
            *_OPTIONS,
            *_port(address),
            "-L",
            f"{socket}:{far}/nbd",
            "--",
            login,
            # exec: the login shell does not stay between ssh and our script, so that stdin is the
            # script's.
            f"exec {script}",
        ]
        ssh = start(words, pass_fds=(claim,), env={}, shown=words)
        try:
            server = Address("nbd+unix", "", socket=str(socket))
            _await_answer(ssh, server, address)
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


def _await_answer(ssh: subprocess.Popen[str], server: Address, address: Address) -> None:
    """DiskNotReached, held-at-server: what ssh or the far side has said."""
    end = time.monotonic() + _PATIENCE
    while True:
        if ssh.poll() is not None:
            _, ssh_output = ssh.communicate()
            raise _refusal(address, ssh_output)
        try:
            query_export(server, _ANSWER)
        except (OSError, NotOffered):  # ssh answers at once, its other end when there is something
            if time.monotonic() > end:
                raise DiskNotReached(
                    str(address), f"ssh has no answer after {_PATIENCE:.0f} s"
                ) from None
            time.sleep(_POLL)
        else:
            return


def _refusal(address: Address, ssh_output: str) -> Refused:
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
    login = f"{address.user}@{address.host}" if address.user else address.host
    hint = (
        "see that this works without a question: "
        f"{shlex.join(['ssh', *_port(address), login, 'true'])}"
    )
    return DiskNotReached(
        str(address), reason=last_lines(ssh_output) or "ssh gave no reason", hint=hint
    )


def _port(address: Address) -> list[str]:
    return ["-p", str(address.port)] if address.port else []
