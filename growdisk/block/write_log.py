"""Copies what one device has of its own onto another: how an overlay becomes part of its base.

Doing it twice is the same as doing it once, so a crash in the middle is finished by doing it again
(a redo log).
"""

from __future__ import annotations

from growdisk.block.device import BlockDevice, Extent, ExtentKind, Layer, ResizableDevice, data_in
from growdisk.units import split_range

CHUNK = 4 << 20
_PIECE = 64 << 10  # zeros are looked for in pieces of this size


def redo(
    delta: Layer, base: ResizableDevice, *, keep_room: bool = False, free_zeros: bool = False
) -> None:
    """Make `base` as large as `delta`, and give it all that `delta` itself has.

    Durable on return. `keep_room`: what becomes zeros stays data, so that a roll back finds the
    room of what was there before. `free_zeros`: data that are zeros are given to `base` as zeros,
    which need no room in it.
    """
    if base.size < delta.size:
        base.resize(delta.size)
    for extent in delta.own_extents():
        if extent.kind is ExtentKind.ZERO and keep_room:
            _write_zeros_over_data(base, extent)
        elif extent.kind is ExtentKind.ZERO:
            base.write_zeros(extent.start, extent.length)
        else:
            piece = _PIECE if free_zeros else CHUNK
            for start, end in split_range(extent.start, extent.end, piece):
                data = delta.read(start, end - start)
                if free_zeros and not any(data):
                    base.write_zeros(start, end - start)
                else:
                    base.write(start, data)
    base.flush()
    # Shrunk last: a crash before this is finished by doing all of it again.
    if base.size > delta.size:
        base.resize(delta.size)
        base.flush()


def _write_zeros_over_data(base: BlockDevice, zeros: Extent) -> None:
    # A list: writing changes what is looked at.
    for data in list(data_in(base, zeros.start, zeros.end)):
        for start, end in split_range(*data, CHUNK):
            base.write(start, bytes(end - start))


def capture(delta: Layer, base: BlockDevice, undo: BlockDevice) -> None:
    """Keep in `undo` (of base's size) what `redo(delta, base)` will overwrite.

    Durable on return.
    """
    for extent in delta.own_extents():
        # Beyond the base's end there is nothing to keep.
        if extent.start >= base.size:
            break
        end = min(extent.end, base.size)
        parts = [(extent.start, end)]
        if extent.kind is ExtentKind.ZERO:  # what is a hole stays one
            parts = list(data_in(base, extent.start, end))
        for part in parts:
            for first, last in split_range(*part, CHUNK):
                undo.write(first, base.read(first, last - first))
    undo.flush()
