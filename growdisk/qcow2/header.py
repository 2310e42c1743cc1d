"""The qcow2 header: parsed, validated and written back without losing what we do not know.

Version 2 has 72 bytes; what follows there are header extensions already, not the fields of version
3. Fields after the known ones and unknown extensions are kept verbatim, as the specification
demands of every writer. Follows QEMU's docs/interop/qcow2 ("Header", "Header extensions").
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.errors import ImageUnsupported
from growdisk.fast_dataclass import dataclass, replace
from growdisk.qcow2.extensions import BadExtension, Extension, parse_extensions
from growdisk.qcow2.features import KNOWN_INCOMPATIBLE, parse_feature_names
from growdisk.qcow2.header_rules import check_header, check_start, damaged
from growdisk.qcow2.header_values import MAGIC, V2_LENGTH, V3_LENGTH, HeaderValues

# Byte offsets of the fields that are rewritten alone: each group lies in the first sector, so one
# write is atomic.
SIZE_AND_L1_OFFSET = 24  # size u64, crypt_method u32, l1_size u32, l1_table_offset u64
REFTABLE_OFFSET = 48  # refcount_table_offset u64, refcount_table_clusters u32
SNAPSHOTS_OFFSET = 60  # nb_snapshots u32, snapshots_offset u64
FEATURES_OFFSET = 72  # incompatible, compatible, autoclear u64

_SECTOR = 512
# In this order: magic, version, backing file (offset, length), cluster bits, size, crypt method, L1
# table (entries, offset), refcount table (offset, clusters), snapshots (number, offset).
_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
# Features (incompatible, compatible, autoclear), refcount order, header length.
_V3 = struct.Struct(">QQQII")


@dataclass(frozen=True)
class Header(HeaderValues):
    """The fixed fields, the backing file's name and the extensions."""

    backing_file: str | None = None
    extensions: tuple[Extension, ...] = ()

    @classmethod
    def parse(cls, prefix: bytes, path: Path, file_size: int) -> Header:
        """The header at the start of a file of `file_size` bytes.

        `prefix`: the first cluster, or all there is. Raises ImageDamaged for what contradicts the
        format, ImageUnsupported for unknown incompatible features.
        """
        check_start(prefix, path)
        header, backing = _parse_fixed(prefix)
        check_header(header, backing, path, file_size)
        # The length is one cluster at most by now, but the file may end before.
        if header.header_length > len(prefix):
            raise damaged(path, "its header is cut off")
        # As for QEMU, the extensions end where the backing file's name begins. A file shorter than
        # that reads as zeros, and zeros are the END extension.
        end = backing[0] or header.cluster_size
        try:
            extensions = parse_extensions(
                prefix.ljust(end, b"\0")[header.header_length : end], header
            )
        except BadExtension as error:
            raise damaged(path, str(error)) from error
        # Only now: the extensions tell what unknown features are called.
        _refuse_unknown(header, extensions, path)
        return replace(
            header,
            # as for QEMU, which checked its tables with the odd size
            size=header.size - header.size % _SECTOR,
            extensions=extensions,
            late_fields=prefix[V3_LENGTH : header.header_length] if header.version >= 3 else b"",
            backing_file=_backing_name(prefix, backing, path),
        )

    @property
    def backing_format(self) -> str | None:
        """None, too, if it is an empty text: then it is probed."""
        data = self.extension(Extension.BACKING_FORMAT)
        return os.fsdecode(data) if data else None

    @property
    def data_file(self) -> str | None:
        """The name of the external data file; it may stand there without being used."""
        data = self.extension(Extension.DATA_FILE)
        return None if data is None else os.fsdecode(data)

    def extension(self, kind: int) -> bytes | None:
        """The data of the extension of this type, or None."""
        return next(
            (extension.data for extension in self.extensions if extension.type == kind), None
        )

    def to_bytes(self) -> bytes:
        """The header as it stands in the file, up to the end of the backing file's name."""
        body = b"".join(
            extension.to_bytes() for extension in (*self.extensions, Extension(Extension.END, b""))
        )
        name = os.fsencode(self.backing_file or "")
        backing_offset = self.header_length + len(body) if self.backing_file is not None else 0
        return self._pack_fixed(backing_offset, len(name)) + body + name

    def fitting(self) -> Header:
        """The header without the names of features if a cluster has no room for them.

        They are a courtesy; only clusters of 512 bytes are too small.
        """
        if len(self.to_bytes()) <= self.cluster_size:
            return self
        needed = tuple(
            extension for extension in self.extensions if extension.type != Extension.FEATURE_NAMES
        )
        return replace(self, extensions=needed)

    def size_and_l1_bytes(self) -> bytes:
        """The bytes at SIZE_AND_L1_OFFSET, which switch size and L1 table together in one write."""
        return struct.pack(">QIIQ", self.size, self.crypt_method, self.l1_size, self.l1_offset)

    def reftable_bytes(self) -> bytes:
        """What stands at REFTABLE_OFFSET."""
        return struct.pack(">QI", self.reftable_offset, self.reftable_clusters)

    def snapshots_bytes(self) -> bytes:
        """What stands at SNAPSHOTS_OFFSET."""
        return struct.pack(">IQ", self.snapshot_count, self.snapshots_offset)

    def features_bytes(self) -> bytes:
        """What stands at FEATURES_OFFSET (version 3 only)."""
        return struct.pack(">QQQ", self.incompatible, self.compatible, self.autoclear)

    def _pack_fixed(self, backing_offset: int, backing_length: int) -> bytes:
        fixed = _V2.pack(
            MAGIC,
            self.version,
            backing_offset,
            backing_length,
            self.cluster_bits,
            self.size,
            self.crypt_method,
            self.l1_size,
            self.l1_offset,
            self.reftable_offset,
            self.reftable_clusters,
            self.snapshot_count,
            self.snapshots_offset,
        )
        if self.version == 2:
            return fixed
        features = (self.incompatible, self.compatible, self.autoclear)
        return (
            fixed + _V3.pack(*features, self.refcount_order, self.header_length) + self.late_fields
        )


