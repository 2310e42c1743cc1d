"""Clusters for guest data that has not been written yet: mapped, counted, and reading as zeros.

A cluster that was in use before still holds old bytes, so every one is emptied before a table
points to it. In an encrypted image empty clusters would decrypt to noise: there the entries carry
the zero flag as well.
"""

from __future__ import annotations

from growdisk.block.raw import RawFile
from growdisk.qcow2.create_options import Preallocation
from growdisk.qcow2.entries import COPIED, ZERO
from growdisk.qcow2.mapping import Mapping
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.tables import progression
from growdisk.units import split_range

_CHUNK = 4 << 20


class Preallocator:
    """Fills empty parts of one image's L2 tables."""

    def __init__(self, metadata: Metadata, mapping: Mapping) -> None:
        self._mapping = mapping
        self._metadata, self._file = metadata, metadata.data_file or metadata.file
        self._geometry = metadata.geometry

    def fill(self, start: int, end: int, mode: Preallocation) -> None:
        """Map all clusters of [start, end), which must be empty.

        OSError if the host is full; the caller flushes.
        """
        for first, last in split_range(start, end, self._geometry.l2_coverage):
            self._fill_in_table(first, last, mode)

    def _fill_in_table(self, start: int, end: int, mode: Preallocation) -> None:
        bits, l1_index = self._geometry.cluster_bits, start // self._geometry.l2_coverage
        table = self._metadata.writable_l2(l1_index)
        index, count = self._geometry.entries_of(start, end)
        cluster = self._empty_clusters(start >> bits, count, mode)
        # With ZERO the cluster has its place and reads as zeros, whatever it decrypts to.
        flags = COPIED | (ZERO if self._metadata.header.crypt_method else 0)
        entries = progression(cluster << bits | flags, count, self._geometry.cluster_size)
        self._mapping.put(table, index, entries)
        self._metadata.l2_changed(l1_index, table)

    def _empty_clusters(self, guest_cluster: int, count: int, mode: Preallocation) -> int:
        """The first of `count` zeroed clusters; in a data file their places are given."""
        bits = self._geometry.cluster_bits
        if self._metadata.data_file is not None:
            # Its last cluster may be cut short: a data file is as long as the disk.
            offset = guest_cluster << bits
            self._empty(offset, min(count << bits, self._file.size - offset), mode)
            return guest_cluster
        cluster = self._metadata.allocator.allocate(count)
        with self._metadata.allocator.taken_back([(cluster, count)]):
            self._empty(cluster << bits, count << bits, mode)
        return cluster

    def _empty(self, offset: int, length: int, mode: Preallocation) -> None:
        """Make new clusters zeros, with as many host blocks as the mode asks for."""
        # `full` asks for written blocks. A device that cannot reserve gets the same for `falloc`.
        if mode == "full" or (mode == "falloc" and not isinstance(self._file, RawFile)):
            zeros = memoryview(bytes(min(length, _CHUNK)))
            for first, last in split_range(offset, offset + length, _CHUNK):
                self._file.write(first, zeros[: last - first])
            return
        self._file.write_zeros(offset, length)
        if mode == "falloc" and isinstance(self._file, RawFile):
            self._file.reserve(offset, length)
