"""How much of the host's room a plan takes at the least: it is refused if that cannot fit.

    image     clusters for what is written to new places, L2 tables for them, a longer L1 table and
              more counts
    snapshots copies of the L1 table and of what is written over, for each step; or overlays, which
              are then copied; for a run that is kept as much again, which says what was before
    moved     partitions that are copied to the end of the disk

Pure: all of it is known before the first write. What growing writes to places that a sparse image
has not allocated was measured with what the tools really write. All are lower bounds: what is
refused for lack of space could not have been done.
"""

from __future__ import annotations

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
from growdisk.planner.goal import SnapshotMode
from growdisk.units import align_up

_SEGMENT = 2 << 20  # of F2FS, each with a block of its own in the summary area
_BLOCK = 4096  # of F2FS, and of most host file systems


@dataclass(frozen=True)
class HostWrites:
    """Writes to `places` far from each other, a cluster or more each, and `bytes` in long runs."""

    places: int = 0
    bytes: int = 0

    def __add__(self, other: HostWrites) -> HostWrites:
        return HostWrites(self.places + other.places, self.bytes + other.bytes)


NOTHING = HostWrites()


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


_OVERLAY_CLUSTER = 64 << 10
# header, refcount table and block, L1: most of their clusters are holes
_EMPTY_OVERLAY = 4 * _BLOCK


@dataclass(frozen=True)
class GrowingImage:
    """What decides how one image of the run grows. Sizes in bytes; `cluster_size` None: raw."""

    cluster_size: int | None
    old_size: int
    new_size: int
    snapshots: SnapshotMode
    steps: int
    host_writes: HostWrites
    moved: int = 0
    preallocated: bool = False
    keep: bool = False


def needed(image: GrowingImage) -> int:
    """Bytes of the host's file system that are taken at the peak of a run."""
    # Preallocation takes all of the new space: what is written there needs no more.
    if image.preallocated:
        return image.new_size - image.old_size + _overlays(image)
    if image.snapshots == "overlay":
        return _overlays(image) + _data(image, image.cluster_size or _OVERLAY_CLUSTER)
    if image.snapshots == "internal" and image.cluster_size:
        # Each snapshot has a copy of the L1 table, and the image its own.
        copies = _l1(image.new_size, image.cluster_size) * (image.steps + 1)
        return _data(image, image.cluster_size) + copies
    # --snapshots none: what is written to new places, and nothing else.
    return _data(image, image.cluster_size or _BLOCK)


def needed_in_file(image: GrowingImage, length: int) -> int:
    """Bytes that the image's own file, `length` now, will have at the least."""
    # A raw file becomes as long as the disk, whatever of it has blocks.
    if image.cluster_size is None:
        return image.new_size
    return length + _data(image, image.cluster_size)


def _overlays(image: GrowingImage) -> int:
    if image.snapshots != "overlay":
        return 0
    overlays = (
        image.steps * _EMPTY_OVERLAY
        + _data(image, _OVERLAY_CLUSTER)
        + _tables(image, _OVERLAY_CLUSTER)
    )
    # A kept run has undo files as large as the overlays.
    return 2 * overlays if image.keep else overlays


def _data(image: GrowingImage, cluster_size: int) -> int:
    """What is written to new places; in a qcow2 image with the L2 tables that say where it lies."""
    data = image.host_writes.places * cluster_size + image.host_writes.bytes + image.moved
    return data + (_tables(image, cluster_size) if image.cluster_size else 0)


def _tables(image: GrowingImage, cluster_size: int) -> int:
    """Bytes of the L2 tables for what is new."""
    # An L2 table is one cluster of entries of 8 bytes, each for one cluster.
    coverage = cluster_size // 8 * cluster_size
    # Far from each other each place needs a table of its own, but not more than there are.
    scattered = min(image.host_writes.places, -(-(image.new_size - image.old_size) // coverage))
    return (scattered + (image.host_writes.bytes + image.moved) // coverage) * cluster_size


def _l1(size: int, cluster_size: int) -> int:
    """Bytes of the clusters of an L1 table."""
    entries = -(-size // (cluster_size // 8 * cluster_size))
    return align_up(8 * entries, cluster_size)
