"""After a change that failed: go on with the file, and give back the refcount blocks added."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from growdisk.block.device import ResizableDevice
from growdisk.errors import ImageDamaged
from growdisk.fast_dataclass import replace
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.header import REFTABLE_OFFSET, Header, read_header
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.refcounts import Refcounts
from growdisk.qcow2.repair import repair


def reread(file: ResizableDevice, path: Path) -> tuple[Header, bool]:
    """(the header after the repair that the next program would begin with, if all is sound)."""
    # Errors in an image that does not call itself dirty are not of our making.
    is_dirty = read_header(file, path).has(Incompatible.DIRTY)
    try:
        is_sound = not repair(file, path, errors=is_dirty).has_errors
    except ImageDamaged:  # it was so before, or the next opening will tell
        is_sound = False
    return read_header(file, path), is_sound


def drop_empty_blocks(metadata: Metadata) -> None:
    """Give up refcount blocks that count nothing, durably. There must be nothing unwritten."""
    with metadata.giving_back():
        while metadata.drop_empty_blocks():
            pass  # one that counted only those is empty now


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
    freed += [
        (cluster, 1)
        for cluster in range(
            old.reftable_offset >> bits, (old.reftable_offset >> bits) + old.reftable_clusters
        )
    ]
    # The kept blocks count the new table. What it does not name goes with the switch.
    refcounts.add([(start, clusters)], +1)
    refcounts.leave_out(left)
    refcounts.shorten(entries)
    refcounts.write_table_copy(start << bits, entries)
    metadata.sync()
    header = replace(old, reftable_offset=start << bits, reftable_clusters=clusters)
    metadata.switch(header, REFTABLE_OFFSET, header.reftable_bytes())
    refcounts.table_moved(start << bits)
    # What only the blocks left out have counted has no count any more.
    metadata.release([run for run in freed if refcounts.get(run[0])])
    metadata.flush()
    metadata.sync()
    metadata.allocator.give_back_all()


def _blocks_worth_keeping(metadata: Metadata) -> set[int]:
    """Indices of the blocks that must stay: they count more than the table and other blocks."""
    refcounts, header, bits = metadata.refcounts, metadata.header, metadata.header.cluster_bits
    per_block, first = refcounts.geometry.refblock_entries, header.reftable_offset >> bits
    blocks = {index: offset >> bits for index, offset in enumerate(refcounts.table) if offset}
    structure = Counter(
        cluster // per_block
        for cluster in (*blocks.values(), *range(first, first + header.reftable_clusters))
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
