"""The qcow2 header: parsed, validated and written back without losing what we do not know.

Version 2 has 72 bytes; what follows there are header extensions already, not the fields of version
3. Fields after the known ones and unknown extensions are kept verbatim, as the specification
demands of every writer. Of two extensions of one known type the last counts. What QEMU refuses is
refused here too: an image that only one of two programs opens should not be worked on. Follows
QEMU's docs/interop/qcow2 ("Header", "Header extensions") and qcow2_read_extensions().
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.errors import ImageUnsupported
from growdisk.fast_dataclass import dataclass, replace
from growdisk.qcow2.features import KNOWN_INCOMPATIBLE, Autoclear, parse_feature_names
from growdisk.qcow2.header_fields import (
    LUKS,
    MAGIC,
    V2_LENGTH,
    V3_LENGTH,
    HeaderValues,
    check_header,
    check_start,
    damaged,
)

# Where the fields lie that are rewritten alone: all in the first sector, so one write is atomic.
SIZE_AND_L1 = slice(24, 48)  # size u64, crypt_method u32, l1_size u32, l1_table_offset u64
REFTABLE = slice(48, 60)  # refcount_table_offset u64, refcount_table_clusters u32
SNAPSHOTS = slice(60, 72)  # nb_snapshots u32, snapshots_offset u64
FEATURES = slice(72, 96)  # incompatible, compatible, autoclear u64 (version 3 only)
REFCOUNT_ORDER = slice(96, 100)  # u32 (version 3 only)
_SECTOR = 512
# In this order: magic, version, backing file (offset, length), cluster bits, size, crypt method, L1
# table (entries, offset), refcount table (offset, clusters), snapshots (number, offset).
_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
# Features (incompatible, compatible, autoclear), refcount order, header length.
_V3 = struct.Struct(">QQQII")
_HEAD = struct.Struct(">II")  # type, length
_BITMAPS = struct.Struct(">IIQQ")  # number of bitmaps, reserved, directory size, directory offset
# QEMU's field for it has 16 bytes, with a NUL.
_MAX_FORMAT_NAME = 15
_MAX_BITMAPS, _MAX_DIRECTORY = 65535, 64 << 20


@dataclass(frozen=True)
class Extension:
    """A header extension: its type and its data without padding."""

    END = 0
    BACKING_FORMAT = 0xE2792ACA
    FEATURE_NAMES = 0x6803F857
    BITMAPS = 0x23852875
    CRYPTO = 0x0537BE77
    DATA_FILE = 0x44415441

    type: int
    data: bytes

    def to_bytes(self) -> bytes:
        return _HEAD.pack(self.type, len(self.data)) + self.data + bytes(-len(self.data) % 8)


_KNOWN = (
    Extension.BACKING_FORMAT,
    Extension.FEATURE_NAMES,
    Extension.BITMAPS,
    Extension.CRYPTO,
    Extension.DATA_FILE,
)

_TEXTS = (Extension.BACKING_FORMAT, Extension.DATA_FILE)


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
        area = prefix.ljust(end, b"\0")[header.header_length : end]
        extensions = _parse_extensions(area, header, path)
        # Only now: the extensions tell what unknown features are called.
        header = replace(header, extensions=extensions)
        _refuse_unknown(header, path)
        return replace(
            header,
            # as for QEMU, which checked its tables with the odd size
            size=header.size - header.size % _SECTOR,
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

    @property
    def luks_place(self) -> tuple[int, int]:
        """Offset and length of the LUKS header; zeros if there is none."""
        # Of 16 bytes, and of an image with LUKS: _crypto_problem() has seen to it.
        place = self.extension(Extension.CRYPTO) or bytes(16)
        return int.from_bytes(place[:8], "big"), int.from_bytes(place[8:], "big")

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

    def without(self, kind: int) -> tuple[Extension, ...]:
        """All extensions of other types."""
        return tuple(extension for extension in self.extensions if extension.type != kind)

    def fitting(self, room: int | None = None) -> Header:
        """The header without the names of features if these bytes, or a cluster, are too few.

        They are a courtesy; only clusters of 512 bytes are too small.
        """
        if len(self.to_bytes()) <= (self.cluster_size if room is None else room):
            return self
        return replace(self, extensions=self.without(Extension.FEATURE_NAMES))

    def _pack_fixed(self, backing_offset: int, backing_length: int) -> bytes:
        # From the cluster bits on they have the order that they have here (_parse_fixed).
        others = (getattr(self, name) for name in HeaderValues.__match_args__[1:10])
        fixed = _V2.pack(MAGIC, self.version, backing_offset, backing_length, *others)
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


def _refuse_unknown(header: Header, path: Path) -> None:
    unknown = header.incompatible & ~KNOWN_INCOMPATIBLE
    if not unknown:
        return
    names = parse_feature_names(header.extension(Extension.FEATURE_NAMES) or b"")
    bits = [bit for bit in range(64) if unknown >> bit & 1]
    listed = ", ".join(names.get((0, bit), f"bit {bit}") for bit in bits)
    raise ImageUnsupported(path, reason=f"it needs features that growdisk does not know: {listed}")


def _parse_extensions(area: bytes, header: HeaderValues, path: Path) -> tuple[Extension, ...]:
    """The extensions in `area`, from the header's end to the backing file's name or cluster's end.

    ImageDamaged for one that contradicts the format, or the header. Texts end before their first
    NUL, as in C.
    """
    found: list[Extension] = []
    offset = 0
    while offset < len(area):
        if offset + _HEAD.size > len(area):
            raise damaged(path, "its header extensions are not ended")
        kind, length = _HEAD.unpack_from(area, offset)
        offset += _HEAD.size
        # Also for END: QEMU compares the length before it looks at the type.
        if length > len(area) - offset:
            name = (
                "the end of its header extensions"
                if kind == Extension.END
                else f"header extension {kind:#010x}"
            )
            raise damaged(
                path, f"its header is corrupt: {name} is {length} bytes long and reaches out of it"
            )
        if kind == Extension.END:
            break
        data = area[offset : offset + length]
        problem = _problem(kind, data, header)
        if problem is not None:
            raise damaged(path, problem)
        if kind in _KNOWN:
            found = [other for other in found if other.type != kind]
        found.append(Extension(kind, data.split(b"\0")[0] if kind in _TEXTS else data))
        # The next extension begins at a multiple of 8. The padding is not counted in the length.
        offset += -(-length // 8) * 8
    return tuple(found)


def _problem(kind: int, data: bytes, header: HeaderValues) -> str | None:
    if kind == Extension.BACKING_FORMAT and len(data) > _MAX_FORMAT_NAME:
        return (
            f"the name of its backing file's format has {len(data)} bytes; {_MAX_FORMAT_NAME} "
            "are allowed"
        )
    if kind == Extension.CRYPTO:
        return _crypto_problem(data, header)
    return _bitmaps_problem(data, header) if kind == Extension.BITMAPS else None


def _crypto_problem(data: bytes, header: HeaderValues) -> str | None:
    # The data are the offset and the length of the LUKS header, a u64 each.
    if header.crypt_method != LUKS:
        return "it says where its key store lies, and is not encrypted with LUKS"
    if len(data) != 16 or int.from_bytes(data[:8], "big") % header.cluster_size:
        return "its key store does not start on a cluster of its own"
    return None


def _bitmaps_problem(data: bytes, header: HeaderValues) -> str | None:
    if len(data) != _BITMAPS.size:
        return f"its bitmaps extension has {len(data)} bytes instead of {_BITMAPS.size}"
    if not header.autoclear & Autoclear.BITMAPS:
        # written by a program that knows nothing of bitmaps: they are not looked at any more
        return None
    count, reserved, size, offset = _BITMAPS.unpack(data)
    if (
        reserved
        or not 0 < count <= _MAX_BITMAPS
        or offset % header.cluster_size
        or size > _MAX_DIRECTORY
    ):
        return "its bitmaps extension cannot be true"
    return None
