"""A device for looking: what was read once is remembered, in large pieces.

Not for a device that changes meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.block.device import BlockDevice, Extent, check_range
from growdisk.block.window import ReadOnlyDevice

_PIECE = 64 << 10
_MOST_PIECES = 1024
_BULK = 1 << 20  # an initrd: read once and not kept


class CachedReads(ReadOnlyDevice):
    def __init__(self, device: BlockDevice) -> None:
        self._device, self.size = device, device.size
        self._pieces: dict[int, bytes] = {}

    def read(self, offset: int, length: int) -> bytes:
        check_range(self.size, offset, length)
        if length >= _BULK:
            return self._device.read(offset, length)
        first = offset // _PIECE
        # The common case: a block of metadata, within one piece.
        if offset + length <= (first + 1) * _PIECE:
            return self._piece(first)[offset - first * _PIECE :][:length]
        pieces = [
            self._piece(number) for number in range(first, (offset + length - 1) // _PIECE + 1)
        ]
        return b"".join(pieces)[offset - first * _PIECE :][:length]

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        return self._device.extents(offset, length)

    def _piece(self, number: int) -> bytes:
        if (piece := self._pieces.get(number)) is None:
            if len(self._pieces) >= _MOST_PIECES:
                # 64 MiB of them: forgetting all is rare, and simpler than knowing the oldest.
                self._pieces.clear()
            start = number * _PIECE
            piece = self._pieces[number] = self._device.read(start, min(_PIECE, self.size - start))
        return piece
