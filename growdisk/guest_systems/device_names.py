"""The devices of a disk by name: pure reading, with no tool."""

from __future__ import annotations

from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.block.window import Window
from growdisk.partitions.sectors import read_table
from growdisk.partitions.table import FIRST_DISK, Role


def devices_of(disk: BlockDevice, path: Path, sector_size: int = 512) -> dict[str, BlockDevice]:
    """The whole disk, and a window for each partition that can hold something.

    `path` is for messages.
    """
    table = read_table(disk, path, sector_size)
    parts = [part for part in table.partitions if part.role is not Role.EXTENDED] if table else []
    windows = {
        f"{FIRST_DISK}{part.number}": Window(disk, part.start, part.size)
        for part in parts
        if part.end <= disk.size
    }
    return {FIRST_DISK: disk, **windows}
