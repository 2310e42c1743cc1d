"""Swap space (mkswap(8), kernel's union swap_header), and whether a system sleeps in it.

The signature stands in the last ten bytes of the first page; the page's size is that of the machine
that made it. A suspended system puts its own signature there, and takes it away when it wakes: then
the header is as it was.
"""

from __future__ import annotations

import struct
import uuid as uuids

from growdisk.errors import ToolFailed
from growdisk.filesystems.content import Content, SwapContent, dashed, text

_PAGE_SIZES = (4096, 8192, 16384, 32768, 65536)
LARGEST_PAGE = _PAGE_SIZES[-1]
_SIGNATURE_SIZE = 10
_SIGNATURES = (b"SWAPSPACE2", b"SWAP-SPACE")
# The kernel's own, and those of suspend tools in user space, as blkid knows them.
_SLEEPERS = (b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001")
_TUXONICE = b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c"
# version, last page, bad pages, uuid, label: in the byte order of the machine that made it
_HEADER, _BIG_ENDIAN = struct.Struct("<III16s16s"), struct.Struct(">III16s16s")
_HEADER_AT = 1024


def read_swap(head: bytes) -> Content | None:
    """`head` is the beginning of the device, at least the largest page."""
    # TuxOnIce leaves the signature at the end of the page as it is, so its own mark comes first.
    if head.startswith(_TUXONICE):
        return SwapContent("swap", hibernated="TuxOnIce")
    for page in _PAGE_SIZES:
        signature = head[page - _SIGNATURE_SIZE : page]
        sleeper = next((s for s in _SLEEPERS if signature.startswith(s)), b"")
        if signature in _SIGNATURES or sleeper:
            return _content(head, page, signature, sleeper.decode())
    return None


def _content(head: bytes, page: int, signature: bytes, hibernated: str) -> SwapContent | None:
    fields = _HEADER.unpack_from(head, _HEADER_AT)
    if fields[0] != 1:
        fields = _BIG_ENDIAN.unpack_from(head, _HEADER_AT)
    version, last_page, _bad_pages, uuid, label = fields
    if version != 1 or last_page == 0:
        # The old signature came without a header; a sleeper may have used the page for itself.
        is_swap = hibernated or signature != _SIGNATURES[0]
        return SwapContent("swap", hibernated=hibernated) if is_swap else None
    # The header counts from page 0, which is the header itself.
    size = (last_page + 1) * page
    return SwapContent(
        "swap", dashed(uuid), text(label), size, hibernated=hibernated, page_size=page
    )


_LABEL_SIZE = 16


def swap_header(size: int, uuid: str, label: str, page_size: int) -> bytes:
    """The first page of `size` bytes of swap, as mkswap(8) writes it; a new UUID if that is "".

    Raises ToolFailed if something does not fit.
    """
    name = label.encode()
    # mkswap's least.
    if size < 10 * page_size or len(name) > _LABEL_SIZE:
        reason = f"there is no swap of {size} bytes with label {label!r}"
        raise ToolFailed("making swap", 1, reason)
    identity = uuids.UUID(uuid) if uuid else uuids.uuid4()
    page = bytearray(page_size)
    last = min(size // page_size - 1, 0xFFFFFFFF)
    _HEADER.pack_into(page, _HEADER_AT, 1, last, 0, identity.bytes, name)
    page[-_SIGNATURE_SIZE:] = _SIGNATURES[0]
    return bytes(page)