def read_header(file: BlockDevice, path: Path) -> Header:
    """Read and validate the header of an image file."""
    prefix = file.read(0, min(file.size, 4096))
    cluster_bits = int.from_bytes(prefix[20:24], "big")
    # An impossible cluster size must not decide how much is read. Header.parse() refuses it.
    if 9 <= cluster_bits <= 21 and 1 << cluster_bits > len(prefix):
        prefix = file.read(0, min(file.size, 1 << cluster_bits))
    return Header.parse(prefix, path, file.size)


def _parse_fixed(prefix: bytes) -> tuple[Header, tuple[int, int]]:
    """The fixed fields, and (offset, length) of the backing file's name."""
    _, version, backing_offset, backing_length, *others = _V2.unpack_from(prefix)
    header = Header(version, *others)
    if version >= 3:
        incompatible, compatible, autoclear, order, length = _V3.unpack_from(prefix, V2_LENGTH)
        header = replace(
            header,
            incompatible=incompatible,
            compatible=compatible,
            autoclear=autoclear,
            refcount_order=order,
            header_length=length,
            # The compression type is checked before the header's length is: take what there is.
            late_fields=prefix[V3_LENGTH : min(length, len(prefix))],
        )
    return header, (backing_offset, backing_length)


def _backing_name(prefix: bytes, backing: tuple[int, int], path: Path) -> str | None:
    offset, length = backing
    if offset == 0 or length == 0:
        return None
    if offset + length > len(prefix):
        raise damaged(path, "the name of its backing file is cut off")
    name = prefix[offset : offset + length].split(b"\0")[0]  # as a text in C
    return os.fsdecode(name) or None


def _refuse_unknown(header: Header, extensions: tuple[Extension, ...], path: Path) -> None:
    unknown = header.incompatible & ~KNOWN_INCOMPATIBLE
    if not unknown:
        return
    table = next(
        (extension.data for extension in extensions if extension.type == Extension.FEATURE_NAMES),
        b"",
    )
    names = parse_feature_names(table)
    bits = [bit for bit in range(64) if unknown >> bit & 1]
    listed = ", ".join(names.get((0, bit), f"bit {bit}") for bit in bits)
    raise ImageUnsupported(path, reason=f"it needs features that growdisk does not know: {listed}")
