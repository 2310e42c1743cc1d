"""Finds what storage a block device lies on. Reads only; runs the tools of that storage."""

from __future__ import annotations

from pathlib import Path

from growdisk.block.host_devices import (
    device_path_of,
    disk_of_partition,
    kernel_name_of,
    value_of,
)
from growdisk.block.identity import dataset_of
from growdisk.errors import GrowdiskError
from growdisk.host.json_codec import NotThatValue
from growdisk.storage import loop, lvm, rbd, zvol
from growdisk.storage.values import Storage

_LUN = "grow it at the storage that it comes from, then let the host look again (echo 1 > {rescan})"


def look_at_storage(path: Path) -> Storage:
    """Of the device at `path`. What cannot be asked is an obstacle, never an error."""
    number = path.stat().st_rdev
    try:
        return _look(number, kernel_name_of(number))
    except (GrowdiskError, NotThatValue, OSError, ValueError) as error:
        return Storage(
            "other",
            "",
            obstacle=f"its storage cannot be asked ({error})",
            hint="grow it by its own tools",
        )


def _look(number: int, kernel_name: str) -> Storage:
    # First: a partition of a loop device has a name that begins with loop as well.
    if (disk := disk_of_partition(number)) is not None and isinstance(disk.node, int):
        hint = f"grow the partition first (growpart, or parted {device_path_of(disk.node)})"
        return Storage("other", "", obstacle="it is a partition of this host's disk", hint=hint)
    if value_of(number, "dm/uuid").startswith("LVM-"):
        return lvm.look(number)
    if kernel_name.startswith("loop"):
        return loop.look(number)
    if kernel_name.startswith("rbd"):
        return rbd.look(kernel_name)
    if dataset := dataset_of(number) if kernel_name.startswith("zd") else "":
        return zvol.look(dataset)
    return Storage(
        "other",
        "",
        obstacle="growdisk does not manage its storage",
        hint=_hint(number, kernel_name),
    )


def _hint(number: int, kernel_name: str) -> str:
    """The tools of its own that make it larger."""
    # Everything of device mapper is called dm-N: the prefix of its UUID tells who made it.
    name, uuid = value_of(number, "dm/name"), value_of(number, "dm/uuid")
    rescan = f"/sys/block/{kernel_name}/device/rescan"
    if uuid.startswith("mpath-"):
        return f"grow the LUN, rescan each of its paths, then multipathd resize map {name}"
    if uuid.startswith("CRYPT-"):
        return f"grow what it lies on, then cryptsetup resize {name}"
    if name:
        return f"load a larger map for {name} (dmsetup)"
    hints = {
        "md": f"mdadm --grow --size=max /dev/{kernel_name}",
        "drbd": "grow both sides, then drbdadm resize",
        "nbd": "grow it at its server, and attach it again",
        "nvme": "grow the namespace, then nvme ns-rescan",
        "vd": "grow it in the machine that has this host as its guest",
        "sd": _LUN.format(rescan=rescan),
        "zd": "zfs set volsize=SIZE DATASET",
    }
    return next(
        (hint for start, hint in hints.items() if kernel_name.startswith(start)),
        "grow it by its own tools",
    )
