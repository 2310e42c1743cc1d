"""What QEMU answers on QMP, as values: of each answer the parts that growdisk looks at."""

from __future__ import annotations

from growdisk.fast_dataclass import dataclass


@dataclass(frozen=True)
class Snapshot:
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
class Image:
    virtual_size: int
    filename: str = ""
    actual_size: int = 0
    backing_image: Image | None = None
    backing_filename: str = ""
    full_backing_filename: str = ""
    snapshots: tuple[Snapshot, ...] = ()
    format_specific: FormatSpecific | None = None


@dataclass(frozen=True)
class Inserted:
    node_name: str
    file: str
    drv: str
    ro: bool
    image: Image


@dataclass(frozen=True)
class Block:
    device: str = ""
    qdev: str = ""
    inserted: Inserted | None = None


@dataclass(frozen=True)
class Node:
    node_name: str
    drv: str
    file: str


@dataclass(frozen=True)
class Chardev:
    label: str
    filename: str


@dataclass(frozen=True)
class Property:
    name: str
    type: str


@dataclass(frozen=True)
class Status:
    status: str
    running: bool


@dataclass(frozen=True)
class Memory:
    base_memory: int
    plugged_memory: int = 0


@dataclass(frozen=True)
class Migration:
    blocked_reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Busy:
    device: str = ""
    type: str = ""


@dataclass(frozen=True)
class WrittenFile:
    driver: str = ""
    filename: str = ""


@dataclass(frozen=True)
class Written(WrittenFile):
    """An image's name as QEMU's JSON; `offset`: it is a piece of its file only."""

    file: WrittenFile | None = None
    offset: object = None
