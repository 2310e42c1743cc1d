"""The boot sector of NTFS, and what Windows left in it to say that nobody else may change it now.

Label and "dirty" stand in the file $Volume; a Windows that sleeps (also one that was shut down with
fast start-up) has its memory in hiberfil.sys, and would go on with an old idea of the file system
when it wakes.
"""

from __future__ import annotations

import struct

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import replace
from growdisk.filesystems.content import Content, NtfsContent
from growdisk.filesystems.ntfs_files import MasterFileTable, NtfsDamaged
from growdisk.units import align_down

# "NTFS", bytes per sector, sectors per cluster, sectors, cluster of the $MFT, size of a record,
# serial number.
_BOOT_SECTOR = struct.Struct("<3x8sHB26xQQ8xb7xQ")
_VOLUME_FILE, _ROOT_FOLDER, _BITMAP_FILE, _BAD_CLUSTERS_FILE = 3, 5, 6, 8
_MOST_BITMAP = 64 << 20  # bytes that are counted: of a volume of 2 TiB with the usual clusters
_VOLUME_NAME, _VOLUME_INFORMATION = 0x60, 0x70
_LOG_FILE, _LOG_PAGE = 2, 4096
_RESTART_AT = struct.Struct("<24xH")
_RESTART = struct.Struct("<Q4xHH")  # log sequence number, who uses it, flags
_NOBODY, _LOG_CLEAN = 0xFFFF, 0x2
_DIRTY = 0x0001 | 0x4000  # to be checked; a check was begun
_SLEEPING = (b"hibr", b"HIBR")
_MEMORY = "hiberfil.sys"
_OF_WINDOWS = ("Windows", "bootmgr", "ntldr")


def read_ntfs(head: bytes) -> Content | None:
    if len(head) < 512:
        return None
    name, sector_size, per_cluster, sectors, _mft, _record, serial = _BOOT_SECTOR.unpack_from(head)
    if name != b"NTFS    " or sector_size not in (256, 512, 1024, 2048, 4096):
        return None
    # The backup of the boot sector follows the last sector counted.
    size = (sectors + 1) * sector_size
    return NtfsContent(
        "ntfs",
        f"{serial:016X}",
        size=size,
        cluster_size=sector_size * _factor(per_cluster),
        sector_size=sector_size,
    )


def with_state(device: BlockDevice, content: NtfsContent) -> NtfsContent:
    """The same with label and state, which lie after the beginning.

    What cannot be read counts as dirty, and as a system.
    """
    try:
        table = _master_file_table(device, content.cluster_size)
        volume = table.record(_VOLUME_FILE)
        label = volume.resident(_VOLUME_NAME).decode("utf-16-le", "replace")
        # The volume flags, after 8 reserved bytes and two of the version.
        flags = int.from_bytes(volume.resident(_VOLUME_INFORMATION)[10:12], "little")
        found = table.find(table.record(_ROOT_FOLDER), _MEMORY, *_OF_WINDOWS)
        hibernated = _MEMORY in found and _sleeps(table, found[_MEMORY])
        unwritten = not _log_is_clean(table)
        bad = any(table.record(_BAD_CLUSTERS_FILE).runs_of("$Bad"))
        used = _used(table, content)
    # The safe answers: dirty volumes are refused, and a system stays.
    except (NtfsDamaged, struct.error, ValueError):
        return replace(content, dirty=True, system=True)
    return replace(
        content,
        label=label,
        dirty=unwritten or bool(flags & _DIRTY),
        hibernated=hibernated,
        system=not found.keys().isdisjoint(_OF_WINDOWS),
        used=used,
        has_bad_clusters=bad,
    )


def grown_ntfs(content: NtfsContent, device_size: int) -> int:
    """Bytes after ntfsresize: whole clusters, and after them the backup of the boot sector."""
    return max(
        align_down(device_size - content.sector_size, content.cluster_size) + content.sector_size,
        content.size or 0,
    )


def _master_file_table(device: BlockDevice, cluster_size: int) -> MasterFileTable:
    _name, _size, _cluster, _sectors, first, record, _serial = _BOOT_SECTOR.unpack(
        device.read(0, _BOOT_SECTOR.size)
    )
    # A negative number is a power of two in bytes: -10 is 1024.
    record_size = 1 << -record if record < 0 else record * cluster_size
    return MasterFileTable(device, cluster_size, first * cluster_size, record_size)


def _used(table: MasterFileTable, content: NtfsContent) -> int | None:
    """Bytes in clusters that $Bitmap marks as taken. The bits after the last cluster are set."""
    clusters = (content.size or 0) // content.cluster_size
    if clusters // 8 > _MOST_BITMAP:
        return None
    length, taken = -(-clusters // 8), 0
    # The last byte may have bits after the last cluster. They are set, so they are taken off below.
    for part in table.data(table.record(_BITMAP_FILE), length):
        taken += int.from_bytes(part, "little").bit_count()
    return min(max(taken - (8 * length - clusters), 0), clusters) * content.cluster_size


def _log_is_clean(table: MasterFileTable) -> bool:
    """Whether $LogFile holds nothing that is not yet where it belongs: ntfsresize empties it."""
    log = table.record(_LOG_FILE)
    # It begins with two restart pages, which are written in turns (libntfs-3g, logfile.c).
    start = table.data_start(log, 2 * _LOG_PAGE)
    pages = [start[at : at + _LOG_PAGE] for at in range(0, len(start), _LOG_PAGE)]
    found = [
        _RESTART.unpack_from(page, _RESTART_AT.unpack_from(page)[0])
        for page in pages
        if page.startswith(b"RSTR")
    ]
    if not found:
        # An emptied log is all 0xff.
        return all(page.startswith(b"\xff\xff\xff\xff") for page in pages)
    # The page with the higher log sequence number counts; that is the first field.
    _number, in_use, state = max(found)
    return in_use == _NOBODY or bool(state & _LOG_CLEAN)


def _sleeps(table: MasterFileTable, memory: int) -> bool:
    return table.data_start(table.record(memory), 4).startswith(_SLEEPING)


def _factor(per_cluster: int) -> int:
    """Sectors per cluster; the largest clusters have theirs as a negative power of two."""
    return per_cluster if per_cluster <= 128 else 1 << (256 - per_cluster)
