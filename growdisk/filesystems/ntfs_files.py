"""Files of an NTFS by their records: enough to find one in a folder and read its first bytes.

Every record and index block is protected by fix-ups: the last two bytes of each 512 are a counter,
and what belongs there is in its header. Follows the documentation of the Linux-NTFS project.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from growdisk.block.device import BlockDevice
from growdisk.fast_dataclass import dataclass

_BLOCK = 512
_ATTRIBUTES_AT = 0x14
_ATTRIBUTE = struct.Struct("<IIB")  # type, length, non-resident
_RESIDENT = struct.Struct("<IH")  # at 0x10: length and place of the value
_INDEX_NODE = struct.Struct("<II")  # first entry, end of the entries, both from here
_INDEX_ENTRY = struct.Struct("<QHHH")  # file, length, length of the key, flags
_END_OF_ATTRIBUTES = 0xFFFFFFFF
_ATTRIBUTE_LIST, _DATA, _INDEX_ROOT, _INDEX_ALLOCATION = 0x20, 0x80, 0x90, 0xA0
_FOLDER_INDEX = "$I30"
# type, length, (name, first cluster,) record
_LIST_ENTRY = struct.Struct("<IH10xQ")
_MOST_LIST_BYTES = 256 << 10  # as Windows wants it
_LAST_ENTRY = 0x2
_PART = 1 << 20
# In all: a bitmap has 64 MiB at most here, and a folder little.
_MOST_BYTES = 256 << 20
# The upper 16 bits of a reference count how often the record was used again.
_RECORD_NUMBER = (1 << 48) - 1


class NtfsDamaged(ValueError):
    """A structure that is not what it has to be."""


@dataclass(frozen=True)
class Attribute:
    kind: int
    raw: bytes

    @property
    def resident(self) -> bool:
        return self.raw[8] == 0

    @property
    def name(self) -> str:
        """Of a stream or an index; "" is what a program sees as the file's content."""
        length, at = self.raw[9], int.from_bytes(self.raw[10:12], "little")
        return self.raw[at : at + 2 * length].decode("utf-16-le", "replace")

    @property
    def first_cluster(self) -> int:
        """Which cluster of the file its runs begin with: a long list of runs has several parts."""
        return 0 if self.resident else int.from_bytes(self.raw[0x10:0x18], "little")

    @property
    def value(self) -> bytes:
        length, at = _RESIDENT.unpack_from(self.raw, 0x10)
        return self.raw[at : at + length]

    def runs(self) -> Iterator[tuple[int, int]]:
        """(first cluster, clusters) of a non-resident one; holes are left out."""
        # A run: one byte with the sizes of two numbers (low four bits: count, high four bits:
        # start), then the numbers. A start counts from the start of the run before; a run without
        # one is a hole.
        at, cluster = int.from_bytes(self.raw[0x20:0x22], "little"), 0
        while at < len(self.raw) and self.raw[at]:
            count_size, start_size = self.raw[at] & 15, self.raw[at] >> 4
            count = int.from_bytes(self.raw[at + 1 : at + 1 + count_size], "little")
            start = self.raw[at + 1 + count_size : at + 1 + count_size + start_size]
            at += 1 + count_size + start_size
            if start_size:
                cluster += int.from_bytes(start, "little", signed=True)
                yield cluster, count


@dataclass(frozen=True)
class FileRecord:
    attributes: tuple[Attribute, ...]

    def resident(self, kind: int) -> bytes:
        """The value of an attribute; b"" if there is none."""
        return next((a.value for a in self.of_kind(kind) if a.resident), b"")

    def of_kind(self, kind: int, name: str = "") -> Iterator[Attribute]:
        return (a for a in self.attributes if a.kind == kind and a.name == name)

    def runs_of(self, stream: str) -> Iterator[tuple[int, int]]:
        """Of a named $DATA, without its holes."""
        parts = (part for part in self.of_kind(_DATA, stream) if not part.resident)
        return (run for part in parts for run in part.runs())

    @property
    def content(self) -> list[Attribute]:
        """The parts of its unnamed $DATA, in order."""
        found = sorted(self.of_kind(_DATA), key=lambda part: part.first_cluster)
        if not found or found[0].first_cluster:
            raise NtfsDamaged("a file has no content")
        return found


