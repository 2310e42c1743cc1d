"""A unit that makes SSH host keys for a guest without: Debian's sshd does not start without.

The unit runs at a boot that finds none, before sshd; cloud-init, if installed, has then made them
already or makes them again. It stays in the guest and does nothing later on.
"""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from growdisk.host.command import run

KEYS = "/etc/ssh/ssh_host_*"
UNIT = "/etc/systemd/system/growdisk-ssh-host-keys.service"
WANTED_BY = "/etc/systemd/system/multi-user.target.wants"
UNIT_TEXT = """\
# Written by growdisk provision, which removed the SSH host keys: no two guests share them.
[Unit]
Description=Make the SSH host keys of this machine
Before=ssh.service ssh.socket sshd.service
ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key

[Service]
Type=oneshot
# Seconds of work, for which nobody but sshd has to wait.
Nice=19
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
"""
_MEMORY = "/dev/shm"
_KINDS = ("ed25519", "ecdsa", "rsa")


def new_host_keys(host: str) -> Iterator[tuple[str, bytes, int]]:
    """New keys of this machine's ssh-keygen, from a private folder: path, content, mode.

    The folder is in memory, if there is such a place: the guest's secrets are not for the host's
    disk.
    """
    in_memory = _MEMORY if Path(_MEMORY).is_dir() else None
    with tempfile.TemporaryDirectory(prefix="growdisk-", dir=in_memory) as folder:
        for kind in _KINDS:
            key = Path(folder) / f"ssh_host_{kind}_key"
            run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", f"root@{host}", "-f", key])
            yield f"/etc/ssh/{key.name}", key.read_bytes(), 0o600
            yield f"/etc/ssh/{key.name}.pub", key.with_suffix(".pub").read_bytes(), 0o644


def fingerprint(public: bytes) -> str:
    """As ssh shows it when it first meets the guest."""
    digest = hashlib.sha256(base64.b64decode(public.split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"
