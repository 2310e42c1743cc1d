"""A new refcount structure after everything else, put in place by one write to the header.

Used if the old one cannot hold the counts: blocks missing, misplaced or shared, or entries too
narrow. The new table and its blocks count themselves; the old ones are not counted any more and so
become free by the same write.
"""

from __future__ import annotations

import struct
from contextlib import suppress

from growdisk.block.device import ResizableDevice
from growdisk.errors import ImageDamaged
from growdisk.fast_dataclass import replace
from growdisk.qcow2.check.checker import Analysis
from growdisk.qcow2.check.cluster_counts import ClusterCounts
from growdisk.qcow2.check.stored_refcounts import pack_counts
from growdisk.qcow2.header import REFTABLE_OFFSET

_MAX_TABLE_BYTES = 8 << 20
# where the refcount width ends in a version 3 header: in the same sector as the table's place
_WIDTH_END = 100


def needs_rebuild(analysis: Analysis) -> bool:
    """Whether a used cluster has no refcount block, or a block cannot be trusted."""
    if analysis.findings.rebuild is not None:
        return True
    stored, counted = analysis.stored, analysis.recount.counted
    used = _used_blocks(counted, analysis.recount.end_cluster, stored.per_block)
    return any(index >= len(stored.table) or not stored.table[index] for index in used)


def check_rebuild(analysis: Analysis) -> None:
    """Raise ImageDamaged, before anything is written, if the new table could become too large."""
    cluster_size = analysis.header.cluster_size
    per_block = analysis.stored.per_block
    end = analysis.end_of_use()
    blocks = len(_used_blocks(analysis.recount.counted, end, per_block))
    # The worst case: as many blocks as are in use, and the largest table there may be.
    end += blocks + _MAX_TABLE_BYTES // cluster_size
    if 8 * (end + end // per_block) // per_block > _MAX_TABLE_BYTES:
        raise _too_large(analysis)


def rebuild_refcounts(file: ResizableDevice, analysis: Analysis, order: int | None = None) -> None:
    """Write the structure, make it durable, switch the header to it.

    Before the switch nothing in use has changed. `order`: of the width that its entries shall have,
    if that is to change.
    """
    order = analysis.header.refcount_order if order is None else order
    cluster_size = analysis.header.cluster_size
    per_block = analysis.header.cluster_size * 8 >> order
    # not the file's end: that may be far behind, and the table ever so long
    start = analysis.end_of_use()
    counted = analysis.recount.rebuilt_without()
    blocks, table_clusters = _layout(analysis, counted, start, per_block)
    # The new structure counts itself; the old one is not in `counted` any more.
    counted.add_run(start, table_clusters + len(blocks))
    table = [0] * (table_clusters * cluster_size // 8)
    for place, index in enumerate(blocks, start + table_clusters):
        table[index] = place * cluster_size
    size = file.size
    try:
        file.resize(max((start + table_clusters + len(blocks)) * cluster_size, size))
        for index in blocks:
            file.write(table[index], pack_counts(counted.get(index * per_block, per_block), order))
        file.write(start * cluster_size, struct.pack(f">{len(table)}Q", *table))
        # All of it durable before the header names it.
        file.flush()
    except OSError:
        with suppress(OSError):  # a host that is full gets its room back
            file.resize(size)
        raise
    header = replace(
        analysis.header, reftable_offset=start * cluster_size, reftable_clusters=table_clusters
    )
    if order == header.refcount_order:
        file.write(REFTABLE_OFFSET, header.reftable_bytes())
    else:
        file.write(
            REFTABLE_OFFSET,
            # From the table's offset (byte 48) to the end of the width (100): within one sector.
            replace(header, refcount_order=order).to_bytes()[REFTABLE_OFFSET:_WIDTH_END],
        )
    file.flush()


def _layout(
    analysis: Analysis, counted: ClusterCounts, start: int, per_block: int
) -> tuple[list[int], int]:
    """(refcount blocks needed, clusters of the table) if placed at `start`, themselves included."""
    cluster_size = analysis.header.cluster_size
    used = set(_used_blocks(counted, start, per_block))
    # More blocks may take a longer table, which moves the blocks: until nothing changes.
    table_clusters, blocks = 1, sorted(used)
    while True:
        end = start + table_clusters + len(blocks)
        wanted = sorted(used | set(range(start // per_block, -(-end // per_block))))
        needed = -(-8 * (wanted[-1] + 1) // cluster_size)
        if (wanted, needed) == (blocks, table_clusters):
            break
        blocks, table_clusters = wanted, max(needed, table_clusters)
    if table_clusters * cluster_size > _MAX_TABLE_BYTES:
        raise _too_large(analysis)
    return blocks, table_clusters


def _too_large(analysis: Analysis) -> ImageDamaged:
    return ImageDamaged(
        analysis.path, format="qcow2", reason="its refcounts need a table of more than 8 MiB"
    )


def _used_blocks(counted: ClusterCounts, end: int, per_block: int) -> list[int]:
    """The indices of the blocks with a count."""
    found: set[int] = set()
    # Only what was counted is looked at: files may have holes of any length.
    for first, length in counted.segments():
        for index in range(first // per_block, -(-min(first + length, end) // per_block)):
            start = max(index * per_block, first)
            stop = min((index + 1) * per_block, first + length, end)
            if index not in found and any(counted.get(start, stop - start)):
                found.add(index)
    return sorted(found)
