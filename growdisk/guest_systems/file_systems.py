"""The file systems on a disk, by the names of their devices, each with a reader of its files.

Pure reading, with no tool.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from growdisk.block.device import BlockDevice, Extent, check_range
from growdisk.block.window import ReadOnlyDevice
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.btrfs_tree import BtrfsTree
from growdisk.filesystems.content import (
    BtrfsContent,
    Content,
    ExtContent,
    F2fsContent,
    FixedContent,
    LuksContent,
    XfsContent,
)
from growdisk.filesystems.ext_tree import ExtTree
from growdisk.filesystems.fat_tree import FatTree
from growdisk.filesystems.file_tree import FileTree
from growdisk.filesystems.identify import identify
from growdisk.filesystems.volume_group import mapped_name
from growdisk.filesystems.xfs_tree import XfsTree
from growdisk.guest_config.removed_partition import RemovedPartition
from growdisk.partitions.sectors import parts_of, read_table, windows_of
from growdisk.partitions.table import FIRST_DISK, Partition, PartitionTable
from growdisk.volumes.inspect import InnerLook
from growdisk.volumes.keyring import Keyring
from growdisk.volumes.lvm import PhysicalVolumeFinder

_PIECE = 64 << 10
_MOST_PIECES = 1024
_BULK = 1 << 20  # an initrd: read once and not kept


@dataclass(frozen=True)
class SeenFileSystem:
    """A file system: `node` as the appliance names it (/dev/vg0/root), `names` as a guest does."""

    node: str
    device: BlockDevice
    content: Content
    names: RemovedPartition


def devices_of(disk: BlockDevice, path: Path) -> dict[str, BlockDevice]:
    """The whole disk, and a window for each partition that can hold something.

    `path` is for messages.
    """
    table = read_table(disk, path)
    parts = windows_of(disk, table) if table else ()
    return {FIRST_DISK: disk, **{f"{FIRST_DISK}{part.number}": window for part, window in parts}}


def file_systems_on(
    disk: BlockDevice,
    path: Path,
    sector_size: int,
    keyring: Keyring,
    pv_finder: PhysicalVolumeFinder,
    closed: dict[str, str],
) -> Iterator[SeenFileSystem]:
    """All there are; `closed` gets those that cannot be read by their nodes, each with why."""
    table = read_table(disk, path, sector_size)
    for part, device in parts_of(disk, table):
        name = f"{FIRST_DISK}{part.number}" if part else FIRST_DISK
        views = InnerLook(keyring, pv_finder).views(f"/dev/{name}", _CachedReads(device))
        for node, view, content in views:
            if isinstance(content, LuksContent):
                closed[node] = "it is encrypted, and no key that was given opens it"
            elif isinstance(content, F2fsContent):
                closed[node] = "growdisk does not read f2fs"
            yield SeenFileSystem(node, view, content, _names(node, table, part, content))


def _names(
    node: str, table: PartitionTable | None, part: Partition | None, content: Content
) -> RemovedPartition:
    uuid, label = content.uuid or None, content.label or None
    number = part.number if part else 0
    # In a container or a volume the partition's names are not its own. -1 is the number of no
    # partition, so that no /dev/sda5 is taken for it.
    if part is None or table is None or node != f"/dev/{FIRST_DISK}{number}":
        group, _, volume = node.removeprefix("/dev/").partition("/")
        mapped = f"/dev/mapper/{mapped_name(group, volume)}" if volume else node
        return RemovedPartition(-1, uuid, label, mapped=(node, mapped), is_swap=False)
    return RemovedPartition(
        number, uuid, label, table.partuuid(part), part.name or None, is_swap=False
    )


def tree_of(content: Content, device: BlockDevice) -> FileTree | None:
    match content:
        case ExtContent():
            return ExtTree(device)
        case BtrfsContent():
            return BtrfsTree(device)
        case XfsContent():
            return XfsTree(device)
        case FixedContent(kind="vfat"):
            return FatTree(device)
    return None


def tree_on(device: BlockDevice) -> FileTree | None:
    """A reader of what is on it; None if its kind has none. Unknown if it cannot be read."""
    content = identify(device)
    return None if content is None else tree_of(content, device)


class _CachedReads(ReadOnlyDevice):
    """Remembers what was read, in large pieces: not for a device that changes meanwhile."""

    def __init__(self, device: BlockDevice) -> None:
        self._device, self.size = device, device.size
        self._pieces: dict[int, bytes] = {}

    def read(self, offset: int, length: int) -> bytes:
        check_range(self.size, offset, length)
        if length >= _BULK:
            return self._device.read(offset, length)
        first, start = divmod(offset, _PIECE)
        end = start + length
        # The common case: a block within one piece. Both ends at once, or a slice would be copied.
        if end <= _PIECE:
            return self._piece(first)[start:end]
        pieces = [self._piece(first + number) for number in range(-(-end // _PIECE))]
        return b"".join(pieces)[start:end]

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        return self._device.extents(offset, length)

    def _piece(self, number: int) -> bytes:
        if (piece := self._pieces.get(number)) is None:
            if len(self._pieces) >= _MOST_PIECES:
                # 64 MiB of them: forgetting all is rare, and simpler than knowing the oldest.
                self._pieces.clear()
            start = number * _PIECE
            piece = self._pieces[number] = self._device.read(start, min(_PIECE, self.size - start))
        return piece
