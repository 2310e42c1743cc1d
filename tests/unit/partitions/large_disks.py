"""Disks with sectors of 4096 bytes, as parted makes and judges them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

from growdisk.partitions.sectors import read_table
from growdisk.partitions.table import PartitionTable
from growdisk.units import MiB
from tests.unit.partitions.disks import opened

SECTOR = 4096


_ENVIRONMENT = {
    **os.environ,
    "PARTED_SECTOR_SIZE": str(SECTOR),
    "LC_ALL": "C",
    "PATH": os.environ["PATH"] + ":/sbin",
}


def parted(disk: Path, *words: str) -> str:
    """parted's answer; it is run again if it crashes.

    It sometimes does when it makes an extended partition of large sectors.
    """
    command = ["parted", "-s", "-m", disk, "unit", "b", *words]
    for _ in range(20):
        done = subprocess.run(
            command, env=_ENVIRONMENT, check=False, capture_output=True, text=True
        )
        if done.returncode != -signal.SIGSEGV:
            break
    done.check_returncode()
    return done.stdout


def places(disk: Path) -> dict[int, tuple[int, int]]:
    """What parted sees: number → (start, end)."""
    rows = re.findall(r"^(\d+):(\d+)B:(\d+)B:", parted(disk, "print"), re.MULTILINE)
    return {int(number): (int(start), int(last) + 1) for number, start, last in rows}


def make(disk: Path, label: str, *parts: str) -> PartitionTable:
    with disk.open("wb") as file:
        file.truncate(512 * MiB)
    parted(disk, "mklabel", label)
    for part in parts:
        parted(disk, "mkpart", *part.split())
    return table_of(disk)


def table_of(disk: Path) -> PartitionTable:
    with opened(disk) as device:
        table = read_table(device, disk, SECTOR)
    assert table is not None
    return table
