"""The bits of the 64-bit entries of L1, L2 and refcount tables.

COPIED does not mean "was copied": it says that the cluster has exactly one reference and may be
written in place. Follows QEMU's docs/interop/qcow2 ("Cluster mapping").
"""

from __future__ import annotations

from enum import Enum

from growdisk.fast_dataclass import dataclass

# An L2 entry; in L1 entries the bits 62 and 0 are reserved too.
#   63      62          61..56    55..9        8..1      0
#   COPIED  COMPRESSED  reserved  host offset  reserved  ZERO
# In a compressed entry, all below bit 62 are offset and length (CompressedRange).
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
        # 64 KiB clusters: 54 bits of offset, and 8 of sectors, which count up to two clusters.
        offset_bits = 62 - (cluster_bits - 8)
        offset = raw & ((1 << offset_bits) - 1)
        sectors = (raw >> offset_bits & ((1 << (62 - offset_bits)) - 1)) + 1
        # The offset may be any byte. The sectors count from the one that this byte lies in.
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
