"""Facts about disks with a volume group."""

from __future__ import annotations

from pathlib import Path

from growdisk.filesystems.content import Content, ExtContent
from growdisk.partitions.table import Partition, PartitionTable
from growdisk.planner.facts import Facts, ImageFacts
from growdisk.units import GiB, MiB

EXTENT = 4 * MiB


EXT = ExtContent(
    "ext4",
    "5e1f0c1d-0000-4000-8000-00000000a001",
    "",
    2 * GiB,
    GiB,
    block_count=2 * GiB // 4096,
    compat=0x10,
    ro_compat=1,
    reserved_gdt_blocks=255,
    inode_blocks_per_group=512,
    descriptor_size=64,
)


def facts(content: Content) -> Facts:
    table = PartitionTable(
        "mbr", "0x5ca1ab1e", 512, 3 * GiB, (Partition(1, MiB, 3 * GiB, type_code="8e"),)
    )
    return Facts(
        ImageFacts(Path("guest.qcow2"), "qcow2", 3 * GiB, GiB, version=3), table, {1: content}
    )
