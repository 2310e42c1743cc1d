"""The entries of an L2 table as runs of contiguous host clusters.

The whole table is taken as one large integer: it is a run if subtracting a ramp leaves the same
number in every lane. That costs 50 microseconds for 8192 entries; only a table that is not one run
is halved, down to single entries.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from growdisk.qcow2.entries import COMPRESSED, OFFSET_MASK

_LEAF = 32  # entries; below this a plain loop is faster


class RunFinder:
    """Finds runs whose entries differ by `cluster_size`."""

    def __init__(self, cluster_size: int, *, zero_flag: bool = True) -> None:
        """`zero_flag`: an entry of 1 is a plain zero cluster, and not one with a reserved bit."""
        self._step = cluster_size
        self._nothing = (0, 1) if zero_flag else (0,)  # entries that name no cluster
        self._lanes: dict[int, tuple[int, int]] = {}

    def runs(self, table: bytes) -> Iterator[tuple[int, int]]:
        """(first entry, number of entries) in order. Entries that name no cluster are left out."""
        stack = [table]
        while stack:
            entries = stack.pop()
            if len(entries) <= 8 * _LEAF:
                yield from self._scan(entries)
                continue
            first = int.from_bytes(entries[:8], "big")
            if first in self._nothing and entries == entries[:8] * (len(entries) // 8):
                continue
            if self._is_run(entries, first):
                yield first, len(entries) // 8
                continue
            # Half of the entries, in bytes. The first half goes on top: runs come in order.
            half = len(entries) // 16 * 8
            stack += (entries[half:], entries[:half])

    def _is_run(self, part: bytes, first: int) -> bool:
        count = len(part) // 8
        last = int.from_bytes(part[-8:], "big")
        if (
            # Cheap first: only a table with the right ends is compared as a whole.
            last != first + (count - 1) * self._step
            or (first ^ last) & ~OFFSET_MASK
            or _stands_alone(first)
        ):
            return False
        # Entries 10 11 12 less the ramp 0 1 2 are 10 10 10, which is 10 times the ones. A lane that
        # is too small borrows from the one above it, and then both differ from that.
        ones, ramp = self._lanes_for(count)
        return int.from_bytes(part, "big") - ramp == first * ones

    def _lanes_for(self, count: int) -> tuple[int, int]:
        """The integers 1,1,1,... and 0,step,2*step,... with `count` lanes of 64 bits."""
        if count not in self._lanes:
            ones = int.from_bytes(struct.pack(">Q", 1) * count, "big")
            ramp = int.from_bytes(
                struct.pack(f">{count}Q", *range(0, count * self._step, self._step)), "big"
            )
            self._lanes[count] = ones, ramp
        return self._lanes[count]

    def _scan(self, part: bytes) -> Iterator[tuple[int, int]]:
        first, length, expected = 0, 0, -1
        for entry in struct.unpack(f">{len(part) // 8}Q", part):
            if entry == expected:
                length += 1
                expected += self._step
                continue
            if length:
                yield first, length
            length = 0 if entry in self._nothing else 1
            first = entry
            # No entry is -1, so nothing continues a compressed one.
            expected = -1 if _stands_alone(entry) else entry + self._step
        if length:
            yield first, length


def _stands_alone(entry: int) -> bool:
    """Whether an entry has no host cluster of its own that another could follow."""
    return bool(entry & COMPRESSED) or not entry & OFFSET_MASK
