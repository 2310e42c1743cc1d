"""The label of an LVM2 physical volume (lvm2, lib/format_text/layout.h): in one of the first four sectors.

The UUID is 32 characters, not 16 bytes, and is shown in groups of 6-4-4-4-4-4-6.
"""

from __future__ import annotations

import struct

from growdisk.filesystems.content import Content

_LABEL = struct.Struct("<8sQII8s")  # "LABELONE", sector number, crc, offset of the pv_header, type
_PV_HEADER = struct.Struct("<32sQ")  # uuid, size of the device
_GROUPS = (6, 4, 4, 4, 4, 4, 6)


def read_lvm(head: bytes) -> Content | None:
    for sector in range(0, 4 * 512, 512):
        if len(head) < sector + 512:
            return None
        identifier, number, _crc, offset, kind = _LABEL.unpack_from(head, sector)
        if identifier == b"LABELONE" and kind == b"LVM2 001" and number * 512 == sector and offset <= 512 - 40:
            uuid, size = _PV_HEADER.unpack_from(head, sector + offset)
            return Content("LVM2_member", _grouped(uuid.decode("ascii", "replace")), size=size)
    return None


def _grouped(uuid: str) -> str:
    ends = [sum(_GROUPS[: i + 1]) for i in range(len(_GROUPS))]
    return "-".join(uuid[end - length : end] for length, end in zip(_GROUPS, ends, strict=True))
