"""What QEMU answers on QMP, as values: of each answer the parts that growdisk looks at."""

from __future__ import annotations

from growdisk.fast_dataclass import dataclass


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
    running: bool


@dataclass(frozen=True)
class MemorySize:
    base_memory: int
    plugged_memory: int = 0


@dataclass(frozen=True)
class MigrationInfo:
    blocked_reasons: tuple[str, ...] = ()


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
