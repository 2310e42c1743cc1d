"""A situation as a JSON file: a disk, a goal, and the expected plan or refusal.

All but `expected` is written by hand, with sizes as on the command line ("1900M", "1901M-1024b").
`expected` is written by `GROWDISK_UPDATE_GOLDEN=1 pytest tests/golden`, and read by a person before
it is committed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from growdisk.filesystems.content import (
    AmbiguousContent,
    Content,
    ExtContent,
    LuksContent,
    SwapContent,
)
from growdisk.partitions.table import Partition, PartitionTable, Role
from growdisk.planner.facts import Facts, ImageFacts
from growdisk.planner.given_values import growth_requests
from growdisk.planner.goal import Goal, Preallocation, RunOptions, SwapPolicy
from growdisk.units import align_down, parse_size


def size(text: str) -> int:
    """Bytes of "1900M", or of a difference such as "1901M-1024b"."""
    whole, _, less = text.partition("-")
    return parse_size(whole).bytes - (parse_size(less).bytes if less else 0)


@dataclass(frozen=True)
class _Image:
    size: str
    format: Literal["qcow2", "raw"] = "qcow2"
    version: int = 3
    refcount_bits: int = 16
    snapshots: tuple[str, ...] = ()
    backing: tuple[str, ...] = ()
    tables: str = "1M"

    def facts(self) -> ImageFacts:
        version, bits = (self.version, self.refcount_bits) if self.format == "qcow2" else (None, 0)
        return ImageFacts(
            Path("guest.img"),
            self.format,
            size(self.size),
            5 << 20,
            self.snapshots,
            self.backing,
            version,
            bits,
            tables=size(self.tables) if version else 0,
        )


@dataclass(frozen=True)
class _Part:
    number: int
    start: str
    end: str
    role: Literal["primary", "extended", "logical"] = "primary"
    type: str = "83"
    bootable: bool = False
    name: str = ""
    guid: str | None = None
    attributes: int = 0

    def partition(self) -> Partition:
        role = Role(self.role)
        start, end = size(self.start), size(self.end)
        return Partition(
            self.number,
            start,
            end,
            role,
            self.type,
            self.bootable,
            self.name,
            self.guid,
            self.attributes,
        )


@dataclass(frozen=True)
class _Table:
    partitions: tuple[_Part, ...]
    kind: Literal["mbr", "gpt"] = "mbr"
    id: str = "0x5ca1ab1e"
    damage: str = ""
    sector_size: int = 512
    boot_code: bool = False

    def table(self, disk_size: int) -> PartitionTable:
        parts = tuple(part.partition() for part in self.partitions)
        sector = self.sector_size
        return PartitionTable(
            self.kind, self.id, sector, align_down(disk_size, sector), parts, damage=self.damage
        )


@dataclass(frozen=True)
class _Holds:
    kind: str
    uuid: str = ""
    label: str = ""
    size: str | None = None
    used: str | None = None
    hibernated: str = ""

    def content(self) -> Content:
        total, used = (size(text) if text else None for text in (self.size, self.used))
        if self.kind in ("ext2", "ext3", "ext4"):
            return ExtContent(
                self.kind,
                self.uuid,
                self.label,
                total,
                used,
                block_count=(total or 0) // 4096,
                compat=0x3C,
                incompat=0x2C2,
                ro_compat=0x46B,
                inode_blocks_per_group=512,
                reserved_gdt_blocks=256,
                descriptor_size=64,
            )
        if self.kind == "swap":
            return SwapContent(self.kind, self.uuid, self.label, total, hibernated=self.hibernated)
        if self.kind == "crypto_LUKS":
            return LuksContent(self.kind, self.uuid, self.label)
        if self.kind == "ambiguous":
            return AmbiguousContent(self.kind, candidates=("ext4", "swap"))
        return Content(self.kind, self.uuid, self.label, total, used)


@dataclass(frozen=True)
class _Asked:
    size: str | None = None
    partition: str = "auto"
    swap: SwapPolicy = "drop"
    delete: tuple[int, ...] = ()
    preallocation: Preallocation = "off"
    move: tuple[int, ...] = ()
    grow: tuple[str, ...] = ()
    sector_size: int = 512
    to_gpt: bool = False
    repair: bool = True

    def goal(self) -> Goal:
        wanted = parse_size(self.size) if self.size else None
        return Goal(
            wanted,
            self.partition,
            self.swap,
            self.delete,
            self.preallocation,
            self.move,
            growth_requests(self.grow),
            self.sector_size,
            self.to_gpt,
            repair=self.repair,
        )


@dataclass(frozen=True)
class _Options:
    snapshots: Literal["auto", "internal", "overlay", "none"] = "auto"
    keep: bool = False

    def given(self) -> RunOptions:
        return RunOptions(snapshots=self.snapshots, keep=self.keep)


@dataclass(frozen=True)
class Situation:
    """`expected` is None in a file that was just written by hand."""

    about: str
    image: _Image
    table: _Table | None = None
    contents: dict[int, _Holds] = field(default_factory=dict)
    asked: _Asked = field(default_factory=_Asked)
    options: _Options = field(default_factory=_Options)
    expected: dict[str, object] | None = None

    @property
    def facts(self) -> Facts:
        image = self.image.facts()
        table = self.table.table(image.virtual_size) if self.table else None
        contents = {number: holds.content() for number, holds in self.contents.items()}
        return Facts(image, table, contents, self.table is not None and self.table.boot_code)


def read(file: Path) -> Situation:
    """Raises msgspec.ValidationError, which names the place, where the file is not a situation."""
    return msgspec.json.decode(file.read_bytes(), type=Situation)


def update(file: Path, expected: dict[str, object]) -> None:
    """Write the file's expectation anew; the rest stays as it was written."""
    document = json.loads(file.read_text()) | {"expected": expected}
    file.write_text(_laid_out(document, 0) + "\n")


def _laid_out(value: object, depth: int) -> str:
    """JSON with a line for each thing that can change by itself."""
    margin = "\n" + " " * (depth + 1)
    if isinstance(value, dict) and value and depth < 2:
        lines = [f"{json.dumps(key)}: {_laid_out(item, depth + 1)}" for key, item in value.items()]
        return "{" + margin + f",{margin}".join(lines) + margin[:-1] + "}"
    if isinstance(value, list) and value and isinstance(value[0], str | dict) and depth < 3:
        return (
            "[" + margin + f",{margin}".join(json.dumps(item) for item in value) + margin[:-1] + "]"
        )
    return json.dumps(value)
