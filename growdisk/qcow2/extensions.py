"""Header extensions, parsed as QEMU does: their end, duplicates, and which are refused.

Of two extensions of one known type the last counts. What QEMU refuses is refused here too: an image
that only one of two programs opens should not be worked on. Unknown extensions are kept as they
are. Follows QEMU's docs/interop/qcow2 ("Header extensions") and qcow2_read_extensions().
"""

from __future__ import annotations

import struct

from growdisk.fast_dataclass import dataclass
from growdisk.qcow2.features import Autoclear
from growdisk.qcow2.header_values import LUKS, HeaderValues

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


class BadExtension(Exception):
    """An extension that contradicts the format, or the header that it belongs to."""


def parse_extensions(area: bytes, header: HeaderValues) -> tuple[Extension, ...]:
    """The extensions in `area`, from the header's end to the backing file's name or cluster's end.

    Raises BadExtension. Texts end before their first NUL, as in C.
    """
    found: list[Extension] = []
    offset = 0
    while offset < len(area):
        if offset + _HEAD.size > len(area):
            raise BadExtension("its header extensions are not ended")
        kind, length = _HEAD.unpack_from(area, offset)
        offset += _HEAD.size
        # Also for END: QEMU compares the length before it looks at the type.
        if length > len(area) - offset:
            name = (
                "the end of its header extensions"
                if kind == Extension.END
                else f"header extension {kind:#010x}"
            )
            raise BadExtension(
                f"its header is corrupt: {name} is {length} bytes long and reaches out of it"
            )
        if kind == Extension.END:
            break
        data = area[offset : offset + length]
        problem = _problem(kind, data, header)
        if problem is not None:
            raise BadExtension(problem)
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
        # written by a program that knows nothing of bitmaps: nobody looks at them any more
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
