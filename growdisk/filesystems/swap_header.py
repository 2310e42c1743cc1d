"""Makes the first page of swap space, as mkswap(8) of a machine with 4 KiB pages does (kernel: union swap_header)."""

from __future__ import annotations

import struct
import uuid as uuids

PAGE = 4096
_SIGNATURE = b"SWAPSPACE2"
_HEADER = struct.Struct("<III16s16s")  # version, last page, bad pages, uuid, label
_HEADER_AT = 1024
_LABEL_SIZE = 16


def swap_header(size: int, uuid: str | None, label: str | None) -> bytes:
    """For `size` bytes of swap; a new UUID where none is given. ValueError where something does not fit."""
    name = (label or "").encode()
    if size < 10 * PAGE or len(name) > _LABEL_SIZE:
        raise ValueError(f"no swap of {size} bytes with label {label!r}")
    identity = uuids.UUID(uuid) if uuid else uuids.uuid4()
    page = bytearray(PAGE)
    last = min(size // PAGE - 1, 0xFFFFFFFF)
    _HEADER.pack_into(page, _HEADER_AT, 1, last, 0, identity.bytes, name)
    page[-len(_SIGNATURE) :] = _SIGNATURE
    return bytes(page)
