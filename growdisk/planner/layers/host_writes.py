"""What growing writes to unallocated places of the disk: a sparse image needs host space for it.

Measured with what the tools really write. It is a lower bound: what is refused for lack of space
could not have been done.
"""

from __future__ import annotations

from collections.abc import Iterable

from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.content import (
    BtrfsContent,
    Content,
    ExtContent,
    F2fsContent,
    NtfsContent,
    XfsContent,
)
from growdisk.filesystems.ext_growth import written_by_growth

_SEGMENT = 2 << 20  # of F2FS, each with a block of its own in the summary area
_BLOCK = 4096


@dataclass(frozen=True)
class HostWrites:
    """Writes to `places` far from each other, a cluster or more each, and `bytes` in long runs."""

    places: int = 0
    bytes: int = 0


NOTHING = HostWrites()


def sum_of_writes(parts: Iterable[HostWrites]) -> HostWrites:
    found = tuple(parts)
    return HostWrites(sum(part.places for part in found), sum(part.bytes for part in found))


def host_writes_of(content: Content | None, size: int) -> HostWrites:
    """By a file system that grows to `size` bytes."""
    growth = max(size - ((content.size if content else 0) or 0), 0)
    match content:
        case ExtContent():
            return HostWrites(*written_by_growth(content, size))
        case XfsContent():  # each allocation group begins with its headers and trees
            return HostWrites(places=growth // (content.ag_blocks * content.block_size))
        case NtfsContent():  # its bitmap
            return HostWrites(bytes=growth // content.cluster_size // 8)
        case F2fsContent():
            return HostWrites(bytes=size // _SEGMENT * _BLOCK)
        case BtrfsContent() | _:
            return NOTHING