class MasterFileTable:
    """`start` is where the table begins, in bytes."""

    def __init__(
        self, device: BlockDevice, cluster_size: int, start: int, record_size: int
    ) -> None:
        if not _BLOCK <= record_size <= 65536:
            raise NtfsDamaged(f"records of {record_size} bytes")
        self._device, self._cluster_size = device, cluster_size
        self._start, self._record_size = start, record_size
        self._left = _MOST_BYTES

    def record(self, number: int) -> FileRecord:
        """With what stands in other records, if a file has too much for one."""
        found = self._attributes_in(number)
        others = {
            other: None
            for attribute in found
            if attribute.kind == _ATTRIBUTE_LIST
            for other in _listed_records(self._list(attribute))
            if other != number
        }
        for other in others:
            found += self._attributes_in(other)
        return FileRecord(tuple(found))

    def _attributes_in(self, number: int) -> list[Attribute]:
        raw = self._read(self._place(number), self._record_size)
        return list(_attributes(_fixed(raw, b"FILE")))

    def _list(self, attribute: Attribute) -> bytes:
        if attribute.resident:
            return attribute.value
        size = int.from_bytes(attribute.raw[0x30:0x38], "little")
        if size > _MOST_LIST_BYTES:
            raise NtfsDamaged(f"a list of attributes has {size} bytes")
        return b"".join(self._data_of([attribute], size))

    def find(self, folder: FileRecord, *names: str) -> dict[str, int]:
        """The records' numbers of those that are in a folder; case does not matter."""
        wanted = {name.lower(): name for name in names}
        return {
            wanted[found.lower()]: number
            for node in self._nodes(folder)
            for number, found in _entries(node)
            if found.lower() in wanted
        }

    def data_start(self, record: FileRecord, length: int) -> bytes:
        return b"".join(self.data(record, length))

    def data(self, record: FileRecord, length: int) -> Iterator[bytes]:
        """The first `length` bytes of a file, in parts."""
        return self._data_of(record.content, length)

    def _data_of(self, attributes: list[Attribute], length: int) -> Iterator[bytes]:
        for attribute in attributes:
            if attribute.resident:
                yield attribute.value[:length]
                return
            for cluster, count in attribute.runs():
                start, size = cluster * self._cluster_size, min(count * self._cluster_size, length)
                yield from (
                    self._read(start + at, min(_PART, size - at)) for at in range(0, size, _PART)
                )
                length -= size

    def _place(self, number: int) -> int:
        """The byte at which a record begins."""
        offset = number * self._record_size
        # The first records lie together. Record 0 is the table itself: its runs, which say where
        # all others are, cannot be asked for before it is read. If they go on in other records (an
        # $MFT in hundreds of pieces), what lies there is refused as damaged.
        if number < 16:
            return self._start + offset
        for attribute in FileRecord(tuple(self._attributes_in(0))).content:
            for cluster, count in attribute.runs():
                if offset < count * self._cluster_size:
                    return cluster * self._cluster_size + offset
                offset -= count * self._cluster_size
        raise NtfsDamaged(f"there is no record {number}")

    def _nodes(self, folder: FileRecord) -> Iterator[bytes]:
        # The root of the index says how large the blocks of the rest are.
        block_size = 0
        for attribute in folder.of_kind(_INDEX_ROOT, _FOLDER_INDEX):
            block_size = int.from_bytes(attribute.value[8:12], "little")
            yield attribute.value[16:]
        for attribute in folder.of_kind(_INDEX_ALLOCATION, _FOLDER_INDEX):
            yield from (block[0x18:] for block in self._index_blocks(attribute, block_size))

    def _index_blocks(self, attribute: Attribute, block_size: int) -> Iterator[bytes]:
        if not _BLOCK <= block_size <= 65536:
            raise NtfsDamaged(f"index blocks of {block_size} bytes")
        for cluster, count in attribute.runs():
            raw = self._read(cluster * self._cluster_size, count * self._cluster_size)
            for at in range(0, len(raw) - block_size + 1, block_size):
                if raw.startswith(b"INDX", at):  # one that was never used is zeros
                    yield _fixed(raw[at : at + block_size], b"INDX")

    def _read(self, offset: int, length: int) -> bytes:
        if offset + length > self._device.size or offset < 0:
            raise NtfsDamaged(f"something lies at {offset}, outside of the file system")
        self._left -= length
        if self._left < 0:
            raise NtfsDamaged("it says to read the same again and again")
        return self._device.read(offset, length)


def _fixed(raw: bytes, magic: bytes) -> bytes:
    """A record with its fix-ups undone."""
    # The update sequence: the counter, then the two bytes that belong at the end of each 512.
    at, count = struct.unpack_from("<HH", raw, 4)
    if not raw.startswith(magic) or (count - 1) * _BLOCK != len(raw) or at + 2 * count > len(raw):
        raise NtfsDamaged(f"there is no {magic.decode()}")
    counter, fixed = raw[at : at + 2], bytearray(raw)
    for number in range(1, count):
        end = number * _BLOCK
        if fixed[end - 2 : end] != counter:
            raise NtfsDamaged(f"a {magic.decode()} was only half written")
        fixed[end - 2 : end] = raw[at + 2 * number : at + 2 * number + 2]
    return bytes(fixed)


def _attributes(record: bytes) -> Iterator[Attribute]:
    at = int.from_bytes(record[_ATTRIBUTES_AT : _ATTRIBUTES_AT + 2], "little")
    while at + _ATTRIBUTE.size <= len(record):
        kind, length, _ = _ATTRIBUTE.unpack_from(record, at)
        # 0x18 is the header of a resident attribute: nothing shorter is one.
        if kind == _END_OF_ATTRIBUTES or length < 0x18 or at + length > len(record):
            return
        yield Attribute(kind, record[at : at + length])
        at += length


def _listed_records(raw: bytes) -> Iterator[int]:
    """The numbers of the records that a list of attributes names."""
    at = 0
    while at + _LIST_ENTRY.size <= len(raw):
        _kind, length, record = _LIST_ENTRY.unpack_from(raw, at)
        if length < _LIST_ENTRY.size:
            raise NtfsDamaged("a list of attributes is damaged")
        yield record & _RECORD_NUMBER
        at += length


def _entries(node: bytes) -> Iterator[tuple[int, str]]:
    """(record number, name) of the files in a folder's index node; `node` begins at its header."""
    at, end = _INDEX_NODE.unpack_from(node)
    while at + _INDEX_ENTRY.size <= min(end, len(node)):
        file, length, _key, flags = _INDEX_ENTRY.unpack_from(node, at)
        if flags & _LAST_ENTRY or length < 0x10:
            return
        # The key is a $FILE_NAME attribute, 16 bytes into the entry: length of the name at 0x40,
        # name at 0x42.
        if at + 0x52 > len(node):
            raise NtfsDamaged("an entry of a folder ends too early")
        name_length = node[at + 0x50]
        yield (
            file & _RECORD_NUMBER,
            node[at + 0x52 : at + 0x52 + 2 * name_length].decode("utf-16-le", "replace"),
        )
        at += length
