"""How a running guest is reached: stored in the plan, for the process that continues the run."""

from __future__ import annotations

from typing import Literal

from growdisk.fast_dataclass import dataclass
from growdisk.guest_scripts.script_plan import GuestPlan


@dataclass(frozen=True)
class GuestConnection:
    """To QEMU: `qmp` (a socket), or `domain` at `uri`.

    To the disk: `key` (QEMU's path of the device). Into the guest: `shell`, with `agent` (a socket;
    "" through libvirt) or `ssh` and `ssh_config`. `device` is the disk as the guest names it,
    `guest` what its scripts are made from.
    """

    qmp: str
    domain: str
    uri: str
    key: str
    shell: Literal["agent", "ssh"]
    agent: str
    ssh: str
    ssh_config: str
    device: str
    allow_reboot: bool
    guest: GuestPlan | None = None
