"""Refcount blocks in memory: one array item per cluster, whatever the width on disk (1 to 64 bits).

Entries narrower than a byte lie with entry 0 in the *low* bits; wider ones are big-endian.
Unpacked, all widths are handled by the same whole-slice operations. Follows QEMU's
docs/interop/qcow2 ("Refcount table and refcount blocks").
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator

from growdisk.fast_dataclass import dataclass
from growdisk.qcow2.tables import dump_table, load_table

_LEAF = 256  # bytes


class RefcountRange(Exception):
    """A count would fall below zero or rise above what the width can hold.

    `index`: of the entry in the block.
    """

    def __init__(self, index: int, count: int) -> None:
        super().__init__(f"entry {index} has count {count}")
        self.index, self.count = index, count


@dataclass(frozen=True)
class RefblockCodec:
    """Packs and unpacks the blocks of one refcount width."""

    bits: int

    @property
    def typecode(self) -> str:
        return {16: "H", 32: "I", 64: "Q"}.get(self.bits, "B")

    def load(self, data: bytes) -> array[int]:
        """The counts in a block; the drawing has counts of 2 bits in two bytes.

        byte                0          1
        bits 7 to 0         11100100   00011011
        lane 0 (bits 0, 1)  0          3          counts 0 and 4
        lane 1 (bits 2, 3)  1          2          counts 1 and 5
        lane 2 (bits 4, 5)  2          1          counts 2 and 6
        lane 3 (bits 6, 7)  3          0          counts 3 and 7
        block               0 1 2 3    3 2 1 0
        """
        if self.bits >= 8:
            return load_table(data, self.typecode)
        per_byte, mask = 8 // self.bits, (1 << self.bits) - 1
        block = array("B", bytes(len(data) * per_byte))
        for lane in range(per_byte):
            # Entry `lane` of every byte at once; the slices then interleave the lanes.
            picked = bytes(value >> lane * self.bits & mask for value in range(256))
            block[lane::per_byte] = array("B", data.translate(picked))
        return block

    def dump(self, block: array[int]) -> bytes:
        """The reverse of load(), a lane as one number: 0x0300 | 0x0201 << 2 | 0x0102 << 4 | 3 << 6.

        That is 0x1be4, the bytes 11100100 and 00011011 of the drawing.
        """
        if self.bits >= 8:
            return dump_table(block)
        per_byte, packed = 8 // self.bits, 0
        for lane in range(per_byte):
            # No entry reaches into the bits of the next one.
            packed |= int.from_bytes(block[lane::per_byte].tobytes(), "little") << lane * self.bits
        return packed.to_bytes(len(block) // per_byte, "little")

    def pack(self, counts: Iterable[int]) -> bytes:
        """The same of any counts, whole bytes of them."""
        return self.dump(array(self.typecode, list(counts)))


def add_to_run(block: array[int], first: int, count: int, delta: int, limit: int) -> None:
    """Add `delta` to entries [first, first+count), or to none.

    RefcountRange if one would leave 0..limit.
    """
    if count == 1:
        value = block[first] + delta
        if not 0 <= value <= limit:
            raise RefcountRange(first, block[first])
        block[first] = value
        return
    run = block[first : first + count]
    value = run[0]
    # nearly always: what was written together is counted alike
    if run == array(block.typecode, [value]) * count:
        if not 0 <= value + delta <= limit:
            raise RefcountRange(first, value)
        block[first : first + count] = array(block.typecode, [value + delta]) * count
        return
    # If this one stays within the limits, all do.
    extreme = min(run) if delta < 0 else max(run)
    if not 0 <= extreme + delta <= limit:
        raise RefcountRange(first + run.index(extreme), extreme)
    block[first : first + count] = array(block.typecode, [value + delta for value in run])


def equal_run(block: array[int], first: int, count: int, value: int) -> bool:
    """Whether entries [first, first+count) all are `value`."""
    if count == 1:
        return block[first] == value
    return block[first : first + count] == array(block.typecode, [value]) * count


def runs_of(block: array[int], first: int, count: int, value: int) -> Iterator[tuple[int, int]]:
    """Runs of entries equal to `value` among `count` from `first`; indices count from there."""
    same = block[first]
    if equal_run(
        block, first, count, same
    ):  # nearly always: what was written together is counted alike
        if same == value:
            yield 0, count
        return
    marks = bytes(map(value.__eq__, block[first : first + count]))
    yield from (found.span() for found in re.finditer(b"\1+", marks))


def zero_runs(block: array[int], first: int, end: int) -> Iterator[tuple[int, int]]:
    """The runs of free entries in [first, end), as half-open pairs."""
    data, width, marks = block[first:end].tobytes(), block.itemsize, 0
    # One byte for each entry, which is 0 if all of the entry's are.
    for place in range(width):
        marks |= int.from_bytes(data[place::width], "big")
    for found in re.finditer(rb"\0+", marks.to_bytes(end - first, "big")):
        yield first + found.start(), first + found.end()


def last_used(block: array[int]) -> int:
    """Index of the last entry that is not zero; -1 if all are free."""
    data, low, end = block.tobytes(), 0, len(block) * block.itemsize
    while end - low > _LEAF:  # comparing halves is far quicker than to strip zeros one by one
        middle = low + end >> 1
        if data[middle:end] == bytes(end - middle):
            end = middle
        else:
            low = middle
    # Rounded up: zero bytes of the last used count itself have been stripped as well.
    return -(-len(data[:end].rstrip(b"\0")) // block.itemsize) - 1
