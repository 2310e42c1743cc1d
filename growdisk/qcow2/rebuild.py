"""Another refcount structure, put in place by one write to the header.

    rebuilt or wider   all references are counted again; the structure lies after everything else
    shorter            the table a failed growth has lengthened; the blocks stay where they are

The first if the old one cannot hold the counts: blocks missing, misplaced or shared, or entries too
narrow. The new table and its blocks count themselves; the old ones are not counted any more and so
become free by the same write. A crash leaves either structure whole.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from growdisk.block.device import ResizableDevice
from growdisk.errors import ImageDamaged, ImageUnsupported
from growdisk.fast_dataclass import replace
from growdisk.qcow2.check.checker import Analysis, analyse
from growdisk.qcow2.check.cluster_counts import ClusterCounts
from growdisk.qcow2.header import REFCOUNT_ORDER, REFTABLE, Header, read_header
from growdisk.qcow2.header_fields import MAX_REFTABLE_BYTES, damaged
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.refblock import RefblockCodec
from growdisk.qcow2.refcounts import Refcounts

_USUAL_ORDER, _MAX_ORDER = 4, 6  # 16 bits, 64 bits


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
    end += blocks + MAX_REFTABLE_BYTES // cluster_size
    if 8 * (end + end // per_block) // per_block > MAX_REFTABLE_BYTES:
        raise _too_large(analysis)


def rebuild_refcounts(file: ResizableDevice, analysis: Analysis, order: int | None = None) -> None:
    """Write the structure, make it durable, switch the header to it.

    Before the switch nothing in use has changed. `order`: of the width that its entries shall have,
    if that is to change.
    """
    order = analysis.header.refcount_order if order is None else order
    cluster_size = analysis.header.cluster_size
    per_block = analysis.header.cluster_size * 8 >> order
    # not the file's end: that may be far away, and the table ever so long
    start = analysis.end_of_use()
    counted = analysis.recount.rebuilt_without()
    blocks, table_clusters = _layout(analysis, counted, start, per_block)
    # The new structure counts itself; the old one is not in `counted` any more.
    counted.add_run(start, table_clusters + len(blocks))
    table = [0] * (table_clusters * cluster_size // 8)
    for place, index in enumerate(blocks, start + table_clusters):
        table[index] = place * cluster_size
    size, codec = file.size, RefblockCodec(1 << order)
    try:
        file.resize(max((start + table_clusters + len(blocks)) * cluster_size, size))
        for index in blocks:
            file.write(table[index], codec.pack(counted.get(index * per_block, per_block)))
        file.write(start * cluster_size, struct.pack(f">{len(table)}Q", *table))
        # All of it durable before the header names it.
        file.flush()
    except OSError:
        with suppress(OSError):  # a host that is full gets its room back
            file.resize(size)
        raise
    header = replace(
        analysis.header,
        reftable_offset=start * cluster_size,
        reftable_clusters=table_clusters,
        refcount_order=order,
    )
    # The width stands in the same sector, and version 2 has no other.
    same = order == analysis.header.refcount_order
    area = REFTABLE if same else slice(REFTABLE.start, REFCOUNT_ORDER.stop)
    file.write(area.start, header.to_bytes()[area])
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
    if table_clusters * cluster_size > MAX_REFTABLE_BYTES:
        raise _too_large(analysis)
    return blocks, table_clusters


def _too_large(analysis: Analysis) -> ImageDamaged:
    return damaged(analysis.path, "its refcounts need a table of more than 8 MiB")


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


def widen_refcounts(file: ResizableDevice, path: Path, begin: Callable[[], None]) -> Header:
    """Give the image in `file` wider refcounts, durably; there must be nothing unwritten.

    Returns the new header. `begin`: called before the first write, after the last refusal; what it
    changes is in the file when it returns. Raises ImageUnsupported or ImageDamaged, with nothing
    written, if that is impossible.
    """
    _sound(file, path)
    begin()
    # Once more: `begin` may have dropped bitmaps, and their clusters must not be counted again.
    analysis = _sound(file, path)
    rebuild_refcounts(file, analysis, max(analysis.header.refcount_order + 1, _USUAL_ORDER))
    return read_header(file, path)


def _sound(file: ResizableDevice, path: Path) -> Analysis:
    analysis = analyse(file, path)
    header = analysis.header
    if header.version < 3 or header.refcount_order >= _MAX_ORDER:
        raise ImageUnsupported(
            path, reason=f"its refcounts of {header.refcount_bits} bits cannot be widened"
        )
    if analysis.report().has_errors:
        raise damaged(path, analysis.findings.lines[0])
    return analysis


def shorten_table(metadata: Metadata, clusters: int) -> None:
    """Make a refcount table that has become too long as short as `clusters` again, durably.

    Only the blocks stay that count something else than the table and blocks. Nothing is done where
    that cannot be. The metadata must be fresh: nothing has been allocated.
    """
    refcounts, old = metadata.refcounts, metadata.header
    bits, entries = old.cluster_bits, clusters * old.cluster_size // 8
    kept = _blocks_worth_keeping(metadata)
    start = _first_free(refcounts, kept, clusters, old.reftable_offset >> bits)
    # No room before the present table, or a block that stays has no entry in the short one.
    if start is None or max(kept) >= entries:
        return
    left = [index for index, offset in enumerate(refcounts.table) if offset and index not in kept]
    freed = [(refcounts.table[index] >> bits, 1) for index in left]
    # The kept blocks count the new table. What it does not name goes with the switch.
    refcounts.add([(start, clusters)], +1)
    refcounts.leave_out(left)
    refcounts.shorten(entries)
    first, count = metadata.move_reftable((start, clusters))
    freed += [(cluster, 1) for cluster in range(first, first + count)]
    # What only the blocks left out have counted has no count any more.
    metadata.release([run for run in freed if refcounts.get(run[0])])
    metadata.flush()
    metadata.sync()
    metadata.allocator.give_back_all()


def _blocks_worth_keeping(metadata: Metadata) -> set[int]:
    """Indices of the blocks that must stay: they count more than the table and other blocks."""
    refcounts, bits = metadata.refcounts, metadata.header.cluster_bits
    per_block, (first, count) = refcounts.geometry.refblock_entries, metadata.header.reftable_run
    blocks = {index: offset >> bits for index, offset in enumerate(refcounts.table) if offset}
    structure = Counter(
        cluster // per_block for cluster in (*blocks.values(), *range(first, first + count))
    )
    kept = set()
    for index in blocks:
        block = refcounts.block(index)
        assert block is not None
        if len(block) - block.count(0) > structure[index]:
            kept.add(index)
    # A block is a cluster that a block counts: that one has to stay too, and so on.
    while needed := {blocks[index] // per_block for index in kept} - kept:
        kept |= needed
    return kept


def _first_free(refcounts: Refcounts, kept: set[int], count: int, end: int) -> int | None:
    """The first of `count` free clusters in a row, before `end`, that a kept block counts."""
    per_block = refcounts.geometry.refblock_entries
    for index in sorted(kept):
        for first, last in refcounts.free_in(index * per_block, per_block):
            if last - first >= count and first + count <= end:
                return first
    return None
