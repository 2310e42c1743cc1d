"""What makes a guest without SSH host keys get some: Debian's sshd does not start without, and nobody makes them.

The unit runs at a boot that finds none, before sshd; cloud-init, where it is, has then made them already or makes them
again. It stays in the guest and does nothing later on.
"""

from __future__ import annotations

KEYS = "/etc/ssh/ssh_host_*"
UNIT = "/etc/systemd/system/growdisk-ssh-host-keys.service"
WANTED_BY = "/etc/systemd/system/multi-user.target.wants"
UNIT_TEXT = """\
# Written by growdisk provision: this guest's SSH host keys were removed, so that no two guests share them.
[Unit]
Description=Make the SSH host keys of this machine
Before=ssh.service ssh.socket sshd.service
ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key

[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=multi-user.target
"""
