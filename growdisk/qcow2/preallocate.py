"""Clusters for guest data that has not been written yet: mapped, counted, and reading as zeros.

A cluster that was in use before still holds old bytes, so every one is emptied before a table
points to it. In an encrypted image empty clusters would decrypt to noise: there the entries carry
the zero flag as well.
"""

from __future__ import annotations

from growdisk.block.device import ResizableDevice
from growdisk.block.raw import RawFile
from growdisk.qcow2.create_options import Preallocation
from growdisk.qcow2.entries import COPIED, ZERO
from growdisk.qcow2.mapping import Mapping
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.tables import progression
from growdisk.units import split_range

_CHUNK = 4 << 20


def preallocate(
    metadata: Metadata, mapping: Mapping, start: int, end: int, mode: Preallocation
) -> None:
    """Map all clusters of [start, end), which must be empty.

    OSError if the host is full; the caller flushes.
    """
    geometry, bits = metadata.geometry, metadata.geometry.cluster_bits
    # With ZERO a cluster has its place and reads as zeros, whatever it decrypts to.
    flags = COPIED | (ZERO if metadata.header.crypt_method else 0)
    for first, last in split_range(start, end, geometry.l2_coverage):
        l1_index = first // geometry.l2_coverage
        table = metadata.writable_l2(l1_index)
        index, count = geometry.entries_of(first, last)
        cluster = _empty_clusters(metadata, first >> bits, count, mode)
        entries = progression(cluster << bits | flags, count, geometry.cluster_size)
        mapping.put(table, index, entries)
        metadata.l2_changed(l1_index, table)


def _empty_clusters(metadata: Metadata, guest_cluster: int, count: int, mode: Preallocation) -> int:
    """The first of `count` zeroed clusters; in a data file their places are given."""
    bits, data_file = metadata.geometry.cluster_bits, metadata.data_file
    if data_file is not None:
        # Its last cluster may be cut short: a data file is as long as the disk.
        offset = guest_cluster << bits
        _empty(data_file, offset, min(count << bits, data_file.size - offset), mode)
        return guest_cluster
    cluster = metadata.allocator.allocate(count)
    with metadata.allocator.taken_back([(cluster, count)]):
        _empty(metadata.file, cluster << bits, count << bits, mode)
    return cluster


def _empty(file: ResizableDevice, offset: int, length: int, mode: Preallocation) -> None:
    """Make new clusters zeros, with as many host blocks as the mode asks for."""
    # `full` asks for written blocks. A device that cannot reserve gets the same for `falloc`.
    if mode == "full" or (mode == "falloc" and not isinstance(file, RawFile)):
        zeros = memoryview(bytes(min(length, _CHUNK)))
        for first, last in split_range(offset, offset + length, _CHUNK):
            file.write(first, zeros[: last - first])
        return
    file.write_zeros(offset, length)
    if mode == "falloc" and isinstance(file, RawFile):
        file.reserve(offset, length)
