"""The devices of a disk by name, and which of them hold a guest's / and /boot: pure reading, with no tool."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from growdisk.backends.ext_paths import ExtPaths
from growdisk.backends.guest_repair.fstab import Entry, parse_fstab
from growdisk.backends.guest_repair.text import decode
from growdisk.block.device import BlockDevice
from growdisk.block.window import Window
from growdisk.filesystems.ext_tree import ExtTree, Unknown
from growdisk.filesystems.identify import identify
from growdisk.partitions.sectors import read_table
from growdisk.partitions.table import Role

DISK = "sda"
_FSTAB = "/etc/fstab"
_PARTITION = re.compile(r"/dev/(?:sda|vda|xvda|hda|nvme0n1p|mmcblk0p)(?P<number>\d+)")


def devices_of(disk: BlockDevice, path: Path, sector_size: int = 512) -> dict[str, BlockDevice]:
    """The whole disk, and a window for each partition that can hold something. `path` is for messages."""
    table = read_table(disk, path, sector_size)
    parts = [part for part in table.partitions if part.role is not Role.EXTENDED] if table else []
    windows = {f"{DISK}{part.number}": Window(disk, part.start, part.size) for part in parts if part.end <= disk.size}
    return {DISK: disk, **windows}


def guest_paths(devices: Mapping[str, BlockDevice], root: str) -> ExtPaths:
    """The guest on device `root`, with the /boot of its fstab. Unknown where one of them is no ext file system."""
    paths = ExtPaths(ExtTree(devices[root]))
    place = paths.find(_FSTAB)
    if place is None or not place.inode.is_file:
        return paths
    for entry in parse_fstab(decode(place.tree.read(place.inode))):
        if entry.mount_point.rstrip("/") == "/boot" and (name := _device_of(devices, entry)) not in (None, root):
            try:
                return ExtPaths(paths.root, ExtTree(devices[name or root]))
            except Unknown as unknown:
                raise Unknown(f"/boot is on {name}, and {unknown}") from unknown
    return paths


def _device_of(devices: Mapping[str, BlockDevice], entry: Entry) -> str | None:
    """The device that an fstab entry means; None where it is not on this disk."""
    kind, _, value = entry.plain_source.partition("=")
    if match := _PARTITION.fullmatch(entry.plain_source):
        name = f"{DISK}{match['number']}"
        return name if name in devices else None
    if kind not in ("UUID", "LABEL"):
        return None
    for name, device in devices.items():
        content = identify(device)
        if content is not None and value and value == (content.uuid if kind == "UUID" else content.label):
            return name
    return None
