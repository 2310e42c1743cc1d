"""Making a new, empty image: header, refcount table, refcount blocks and L1 table, one behind the other.

All of it is written before anything depends on it and synced with its directory, so the image is there whole or the
file can be removed.
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from pathlib import Path

from growdisk.block.raw import RawFile
from growdisk.durable import sync_directory
from growdisk.errors import ImageUnsupported
from growdisk.qcow2.features import feature_name_table
from growdisk.qcow2.geometry import Geometry
from growdisk.qcow2.header import CURRENT_LENGTH, V2_LENGTH, V3_LENGTH, Extension, Header
from growdisk.qcow2.header_rules import MAX_BACKING_NAME, MAX_L1_BYTES, MAX_SIZE
from growdisk.qcow2.refblock import RefblockCodec
from growdisk.qcow2.tables import dump_table, progression


def create(
    path: Path,
    size: int,
    *,
    cluster_bits: int = 16,
    version: int = 3,
    refcount_order: int = 4,
    backing: Path | None = None,
    backing_format: str | None = None,
) -> None:
    """Create an empty image of `size` bytes. FileExistsError if `path` exists; durable when it returns.

    The name of the backing file is stored as given; a relative one counts from the image's directory.
    """
    header = _plan(path, size, cluster_bits, version, refcount_order, backing, backing_format)
    file = RawFile.create(path)
    try:
        file.resize(_clusters(header) * header.cluster_size)
        for offset, content in _parts(header):
            file.write(offset, content)
        file.flush()
        sync_directory(path.absolute().parent)
    except BaseException:
        path.unlink()
        raise
    finally:
        file.close()


def _plan(
    path: Path, size: int, cluster_bits: int, version: int, refcount_order: int,
    backing: Path | None, backing_format: str | None,
) -> Header:  # fmt: skip
    """The header of the image to be. ImageUnsupported for what the format does not allow."""
    problem = _problem(size, cluster_bits, version, refcount_order, backing)
    if problem is not None:
        raise ImageUnsupported(path, reason=problem, hint="choose other options; nothing was written")
    geometry = Geometry(cluster_bits, refcount_order)
    l1_size = max(geometry.l1_entries(size), 1)
    table_clusters, blocks = _refcount_area(geometry, 1 + geometry.clusters(8 * l1_size))
    header = Header(
        version=version,
        cluster_bits=cluster_bits,
        size=size,
        crypt_method=0,
        l1_size=l1_size,
        l1_offset=(1 + table_clusters + blocks) << cluster_bits,
        reftable_offset=1 << cluster_bits,
        reftable_clusters=table_clusters,
        snapshot_count=0,
        snapshots_offset=0,
        refcount_order=refcount_order,
        header_length=CURRENT_LENGTH if version == 3 else V2_LENGTH,
        late_fields=bytes(CURRENT_LENGTH - V3_LENGTH) if version == 3 else b"",
        backing_file=str(backing) if backing is not None else None,
        extensions=_extensions(version, backing_format),
    )
    if len(header.to_bytes()) > header.cluster_size:  # only in clusters of 512 bytes: the names are a courtesy
        header = replace(header, extensions=header.extensions[: 1 if backing_format else 0])
    if len(header.to_bytes()) > header.cluster_size:
        raise ImageUnsupported(path, reason="the name of the backing file does not fit into one cluster")
    return header


def _problem(size: int, cluster_bits: int, version: int, refcount_order: int, backing: Path | None) -> str | None:
    if version not in (2, 3):
        return f"version {version} does not exist"
    if not 9 <= cluster_bits <= 21:
        return "clusters have 512 bytes to 2 MiB"
    if not 0 <= refcount_order <= 6 or (version == 2 and refcount_order != 4):
        return "refcounts have 1 to 64 bits, and 16 in version 2"
    if size % 512 or not 0 <= size <= MAX_SIZE:
        return f"{size} is not a size for a disk"
    if 8 * Geometry(cluster_bits, refcount_order).l1_entries(size) > MAX_L1_BYTES:
        return f"clusters of {1 << cluster_bits} bytes cannot address {size} bytes"
    if backing is not None and len(str(backing).encode("utf-8", "surrogateescape")) > MAX_BACKING_NAME:
        return f"the name of a backing file has at most {MAX_BACKING_NAME} bytes"
    return None


def _extensions(version: int, backing_format: str | None) -> tuple[Extension, ...]:
    named = (Extension(Extension.BACKING_FORMAT, backing_format.encode()),) if backing_format else ()
    names = (Extension(Extension.FEATURE_NAMES, feature_name_table()),) if version == 3 else ()
    return named + names


def _refcount_area(geometry: Geometry, others: int) -> tuple[int, int]:
    """Clusters of refcount table and refcount blocks that count themselves and `others`."""
    table_clusters, blocks = 1, 1
    while True:
        needed = -(-(others + table_clusters + blocks) // geometry.refblock_entries)
        wider = geometry.clusters(8 * needed)
        if (wider, needed) == (table_clusters, blocks):
            return table_clusters, blocks
        table_clusters, blocks = wider, needed


def _parts(header: Header) -> tuple[tuple[int, bytes], ...]:
    """What stands in the new file, as (offset, bytes); the L1 table behind it is empty."""
    geometry, cluster_size = header.geometry, header.cluster_size
    first_block, first_l1 = 1 + header.reftable_clusters, header.l1_offset // cluster_size
    table = progression(first_block * cluster_size, first_l1 - first_block, cluster_size)
    codec = RefblockCodec(geometry.refcount_bits)
    counts = array(codec.typecode, [1]) * _clusters(header)
    counts.extend([0] * ((first_l1 - first_block) * geometry.refblock_entries - len(counts)))
    return (
        (0, header.to_bytes()),
        (header.reftable_offset, dump_table(table)),
        (first_block * cluster_size, codec.dump(counts)),
    )


def _clusters(header: Header) -> int:
    """Of the whole new file."""
    geometry = header.geometry
    return header.l1_offset // header.cluster_size + geometry.clusters(8 * header.l1_size)
