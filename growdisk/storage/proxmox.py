"""What Proxmox VE keeps of its machines: which are suspended to disk, and where linked clones lie.

Suspended ones have their memory saved, and their disks are in nobody's use. By configuration files
and folders alone, if this host has such. Spec: qm.conf(5) (lock, vmstate, the names of disks).
"""

from __future__ import annotations

import re
from pathlib import Path

_CONFIGURATIONS = Path("/etc/pve/qemu-server")
_MOST = 5000
_SUSPENDED = r"(?m)^lock:\s*suspend(?:ed|ing)\s*$"
_DISK = r"(?m)^(?:scsi|virtio|ide|sata|efidisk|tpmstate)\d+:\s*(?P<volume>[^,\s]+)"


def folders_beside(folder: str) -> list[str]:
    """Folders of other machines: disks are in images/NUMBER, those of clones in another NUMBER."""
    own = Path(folder)
    if not own.name.isdecimal():
        return []
    try:
        found = sorted(
            machine
            for machine in own.parent.iterdir()
            if machine.name.isdecimal() and machine != own
        )
    except OSError:
        return []
    return [str(machine) for machine in found[:_MOST]]


def suspended_with(path: Path) -> str:
    """The number of the machine with the disk at `path` if it is suspended to disk; else ""."""
    names = {path.name, path.resolve().name}
    for file in sorted(_CONFIGURATIONS.glob("*.conf"))[:_MOST]:
        try:
            # Sections of snapshots follow, with a lock and disks of their own time.
            own = file.read_text(errors="replace").partition("\n[")[0]
        except OSError:
            continue
        # local:100/vm-100-disk-0.qcow2, local-lvm:vm-100-disk-0: the last part is the file's name.
        volumes = {re.split("[:/]", match["volume"])[-1] for match in re.finditer(_DISK, own)}
        if re.search(_SUSPENDED, own) and not names.isdisjoint(volumes):
            return file.stem
    return ""
