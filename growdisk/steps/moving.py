"""Copies a partition to where the new table will have it, through our engine, and proves that every byte arrived.

Old and new place may overlap: it is copied from its end, so that nothing is written over before it was read. Until the
table is switched the guest knows the old place only; where that is written over, the step's snapshot is the way back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from growdisk.block.device import BlockDevice, ExtentKind
from growdisk.units import ByteRange, format_size, split_range

_CHUNK = 4 << 20
_EMPTY = hashlib.sha256(bytes(_CHUNK)).digest()


@dataclass(frozen=True)
class Move:
    """Partition `number`: `size` bytes from `start` to `new_start`, which lies behind it."""

    number: int
    start: int
    new_start: int
    size: int

    @property
    def source(self) -> ByteRange:
        return ByteRange(self.start, self.start + self.size)

    @property
    def destination(self) -> ByteRange:
        return ByteRange(self.new_start, self.new_start + self.size)

    def describe(self) -> str:
        return f"sda{self.number} copied to {format_size(self.new_start)} ({format_size(self.size)})"


def copy(device: BlockDevice, move: Move, pause: Callable[[], None]) -> str:
    """Copy, and return the digest of what was read; `pause` is called now and then, and may raise."""
    digests: list[bytes] = []
    for start, length in reversed(_chunks(move)):
        pause()
        digests.append(_copy_chunk(device, move.start + start, move.new_start + start, length))
    device.flush()
    return _together(reversed(digests))


def digest(device: BlockDevice, move: Move) -> str:
    """Of what is at the new place."""
    return _together(_digest_of(device, move.new_start + start, length) for start, length in _chunks(move))


def _copy_chunk(device: BlockDevice, source: int, destination: int, length: int) -> bytes:
    if _is_empty(device, source, length):
        if not _is_empty(device, destination, length):
            device.write_zeros(destination, length)
        return _digest_of_zeros(length)
    data = device.read(source, length)
    device.write(destination, data)
    return hashlib.sha256(data).digest()


def _digest_of(device: BlockDevice, offset: int, length: int) -> bytes:
    if _is_empty(device, offset, length):
        return _digest_of_zeros(length)
    return hashlib.sha256(device.read(offset, length)).digest()


def _digest_of_zeros(length: int) -> bytes:
    return _EMPTY if length == _CHUNK else hashlib.sha256(bytes(length)).digest()


def _is_empty(device: BlockDevice, offset: int, length: int) -> bool:
    return all(extent.kind is ExtentKind.ZERO for extent in device.extents(offset, length))


def _together(digests: Iterator[bytes]) -> str:
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _chunks(move: Move) -> list[tuple[int, int]]:
    """(offset, length) in the partition."""
    return [(start, stop - start) for start, stop in split_range(0, move.size, _CHUNK)]
