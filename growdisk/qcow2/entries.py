"""The 64-bit entries of L1, L2 and refcount tables as values that name their bits.

COPIED does not mean "was copied": it says that the cluster has exactly one reference and may be
written in place. Follows QEMU's docs/interop/qcow2 ("Cluster mapping"). Hot loops use the masks
below directly on tables of integers.
"""

from __future__ import annotations

from enum import Enum

from growdisk.fast_dataclass import dataclass

COPIED = 1 << 63
COMPRESSED = 1 << 62
ZERO = 1 << 0
OFFSET_MASK = 0x00FFFFFFFFFFFE00
L1_RESERVED = 0x7F000000000001FF
L2_RESERVED = 0x3F000000000001FE
L2_RESERVED_V2 = 0x3F000000000001FF  # version 2 has no zero flag
REFTABLE_RESERVED = 0x1FF
SUBCLUSTERS = 32  # of a cluster with an extended entry
ALL_SUBCLUSTERS = (1 << SUBCLUSTERS) - 1


class L2Kind(Enum):
    """What an L2 entry makes of its guest cluster."""

    UNALLOCATED = "unallocated"  # the backing file decides, or zeros
    NORMAL = "normal"
    ZERO_PLAIN = "zero"
    ZERO_ALLOCATED = "zero-allocated"  # reads as zeros, but keeps its host cluster
    COMPRESSED = "compressed"


@dataclass(frozen=True)
class L1Entry:
    raw: int

    @property
    def l2_offset(self) -> int:
        """Host offset of the L2 table; 0 if there is none."""
        return self.raw & OFFSET_MASK

    @property
    def is_copied(self) -> bool:
        return bool(self.raw & COPIED)

    @property
    def has_reserved_bits(self) -> bool:
        return bool(self.raw & L1_RESERVED)


@dataclass(frozen=True)
class ReftableEntry:
    raw: int

    @property
    def block_offset(self) -> int:
        """Host offset of the refcount block; 0 if all its clusters are free."""
        return self.raw & ~REFTABLE_RESERVED

    @property
    def has_reserved_bits(self) -> bool:
        return bool(self.raw & REFTABLE_RESERVED)


@dataclass(frozen=True)
class L2Entry:
    """A standard L2 entry, or the first half of an extended one, whose second half is `bitmap`."""

    raw: int
    # extended: low 32 bits "allocated", high 32 bits "zero", per subcluster
    bitmap: int | None = None

    @property
    def kind(self) -> L2Kind:
        if self.raw & COMPRESSED:
            return L2Kind.COMPRESSED
        if self.bitmap is None and self.raw & ZERO:
            return L2Kind.ZERO_ALLOCATED if self.host_offset else L2Kind.ZERO_PLAIN
        if self.bitmap is not None and self.host_offset == 0 and self.bitmap >> 32:
            return L2Kind.ZERO_PLAIN
        return L2Kind.NORMAL if self.host_offset else L2Kind.UNALLOCATED

    @property
    def is_extended(self) -> bool:
        return self.bitmap is not None

    @property
    def is_copied(self) -> bool:
        return bool(self.raw & COPIED)

    @property
    def host_offset(self) -> int:
        """Of the host cluster; 0 for none. Not for compressed entries."""
        return self.raw & OFFSET_MASK

    def reserved_bits(self, version: int) -> int:
        """The bits that must be zero and are not."""
        if self.raw & COMPRESSED:
            return self.raw & COPIED
        mask = L2_RESERVED if version >= 3 and self.bitmap is None else L2_RESERVED_V2
        return self.raw & mask

    def compressed_range(self, cluster_bits: int) -> CompressedRange:
        return CompressedRange.of(self.raw, cluster_bits)


@dataclass(frozen=True)
class CompressedRange:
    """Where compressed data lie: `length` bytes from `offset`.

    As decoded it ends at a 512-byte sector, perhaps beyond the end of the file.
    """

    offset: int
    length: int

    @classmethod
    def of(cls, raw: int, cluster_bits: int) -> CompressedRange:
        """Decode a compressed L2 entry: an offset, and above it the number of sectors minus 1.

        The number has as many bits as a cluster needs.
        """
        offset_bits = 62 - (cluster_bits - 8)
        offset = raw & ((1 << offset_bits) - 1)
        sectors = (raw >> offset_bits & ((1 << (62 - offset_bits)) - 1)) + 1
        return cls(offset, sectors * 512 - offset % 512)

    def entry(self, cluster_bits: int) -> int:
        """The L2 entry for data of this length at this offset, any byte of a file."""
        sectors = (self.offset + self.length - 1 >> 9) - (self.offset >> 9)
        return COMPRESSED | sectors << 62 - (cluster_bits - 8) | self.offset

    def clusters(self, cluster_bits: int) -> range:
        """Indices of the host clusters that hold the data; each counts one reference."""
        return range(
            self.offset >> cluster_bits, (self.offset + self.length - 1 >> cluster_bits) + 1
        )
