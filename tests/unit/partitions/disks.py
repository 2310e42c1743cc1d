"""Small sparse disks with tables made by sfdisk, and what sfdisk reads from them."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from growdisk.block.raw import RawFile
from growdisk.partitions.blocks import BlockerPolicy
from growdisk.partitions.growth import Grown, Growth, NotPossible, plan_growth
from growdisk.partitions.located import SectorChange
from growdisk.partitions.sectors import apply_changes, read_table
from growdisk.partitions.table import Partition, PartitionTable, Role
from growdisk.units import GiB, MiB

SECTOR = 512
EXTENDED = ("5", "f", "85")

# As Debian's installer leaves it: sda2 begins two sectors before sda5, and 1 MiB stays free at the
# end.
CLASSIC = """label: dos
label-id: 0x12345678
2048,3889152,83,*
3893246,299010,5
3893248,299008,82
"""
CLASSIC_SIZE = 2 * GiB


def run(*command: str | Path, stdin: str = "") -> str:
    environment = {"LC_ALL": "C", "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    done = subprocess.run(
        command, input=stdin, env=environment, check=True, text=True, capture_output=True
    )
    return done.stdout


def make_disk(path: Path, size: int, script: str) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    run("sfdisk", "-q", "--no-tell-kernel", path, stdin=script)  # else it sleeps for 250 ms
    return path


def classic_disk(path: Path) -> Path:
    return make_disk(path, CLASSIC_SIZE, CLASSIC)


def scribble(path: Path, start: int, end: int, seed: int) -> bytes:
    """Random bytes where the table is not; returns them."""
    data = random.Random(seed).randbytes(end - start)
    write_at(path, start, data)
    return data


def write_at(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def read_at(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def grow(path: Path, size: int) -> None:
    os.truncate(path, size)


@contextmanager
def opened(path: Path, *, writable: bool = False) -> Iterator[RawFile]:
    device = RawFile.open(path, writable=writable, lock=False)
    try:
        yield device
    finally:
        device.close()


def table_of(path: Path) -> PartitionTable:
    with opened(path) as device:
        table = read_table(device, path)
    assert table is not None
    return table


def rewritten(path: Path, new: PartitionTable) -> tuple[SectorChange, ...]:
    """Make the table of the disk `new`; returns the changes that were applied."""
    from growdisk.partitions.rewriting import rewrite

    with opened(path, writable=True) as device:
        changes = rewrite(device, path, new)
        apply_changes(device, changes)
    return changes


def sfdisk_table(path: Path) -> PartitionTable:
    """The table as sfdisk sees it, in our words."""
    told = json.loads(run("sfdisk", "--json", path))["partitiontable"]
    kind = "mbr" if told["label"] == "dos" else "gpt"
    parts = tuple(_partition(kind, entry, path) for entry in told.get("partitions", []))
    size = path.stat().st_size
    return PartitionTable(kind, told["id"], SECTOR, size - size % SECTOR, parts)


def _partition(kind: str, entry: dict[str, str | int | bool], path: Path) -> Partition:
    number = int(str(entry["node"]).removeprefix(str(path)).removeprefix("p"))
    start = int(entry["start"]) * SECTOR
    end = start + int(entry["size"]) * SECTOR
    code = str(entry["type"])
    if kind == "gpt":
        attributes = _attribute_bits(str(entry.get("attrs", "")))
        name, guid = str(entry.get("name", "")), str(entry["uuid"]).lower()
        return Partition(
            number, start, end, type_code=code, name=name, guid=guid, attributes=attributes
        )
    role = Role.EXTENDED if code in EXTENDED else Role.LOGICAL if number > 4 else Role.PRIMARY
    return Partition(number, start, end, role, code, bool(entry.get("bootable", False)))


def _attribute_bits(attributes: str) -> int:
    """ "RequiredPartition GUID:55,63" as a number."""
    names = {"RequiredPartition": 0, "NoBlockIOProtocol": 1, "LegacyBIOSBootable": 2}
    bits = 0
    for word in attributes.replace("GUID:", "").replace(",", " ").split():
        bits |= 1 << (names[word] if word in names else int(word))
    return bits


def mib(count: int) -> int:
    return count * MiB


def growth_of(disk: Path, number: int, *, delete: int = 0, move: int = 0) -> Growth:
    policy = BlockerPolicy(delete=frozenset({delete} - {0}), move=frozenset({move} - {0}))
    return plan_growth(table_of(disk), number, disk.stat().st_size, policy)


def grown(disk: Path, number: int, **consents: int) -> PartitionTable:
    growth = growth_of(disk, number, **consents)
    assert isinstance(growth, Grown), growth
    return growth.table


def refused(disk: Path, number: int, **consents: int) -> NotPossible:
    growth = growth_of(disk, number, **consents)
    assert isinstance(growth, NotPossible), growth
    return growth


def sound_for_sgdisk(disk: Path) -> bool:
    return "No problems found" in run("sgdisk", "-v", disk)
