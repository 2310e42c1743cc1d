"""Clusters allocated in the image but without data in the host file (holes).

They were preallocated and never written to, or were punched out. They read as zeros, and so does an
entry that names no cluster at all: a smaller image can do without them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

from growdisk.block.device import BlockDevice, ExtentKind
from growdisk.qcow2.entries import COMPRESSED, OFFSET_MASK, ZERO
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.header import Header
from growdisk.qcow2.refcounts import Run
from growdisk.units import align_down, align_up

_MAX_CLUSTERS = 1 << 25  # 32 MiB of marks
_FRAGMENTED = 64  # runs in one table; from there on each entry is looked at


class UnbackedClusters:
    """The unbacked clusters of one file, one mark each.

    `gone` is the entry of a cluster that reads as zeros.
    """

    def __init__(self, marks: bytearray, bits: int, gone: int) -> None:
        self._marks, self._bits, self._gone = marks, bits, gone

    @classmethod
    def of(cls, file: BlockDevice, header: Header, taken: set[int]) -> UnbackedClusters | None:
        """None if no cluster can be left out.

        `taken`: clusters that hold something else than plain guest data. The sectors of compressed
        ones may reach beyond the file's end.
        """
        bits, shows_through = header.cluster_bits, header.backing_file is not None
        is_plain = not (
            header.crypt_method or header.has(Incompatible.EXTENDED_L2 | Incompatible.DATA_FILE)
        )
        if (
            not is_plain
            or file.size >> bits > _MAX_CLUSTERS
            # Version 2 has no entry for zeros, and an empty one would show the backing file.
            or (shows_through and header.version < 3)
        ):
            return None
        in_file = header.geometry.clusters(file.size)
        marks = bytearray(max(in_file, max(taken, default=0) + 1))
        for extent in file.extents(0, file.size):
            if extent.kind is ExtentKind.ZERO:
                first = align_up(extent.start, 1 << bits) >> bits
                # The file's last cluster may be cut short: its missing rest reads as zeros too.
                last = (
                    in_file
                    if extent.end == file.size
                    else align_down(extent.end, 1 << bits) >> bits
                )
                marks[first:last] = b"\1" * max(last - first, 0)
        # A table of zeros may be a hole of the host and is needed all the same.
        for cluster in (0, *taken):
            marks[cluster] = 0
        return cls(marks, bits, ZERO if shows_through else 0) if 1 in marks else None

    def drop(self, cluster: int) -> None:
        """Leave this one out as well."""
        self._marks[cluster] = 1

    def left_of(self, runs: Iterable[Run]) -> Iterator[Run]:
        """What is not left out of runs of clusters."""
        for first, count in runs:
            position, end = first, first + count
            while (start := self._marks.find(b"\0", position, end)) >= 0:
                position = self._marks.find(b"\1", start, end)
                position = end if position < 0 else position
                yield start, position - start

    def take_out(self, table: array[int], runs: Iterable[Run]) -> None:
        """Change a standard L2 table.

        `runs`: its ranges [start, end) of entries with contiguous clusters.
        """
        for number, (start, end) in enumerate(runs):
            if number == _FRAGMENTED:
                table[start:] = array("Q", map(self._entry, table[start:]))
                break
            first, count = (table[start] & OFFSET_MASK) >> self._bits, end - start
            unbacked = self._marks.count(1, first, first + count)
            if table[start] & COMPRESSED or not unbacked:
                continue
            if unbacked == count:
                table[start:end] = array("Q", [self._gone]) * count
            else:
                table[start:end] = array("Q", map(self._entry, table[start:end]))

    def _entry(self, entry: int) -> int:
        is_hollow = not entry & COMPRESSED and self._marks[(entry & OFFSET_MASK) >> self._bits]
        return self._gone if is_hollow else entry
