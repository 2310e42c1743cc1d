"""The arithmetic of an image: how cluster size and refcount width divide offsets. No I/O."""

from __future__ import annotations

from growdisk.fast_dataclass import dataclass


@dataclass(frozen=True)
class Geometry:
    """Derived from three header fields; all counts are entries unless the name says bytes."""

    cluster_bits: int
    refcount_order: int
    extended_l2: bool = False

    def __post_init__(self) -> None:
        # Plain attributes, because these are read for every guest access.
        set_field = object.__setattr__
        set_field(self, "cluster_size", 1 << self.cluster_bits)
        set_field(self, "l2_entry_size", 16 if self.extended_l2 else 8)
        set_field(self, "l2_entries", self.cluster_size // self.l2_entry_size)
        set_field(self, "l2_coverage", self.cluster_size * self.l2_entries)
        set_field(self, "refcount_bits", 1 << self.refcount_order)
        set_field(self, "refcount_max", (1 << self.refcount_bits) - 1)
        set_field(self, "refblock_entries", self.cluster_size * 8 // self.refcount_bits)

    cluster_size: int = 0
    l2_entry_size: int = 0
    l2_entries: int = 0  # of one L2 table
    l2_coverage: int = 0  # guest bytes behind one L1 entry
    refcount_bits: int = 0
    refcount_max: int = 0
    refblock_entries: int = 0  # clusters that one refcount block counts

    def clusters(self, size: int) -> int:
        """Clusters needed for `size` bytes."""
        # -(-a // b) divides and rounds up, in all of this package.
        return -(-size // self.cluster_size)

    def l1_entries(self, size: int) -> int:
        """L1 entries needed for a disk of `size` bytes; VM state begins after them."""
        return -(-size // self.l2_coverage)
