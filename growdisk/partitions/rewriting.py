"""Makes a new table of the old one: an MBR by libparted, on a copy; a GPT in its own sectors."""

from __future__ import annotations

from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.partitions.gpt_rewriter import rewrite_gpt
from growdisk.partitions.sector_change import SectorChange
from growdisk.partitions.table import PartitionTable


def rewrite(device: BlockDevice, path: Path, new: PartitionTable) -> tuple[SectorChange, ...]:
    """The sectors to change on `device` so that its table becomes `new`; writes nothing there.

    `new` may be larger than the device, which then has yet to grow. Partitions keep their numbers, and none may be new.
    Raises TableRewriteFailed, which names `path`.
    """
    if new.kind == "gpt":
        return rewrite_gpt(device, path, new)
    from growdisk.partitions.parted_disk import rewrite_mbr  # libparted is loaded when it is needed

    return rewrite_mbr(device, path, new)
