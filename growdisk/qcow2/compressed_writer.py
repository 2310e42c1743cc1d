"""Writing compressed clusters: several share a host cluster, and each counts one reference.

    host cluster 7                     host cluster 8
    ├── A ──┼──── B ────┼── C (begins) ┼─ (ends) ─┼─ free ...      counts: 3, then 1

The free rest of the last host cluster is used as long as the last entry written into it still
stands in its L2 table: then the cluster cannot have been freed meanwhile. Data may span two
clusters only if one follows the other.
"""

from __future__ import annotations

from array import array
from functools import cached_property

from growdisk.fast_dataclass import dataclass
from growdisk.qcow2.compress import CompressedCluster, Compressor, compressor
from growdisk.qcow2.entries import CompressedRange
from growdisk.qcow2.mapping import Mapping
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.reader import Reader
from growdisk.qcow2.writer import Writer

_MAX_OFFSET = 1 << 56


@dataclass(frozen=True)
class _Last:
    """The compressed cluster written last: its guest offset, its entry, the first byte after it."""

    guest_offset: int
    entry: int
    end: int


class CompressedWriter:
    """Puts compressed clusters into one open image."""

    def __init__(
        self, metadata: Metadata, mapping: Mapping, reader: Reader, writer: Writer
    ) -> None:
        self._metadata, self._geometry = metadata, metadata.geometry
        self._mapping, self._reader, self._writer = mapping, reader, writer
        self.cluster_size = metadata.geometry.cluster_size
        self._last: _Last | None = None

    @cached_property
    def compress(self) -> Compressor:
        """By the image's compression type."""
        return compressor(self._metadata.header.compression_type)

    def compressed(self, offset: int, data: bytes) -> CompressedCluster:
        """One whole cluster, or the disk's last partial one, compressed here and now."""
        return CompressedCluster.of(offset, data, self.cluster_size, self.compress)

    def check(self, cluster: CompressedCluster) -> None:
        """Raise if the data are not a cluster, or the image cannot have compressed ones.

        Nothing has been written then.
        """
        if self._metadata.header.crypt_method:
            raise self._metadata.unsupported("an encrypted image has no compressed clusters")
        if self._metadata.data_file is not None:
            raise self._metadata.unsupported("an external data file has no compressed clusters")
        end = cluster.offset + len(cluster.data)
        is_whole = len(cluster.data) == self.cluster_size or end == self._metadata.header.size
        if cluster.offset % self.cluster_size or not is_whole:
            raise ValueError(
                f"{len(cluster.data)} bytes at {cluster.offset:#x} are neither a cluster nor the "
                "last one"
            )

    def write(self, cluster: CompressedCluster) -> None:
        """Replace what the guest has in this cluster.

        As a normal write where compression saves nothing.
        """
        if cluster.packed is None or not self._write_packed(cluster.offset, cluster.packed):
            self._writer.write(cluster.offset, memoryview(cluster.data))
        self._metadata.relieve()

    def _write_packed(self, guest_offset: int, packed: bytes) -> bool:
        """False if the file has grown too long for compressed entries."""
        bits = self._geometry.cluster_bits
        l1_index = guest_offset // self._geometry.l2_coverage
        table = self._metadata.writable_l2(l1_index)
        place = CompressedRange(self._place(len(packed)), len(packed))
        taken = [(cluster, 1) for cluster in place.clusters(bits)]
        # A compressed entry has 62 - (cluster_bits - 8) bits for the offset (docs/interop/qcow2,
        # "Compressed Clusters Descriptor"); QEMU takes none from 2^56 on.
        if place.offset + place.length > min(_MAX_OFFSET, 1 << 62 - (bits - 8)):
            self._metadata.allocator.release(taken)
            return False
        with self._metadata.allocator.taken_back(taken):
            self._metadata.file.write(place.offset, packed)
        entry = place.entry(bits)
        # The reader may still hold, decompressed, what was at this place before.
        self._reader.forget(entry)
        index, _ = self._geometry.entries_of(guest_offset, guest_offset + 1)
        self._writer.replace_entries(l1_index, table, index, array("Q", [entry]))
        self._last = _Last(guest_offset, entry, place.offset + place.length)
        return True

    def _place(self, length: int) -> int:
        """Where `length` bytes go, with the clusters there counted up once."""
        bits, refcounts = self._geometry.cluster_bits, self._metadata.refcounts
        end = self._free_from()
        # Without an open cluster `end` is 0, and so is the room.
        open_cluster, room = end >> bits, -end % self.cluster_size
        if length <= room:
            refcounts.add([(open_cluster, 1)], +1)
            return end
        cluster = self._metadata.allocator.allocate(1)
        # One follows the other: the data begin in the open cluster and end in the new one.
        if room and cluster == open_cluster + 1:
            refcounts.add([(open_cluster, 1)], +1)
            return end
        return cluster << bits

    def _free_from(self) -> int:
        """The first free byte of a host cluster that compressed data share; 0 if there is none."""
        last, coverage = self._last, self._geometry.l2_coverage
        # A snapshot that was applied since may have a shorter L1 table.
        if last is None or last.guest_offset // coverage >= len(self._metadata.l1):
            return 0
        # Overwritten or discarded since, the cluster may be free, or in other use.
        run = next(self._mapping.runs(last.guest_offset, last.guest_offset + 1))
        count = self._metadata.refcounts.get(last.end >> self._geometry.cluster_bits)
        if run.entry != last.entry or not 0 < count < self._geometry.refcount_max:
            return 0
        return last.end
