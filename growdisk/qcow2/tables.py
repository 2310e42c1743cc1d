"""Big-endian tables as arrays of native integers, and a bounded cache for them.

A table is converted once when it is loaded; then C-speed slices and comparisons work on it. The
cache may evict at any time: who changes a table says so with `changed`, and hands the table back
with it.
"""

from __future__ import annotations

import sys
from array import array
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache

_IS_LITTLE = sys.byteorder == "little"
_FEW = 64  # entries; a range is as quick for them


def load_table(data: bytes, typecode: str = "Q") -> array[int]:
    """Big-endian integers (B, H, I or Q wide) as an array."""
    table = array(typecode, data)
    if _IS_LITTLE and table.itemsize > 1:
        table.byteswap()
    return table


def dump_table(table: array[int]) -> bytes:
    """The reverse of load_table."""
    if _IS_LITTLE and table.itemsize > 1:
        table = table[:]
        table.byteswap()
    return table.tobytes()


def to_lanes(table: array[int]) -> int:
    """A table of 64-bit entries as one number: entry i in the bits from 64 * i on, on any host."""
    if not _IS_LITTLE:
        table = table[:]
        table.byteswap()
    return int.from_bytes(table.tobytes(), "little")


def from_lanes(lanes: int, count: int) -> array[int]:
    """The reverse of to_lanes, for a table of `count` entries."""
    table = array("Q", lanes.to_bytes(8 * count, "little"))
    if not _IS_LITTLE:
        table.byteswap()
    return table


def progression(first: int, count: int, step: int) -> array[int]:
    """first, first+step, ...: what `count` entries of one contiguous run look like."""
    if step == 0:
        return array("Q", [first]) * count
    if count <= _FEW:
        return array("Q", range(first, first + count * step, step))
    # Lanes of 64 bits: first + 0, first + step, ... in one addition. No lane carries into the next,
    # because every entry of the progression is below 2^64.
    size = 1 << (count - 1).bit_length()
    ones, ramp = _lanes(size, step)
    return from_lanes(first * ones + ramp, size)[:count]


@lru_cache(maxsize=8)
def _lanes(count: int, step: int) -> tuple[int, int]:
    """The lanes 1, 1, ... and 0, step, 2*step, ... of 64 bits, each as one number.

    There are at least `count` of them: a power of two.
    """
    # Each round copies what there is to the lanes above it, raised by size * step:
    #   0  ─▶  0 s  ─▶  0 s 2s 3s  ─▶  ...      (the lowest lane on the left)
    ones, ramp, size = 1, 0, 1
    while size < count:
        ramp |= ramp + size * step * ones << 64 * size
        ones |= ones << 64 * size
        size *= 2
    return ones, ramp


def equal_until(values: array[int], index: int, limit: int) -> int:
    """The end, at most `limit`, of the run of equal values at `index`, by doubling steps."""
    value, end, step = values[index], index + 1, 1
    while end < limit and values[end] == value:
        piece = values[end : min(end + step, limit)]
        # Doubled while the values are equal, halved near the end of the run.
        if piece == array(values.typecode, [value]) * len(piece):
            end, step = end + len(piece), step * 2
        else:
            step = max(step // 2, 1)
    return end


class TableCache:
    """The most recently used tables, by key: a host offset or a block index.

    `load(key)` reads a table; `spill(key)` is called before a changed table is evicted and must
    make it clean.
    """

    def __init__(
        self, load: Callable[[int], array[int]], spill: Callable[[int], None], max_bytes: int
    ) -> None:
        self._load, self._spill, self._max_bytes = load, spill, max_bytes
        self._tables: OrderedDict[int, array[int]] = OrderedDict()
        self._dirty: dict[int, array[int]] = {}
        self._bytes = 0

    def get(self, key: int) -> array[int]:
        table = self._tables.get(key)
        if table is None:
            table = self._load(key)
            self._insert(key, table)
        else:
            self._tables.move_to_end(key)
        return table

    def changed(self, key: int, table: array[int]) -> None:
        """`table` is the new content under `key`, not yet written."""
        # Evicted since it was read, or a new table under this key.
        if self._tables.get(key) is not table:
            self.drop(key)
            self._insert(key, table)
        self._dirty[key] = table

    def cleaned(self, key: int) -> None:
        """The table has been written."""
        self._dirty.pop(key, None)

    def dirty(self) -> list[tuple[int, array[int]]]:
        """The changed tables, in order of their keys."""
        return sorted(self._dirty.items())

    @property
    def is_dirty(self) -> bool:
        return bool(self._dirty)

    def __contains__(self, key: int) -> bool:
        return key in self._tables

    def cached_keys(self) -> list[int]:
        return list(self._tables)

    def drop(self, key: int) -> None:
        """Forget a table that is no longer one; changes to it are lost on purpose."""
        table = self._tables.pop(key, None)
        if table is not None:
            self._bytes -= len(table) * table.itemsize
        self._dirty.pop(key, None)

    def clear(self) -> None:
        """Forget all; there must be no changed tables."""
        assert not self._dirty
        self._tables.clear()
        self._bytes = 0

    def _insert(self, key: int, table: array[int]) -> None:
        size = len(table) * table.itemsize
        while self._bytes + size > self._max_bytes and self._tables:
            oldest = next(iter(self._tables))
            # Still in the cache while it is spilled: spill() looks it up.
            if oldest in self._dirty:
                self._spill(oldest)
            self.drop(oldest)
        self._tables[key] = table
        self._bytes += size
