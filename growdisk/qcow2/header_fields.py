"""The fixed fields of a qcow2 header: what they must satisfy, how they divide offsets.

The rules are stricter than QEMU's in one way: tables must lie inside the file, because QEMU reads
zeros beyond the end and so takes a cut-off table for an empty one.
"""

from __future__ import annotations

from pathlib import Path

from growdisk.errors import ImageDamaged, ImageUnsupported
from growdisk.fast_dataclass import dataclass
from growdisk.qcow2.features import Autoclear, Incompatible

MAGIC = b"QFI\xfb"
V2_LENGTH, V3_LENGTH, CURRENT_LENGTH = 72, 104, 112
LEGACY_AES, LUKS = 1, 2  # crypt_method
# QEMU's limits: it refuses an image beyond them.
MAX_L1_BYTES = 32 << 20
MAX_REFTABLE_BYTES = 8 << 20
MAX_SNAPSHOTS = 65536
MAX_BACKING_NAME = 1023
# The largest whole number of sectors that a signed 64-bit offset can express.
MAX_SIZE = (1 << 63) - 512


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
    def l1_run(self) -> tuple[int, int]:
        """The clusters of the active L1 table: first index, number."""
        return self.geometry.run(self.l1_offset, 8 * self.l1_size)

    @property
    def reftable_run(self) -> tuple[int, int]:
        """Those of the refcount table."""
        return self.reftable_offset >> self.cluster_bits, self.reftable_clusters

    @property
    def compression_type(self) -> int:
        """0 deflate, 1 zstd."""
        return self.late_fields[0] if self.late_fields else 0

    def has(self, bit: int) -> bool:
        """Whether an incompatible feature bit (features.Incompatible) is set."""
        return bool(self.incompatible & bit)


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
    l2_coverage: int = 0  # guest bytes mapped by one L1 entry
    refcount_bits: int = 0
    refcount_max: int = 0
    refblock_entries: int = 0  # clusters that one refcount block counts

    def clusters(self, size: int) -> int:
        """Clusters needed for `size` bytes."""
        # -(-a // b) divides and rounds up, in all of this package.
        return -(-size // self.cluster_size)

    def run(self, offset: int, length: int) -> tuple[int, int]:
        """The clusters of a table of `length` bytes: first index, number."""
        return offset >> self.cluster_bits, self.clusters(length)

    def entries_of(self, start: int, end: int) -> tuple[int, int]:
        """(index, number) of the L2 entries for guest bytes [start, end) within one table."""
        first, last = start >> self.cluster_bits, end - 1 >> self.cluster_bits
        return first & self.l2_entries - 1, last - first + 1

    def l1_entries(self, size: int) -> int:
        """L1 entries needed for a disk of `size` bytes; VM state begins after them."""
        return -(-size // self.l2_coverage)


def damaged(path: Path, reason: str) -> ImageDamaged:
    return ImageDamaged(path, format="qcow2", reason=reason)


def check_start(prefix: bytes, path: Path) -> None:
    """Magic, version, and enough bytes for the fixed fields of that version."""
    if prefix[:4] != MAGIC:
        hint = "if it has another format, leave -f qcow2 out"
        raise ImageDamaged(path, "qcow2", "it does not begin with the qcow2 magic", hint)
    if len(prefix) < V2_LENGTH:
        raise damaged(path, "its header is cut off")
    version = int.from_bytes(prefix[4:8], "big")
    if version not in (2, 3):
        raise ImageUnsupported(path, reason=f"it is qcow version {version}; growdisk knows 2 and 3")
    if version == 3 and len(prefix) < V3_LENGTH:
        raise damaged(path, "its header is cut off")


def check_header(
    header: HeaderValues, backing: tuple[int, int], path: Path, file_size: int
) -> None:
    """Refuse a header whose fields cannot all be true.

    `backing`: offset and length of the backing file's name. Where the refcount table lies is
    another question (refcount_table_problem): who only reads needs none.
    """
    problem = (
        _shape_problem(header)
        or _backing_problem(header, *backing)
        or _tables_problem(header, file_size)
    )
    if problem is not None:
        raise damaged(path, problem)


def refcount_table_problem(header: HeaderValues, file_size: int) -> str | None:
    """Why the refcount table cannot be where the header says, or None."""
    if header.reftable_clusters == 0:
        return "it has no refcount table"
    length = header.reftable_clusters * header.cluster_size
    return _table_problem(
        "refcount table", header, header.reftable_offset, length, MAX_REFTABLE_BYTES, file_size
    )


def _shape_problem(header: HeaderValues) -> str | None:
    if not 9 <= header.cluster_bits <= 21:
        return f"a cluster size of 2^{header.cluster_bits} bytes is outside 512 B to 2 MiB"
    if header.size > MAX_SIZE:
        return f"its virtual size {header.size} is impossible"
    if header.version >= 3 and not V3_LENGTH <= header.header_length <= header.cluster_size:
        return f"its header length {header.header_length} is outside 104 to one cluster"
    if header.refcount_order > 6:
        return f"a refcount width of 2^{header.refcount_order} bits is more than 64"
    # A subcluster is a 32nd of a cluster, and not smaller than a sector.
    if header.has(Incompatible.EXTENDED_L2) and header.cluster_bits < 14:
        return "extended L2 entries need clusters of 16 KiB or more"
    if header.crypt_method > 2:
        return f"encryption method {header.crypt_method} does not exist"
    if header.compression_type > 1:
        return f"compression type {header.compression_type} does not exist"
    # The bit keeps out programs that know deflate alone. If it were missing, they would inflate
    # zstd frames.
    if header.has(Incompatible.COMPRESSION_TYPE) != (header.compression_type != 0):
        return "its compression type and the feature bit for it contradict each other"
    if header.autoclear & Autoclear.RAW_DATA_FILE and not header.has(Incompatible.DATA_FILE):
        return "its external data file is said to be a raw image, and it has none"
    return None


def _backing_problem(header: HeaderValues, offset: int, length: int) -> str | None:
    if offset == 0:
        return None
    if length and header.autoclear & Autoclear.RAW_DATA_FILE:
        return "it has a backing file, which its raw data file knows nothing of"
    if length > MAX_BACKING_NAME:
        return (
            f"the name of its backing file is {length} bytes long; {MAX_BACKING_NAME} are allowed"
        )
    if offset < header.header_length or offset + length > header.cluster_size:
        return "the name of its backing file lies outside the first cluster"
    return None


def _tables_problem(header: HeaderValues, file_size: int) -> str | None:
    geometry = header.geometry
    if header.l1_size < geometry.l1_entries(header.size):
        return (
            f"its L1 table has {header.l1_size} entries; the virtual size needs "
            f"{geometry.l1_entries(header.size)}"
        )
    if header.snapshot_count > MAX_SNAPSHOTS:
        return f"it claims to have {header.snapshot_count} snapshots; {MAX_SNAPSHOTS} are allowed"
    # 40 bytes are what an entry has at least; QEMU's limit for the table is 64 MiB.
    snapshots = header.snapshots_offset, 40 * header.snapshot_count, 64 << 20
    return _table_problem(
        "L1 table", header, header.l1_offset, header.l1_size * 8, MAX_L1_BYTES, file_size
    ) or _table_problem("snapshot table", header, *snapshots, file_size)


def _table_problem(
    name: str, header: HeaderValues, offset: int, length: int, limit: int, file_size: int
) -> str | None:
    if length > limit:
        return f"its {name} has {length} bytes; {limit} are allowed"
    # Cluster 0 is the header's, so a table at 0 is none. QEMU's offsets are signed 64-bit numbers.
    if offset % header.cluster_size or offset + length >= 1 << 63 or (length and not offset):
        return f"its {name} at {offset:#x} does not start on a cluster of its own"
    # A disk of 0 bytes may have no L1 table, and an image without snapshots no snapshot table.
    if length == 0:
        return None
    if offset + length > file_size:
        return (
            f"its {name} at {offset:#x} lies outside the file ({file_size} bytes): the file is "
            "cut off"
        )
    return None
