"""The disks of a running machine, and the parts of QEMU's answers that describe it, as values.

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


# --- QEMU's answers -------------------------------------------------------------------------------


@dataclass(frozen=True)
class QmpSnapshotInfo:
    name: str


@dataclass(frozen=True)
class FormatData:
    compat: str = ""
    refcount_bits: int = 0
    corrupt: bool = False
    encrypt: object = None
    data_file: str = ""


@dataclass(frozen=True)
class FormatSpecific:
    data: FormatData | None = None


@dataclass(frozen=True)
class QmpImageInfo:
    virtual_size: int
    filename: str = ""
    actual_size: int = 0
    backing_image: QmpImageInfo | None = None
    backing_filename: str = ""
    full_backing_filename: str = ""
    snapshots: tuple[QmpSnapshotInfo, ...] = ()
    format_specific: FormatSpecific | None = None


@dataclass(frozen=True)
class BlockDeviceInfo:
    node_name: str
    file: str
    drv: str
    ro: bool
    image: QmpImageInfo


@dataclass(frozen=True)
class BlockInfo:
    device: str = ""
    qdev: str = ""
    inserted: BlockDeviceInfo | None = None


@dataclass(frozen=True)
class BlockNodeInfo:
    node_name: str
    drv: str
    file: str


@dataclass(frozen=True)
class ChardevInfo:
    label: str
    filename: str


@dataclass(frozen=True)
class ObjectProperty:
    name: str
    type: str


@dataclass(frozen=True)
class StatusInfo:
    status: str


@dataclass(frozen=True)
class MemorySize:
    base_memory: int
    plugged_memory: int = 0


@dataclass(frozen=True)
class MigrationInfo:
    blocked_reasons: tuple[str, ...] = ()
    status: str = "none"


@dataclass(frozen=True)
class BlockJobInfo:
    device: str = ""
    type: str = ""


@dataclass(frozen=True)
class JsonFileName:
    driver: str = ""
    filename: str = ""


@dataclass(frozen=True)
class JsonImageName(JsonFileName):
    """An image's name as QEMU's JSON; `offset`: it is a piece of its file only."""

    file: JsonFileName | None = None
    offset: object = None
