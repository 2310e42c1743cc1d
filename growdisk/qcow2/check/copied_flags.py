"""The COPIED flags of the active disk against the refcounts: set exactly where the refcount is one.

Only the active L1 table counts; in a snapshot's table the flags mean nothing. The comparison is
with the refcounts as they stand in the file, as QEMU does it: a writer acts on these two alone.
"""

from __future__ import annotations

import struct
from collections import Counter

from growdisk.block.device import BlockDevice, read_padded
from growdisk.qcow2 import entries
from growdisk.qcow2.check.check_errors import CheckErrors
from growdisk.qcow2.check.cluster_counts import ClusterCounts
from growdisk.qcow2.check.l2_tables import FragmentedTable, L2Reader, RunFinder
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.header import Header


def check_copied_flags(
    file: BlockDevice, header: Header, l2: L2Reader, refcounts: ClusterCounts, findings: CheckErrors
) -> None:
    """Report every entry whose flag disagrees with the refcount of what it points to."""
    l1 = active_l1(file, header)
    # In a damaged image any number of L1 entries may name one table: it is looked at once.
    tables = Counter(entry & entries.OFFSET_MASK for entry in l1)
    for entry in l1:
        offset = entry & entries.OFFSET_MASK
        if not offset:
            continue
        if bool(entry & entries.COPIED) != (refcounts[offset >> header.cluster_bits] == 1):
            findings.corruption(f"L2 table at {offset:#x}: COPIED {_what_is_wrong(entry)}")
        times = tables.pop(offset, 0)
        if not times:
            continue
        # Extended tables are not kept by the reader: their bitmaps are taken out again here.
        found = l2.runs(_entries_in(l2.raw(offset), header)) if l2.extended else l2.read(offset)
        if isinstance(found, FragmentedTable):
            _check_fragmented(found, refcounts, header.cluster_bits, findings, times)
            continue
        for first, length in found:
            if wrong := _wrong_flags(header, refcounts, first, length):
                where = first & entries.OFFSET_MASK
                findings.corruption(
                    f"{wrong} clusters from {where:#x} on: COPIED {_what_is_wrong(first)}",
                    wrong * times,
                )


def _check_fragmented(
    found: FragmentedTable, refcounts: ClusterCounts, bits: int, findings: CheckErrors, times: int
) -> None:
    wanted = refcounts.ones_among(found.clusters, found.last)
    if wanted == found.copied:
        return
    for cluster, copied, is_one in zip(found.clusters, found.copied, wanted, strict=True):
        if copied != is_one:
            wrong = _what_is_wrong(entries.COPIED * copied)
            findings.corruption(f"1 clusters from {cluster << bits:#x} on: COPIED {wrong}", times)


def _what_is_wrong(entry: int) -> str:
    """A missing flag costs a copy, no more; one too many lets a writer change what others share."""
    return "is set and must not be" if entry & entries.COPIED else "is missing"


def active_l1(file: BlockDevice, header: Header) -> tuple[int, ...]:
    """The entries of the active L1 table."""
    return struct.unpack(
        f">{header.l1_size}Q", read_padded(file, header.l1_offset, header.l1_size * 8)
    )


def mended_l2_table(
    table: bytes, header: Header, refcounts: ClusterCounts, *, setting: bool
) -> bytes | None:
    """An L2 table with missing COPIED flags set (`setting`) or wrong ones cleared.

    None if there is nothing to change.
    """
    finder = RunFinder(header.cluster_size)
    # Most tables are right: the runs tell that without a look at each entry.
    runs = finder.runs(_entries_in(table, header))
    if not any(_wrong_flags(header, refcounts, first, length) for first, length in runs):
        return None
    mended = list(struct.unpack(f">{len(table) // 8}Q", table))
    for index in range(0, len(mended), 2 if header.has(Incompatible.EXTENDED_L2) else 1):
        entry = mended[index]
        # Only missing flags if they are set, only wrong ones if they are cleared.
        if bool(entry & entries.COPIED) != setting and _wrong_flags(header, refcounts, entry, 1):
            mended[index] = entry ^ entries.COPIED
    packed = struct.pack(f">{len(mended)}Q", *mended)
    return packed if packed != table else None


def _entries_in(table: bytes, header: Header) -> bytes:
    """An L2 table without subcluster bitmaps."""
    if not header.has(Incompatible.EXTENDED_L2):
        return table
    numbers = struct.unpack(f">{len(table) // 8}Q", table)[::2]
    return struct.pack(f">{len(numbers)}Q", *numbers)


def _wrong_flags(header: Header, refcounts: ClusterCounts, first: int, length: int) -> int:
    if first & entries.COMPRESSED:
        return 0
    if header.has(Incompatible.DATA_FILE):
        # Clusters in a data file have no counts and one owner: each must have the flag.
        allocated = first & (entries.OFFSET_MASK | entries.COPIED)
        return length if allocated and not first & entries.COPIED else 0
    offset = first & entries.OFFSET_MASK
    if not offset:
        return 0
    # With the flag, all but those with a count of 1 are wrong; without it, just those.
    ones = refcounts.ones(offset >> header.cluster_bits, length)
    return length - ones if first & entries.COPIED else ones
