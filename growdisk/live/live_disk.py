"""The disks of a running machine, as values.

What a new size does depends on the bus (measured with QEMU 7.2): a guest sees it at once on
virtio-blk and virtio-scsi; IDE, SATA and others say ok and the guest learns of it at its next
start; NVMe does not allow it.
"""

from __future__ import annotations

from enum import Enum

from growdisk.fast_dataclass import dataclass


class Arrival(Enum):
    """When a guest sees that its disk has grown."""

    AT_ONCE = "at once"
    RESTART = "after a restart"
    NEVER = "never"


@dataclass(frozen=True)
class Bus:
    """What a disk is plugged into, as people call it."""

    name: str
    arrival: Arrival


@dataclass(frozen=True)
class LiveDisk:
    """A disk of a running machine.

    `key` is QEMU's path of the device, which outlives every change of its image. `file` is the
    image that is written to now (an overlay, while there is one); `snapshots` are that image's.
    `version` is the qcow2 version, 0 for other formats.
    """

    key: str
    names: tuple[str, ...]
    node: str
    file: str
    format: str
    size: int
    actual_size: int
    read_only: bool
    bus: Bus
    serial: str = ""
    snapshots: tuple[str, ...] = ()
    version: int = 0
    refcount_bits: int = 0
    corrupt: bool = False
    backing: str = ""
    encrypted: bool = False
    data_file: str = ""
