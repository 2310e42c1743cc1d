"""The fixed fields of a qcow2 header: what its rules and its extensions are judged by."""

from __future__ import annotations

from growdisk.fast_dataclass import dataclass
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.geometry import Geometry

MAGIC = b"QFI\xfb"
V2_LENGTH, V3_LENGTH, CURRENT_LENGTH = 72, 104, 112

LEGACY_AES, LUKS = 1, 2  # crypt_method


@dataclass(frozen=True)
class HeaderValues:
    """All fixed fields; sizes and offsets in bytes, `l1_size` in entries."""

    version: int
    cluster_bits: int
    size: int
    crypt_method: int
    l1_size: int
    l1_offset: int
    reftable_offset: int
    reftable_clusters: int
    snapshot_count: int
    snapshots_offset: int
    incompatible: int = 0
    compatible: int = 0
    autoclear: int = 0
    refcount_order: int = 4
    header_length: int = V2_LENGTH
    late_fields: bytes = b""  # bytes 104..header_length, the compression type first

    @property
    def cluster_size(self) -> int:
        return 1 << self.cluster_bits

    @property
    def refcount_bits(self) -> int:
        return 1 << self.refcount_order

    @property
    def geometry(self) -> Geometry:
        return Geometry(self.cluster_bits, self.refcount_order, self.has(Incompatible.EXTENDED_L2))

    @property
    def compression_type(self) -> int:
        """0 deflate, 1 zstd."""
        return self.late_fields[0] if self.late_fields else 0

    def has(self, bit: int) -> bool:
        """Whether an incompatible feature bit (features.Incompatible) is set."""
        return bool(self.incompatible & bit)
