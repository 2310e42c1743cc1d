"""The snapshot table: entries parsed and written back without losing what we do not know of them.

The virtual size of a snapshot stands in its extra data, which version 2 images often lack: then it
is the image's. Follows QEMU's docs/interop/qcow2 ("Snapshots").
"""

from __future__ import annotations

import struct
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.errors import ImageError
from growdisk.fast_dataclass import dataclass, replace
from growdisk.qcow2.header import Header
from growdisk.qcow2.header_fields import damaged

# L1 table (offset, entries), lengths of id and name, date (seconds, nanoseconds), the guest's clock
# in nanoseconds, size of the VM state, length of the extra data.
_FIXED = struct.Struct(">QIHHIIQII")
_EXTRA = struct.Struct(">QQQ")  # vm_state_size, disk_size, icount
_NO_ICOUNT = (1 << 64) - 1
_MAX_EXTRA = 1024
# Version 3 demands the size of the VM state and that of the disk.
_V3_EXTRA = 16
_MAX_TABLE = 64 << 20
MAX_NAME = 255


@dataclass(frozen=True)
class SnapshotInfo:
    """A snapshot as its owner knows it. `size`: the virtual disk's then, in bytes."""

    id: str
    name: str
    size: int
    vm_state_size: int
    date_sec: int
    date_nsec: int
    vm_clock_nsec: int


@dataclass(frozen=True)
class SnapshotEntry:
    """A snapshot as it stands in the table. `l1_size` in entries; `extra`: the raw extra data."""

    l1_offset: int
    l1_size: int
    id: str
    name: str
    date_sec: int
    date_nsec: int
    vm_clock_nsec: int
    short_vm_state_size: int = 0  # of version 2; the extra data hold the real one
    extra: bytes = b""

    def info(self, image_size: int) -> SnapshotInfo:
        dates = self.date_sec, self.date_nsec, self.vm_clock_nsec
        size = self.disk_size(image_size)
        return SnapshotInfo(self.id, self.name, size, self.vm_state_size, *dates)

    @property
    def vm_state_size(self) -> int:
        if len(self.extra) >= 8:
            return int.from_bytes(self.extra[:8], "big")
        return self.short_vm_state_size

    @property
    def icount(self) -> int | None:
        """The guest's instruction counter, if it was recorded."""
        count = int.from_bytes(self.extra[16:24], "big") if len(self.extra) >= 24 else _NO_ICOUNT
        return None if count == _NO_ICOUNT else count

    def disk_size(self, image_size: int) -> int:
        return int.from_bytes(self.extra[8:16], "big") if len(self.extra) >= 16 else image_size

    def completed(self, image_size: int) -> SnapshotEntry:
        """The entry with the extra data that version 3 demands.

        A size not stored is the image's.
        """
        if len(self.extra) >= _V3_EXTRA:
            return self
        return replace(self, extra=_EXTRA.pack(self.vm_state_size, image_size, _NO_ICOUNT))

    def to_bytes(self) -> bytes:
        name, ident = (text.encode("utf-8", "surrogateescape") for text in (self.name, self.id))
        fixed = _FIXED.pack(
            self.l1_offset,
            self.l1_size,
            len(ident),
            len(name),
            self.date_sec,
            self.date_nsec,
            self.vm_clock_nsec,
            self.short_vm_state_size,
            len(self.extra),
        )
        entry = fixed + self.extra + ident + name
        # Each entry begins at a multiple of 8.
        return entry + bytes(-len(entry) % 8)


def dump_entries(entries: tuple[SnapshotEntry, ...]) -> bytes:
    return b"".join(entry.to_bytes() for entry in entries)


def read_entries(file: BlockDevice, path: Path, header: Header) -> tuple[SnapshotEntry, ...]:
    """All entries of the snapshot table.

    ImageDamaged if the table leaves the file or cannot be read.
    """
    entries: list[SnapshotEntry] = []
    offset = header.snapshots_offset
    for _ in range(header.snapshot_count):
        entry, offset = _read_entry(file, path, offset)
        entries.append(entry)
        # Each entry is within the file, but a sparse file can be longer than memory.
        if offset - header.snapshots_offset > _MAX_TABLE:
            raise damaged(path, "its snapshot table is larger than 64 MiB")
    return tuple(entries)


def _read_entry(file: BlockDevice, path: Path, offset: int) -> tuple[SnapshotEntry, int]:
    """The entry at `offset`, and where the next one starts."""
    fixed = _read(file, path, offset, _FIXED.size)
    (l1_offset, l1_size, id_length, name_length, sec, nsec, clock, vm_state, extra_length) = (
        _FIXED.unpack(fixed)
    )
    if extra_length > _MAX_EXTRA:
        raise damaged(
            path, f"a snapshot has {extra_length} bytes of extra data; {_MAX_EXTRA} are allowed"
        )
    rest = _read(file, path, offset + _FIXED.size, extra_length + id_length + name_length)
    extra, texts = rest[:extra_length], rest[extra_length:]
    ident, name = map(_text, (texts[:id_length], texts[id_length:]))
    entry = SnapshotEntry(l1_offset, l1_size, ident, name, sec, nsec, clock, vm_state, extra)
    return entry, offset + -(-(_FIXED.size + len(rest)) // 8) * 8


def _text(data: bytes) -> str:
    """An id or a name, which ends before its first NUL as in C."""
    return data.split(b"\0")[0].decode("utf-8", "surrogateescape")


def _read(file: BlockDevice, path: Path, offset: int, length: int) -> bytes:
    if offset + length > file.size:
        raise damaged(path, "its snapshot table is cut off")
    return file.read(offset, length)


def snapshot_not_found(path: Path, name: str) -> ImageError:
    return ImageError.named(
        "snapshot-not-found",
        "{path} has no snapshot '{name}'",
        "",
        "list its snapshots: growdisk image snapshot list {path}",
        {"path": path, "name": name},
    )
