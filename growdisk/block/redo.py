"""Copies what one device holds of its own onto another: how an overlay becomes part of its base.

Doing it twice is the same as doing it once, so a crash in the middle is finished by doing it again (a redo log).
"""

from __future__ import annotations

from growdisk.block.device import BlockDevice, ExtentKind, Layer, ResizableDevice
from growdisk.units import split_range

CHUNK = 4 << 20


def redo(delta: Layer, base: ResizableDevice) -> None:
    """Make `base` as large as `delta`, and give it all that `delta` itself holds. Durable on return."""
    if base.size < delta.size:
        base.resize(delta.size)
    for extent in delta.own_extents():
        if extent.kind is ExtentKind.ZERO:
            base.write_zeros(extent.start, extent.length)
        else:
            for start, end in split_range(extent.start, extent.end, CHUNK):
                base.write(start, delta.read(start, end - start))
    base.flush()
    if base.size > delta.size:
        base.resize(delta.size)
        base.flush()


def capture(delta: Layer, base: BlockDevice, undo: BlockDevice) -> None:
    """Keep in `undo` (of base's size) what `redo(delta, base)` is about to overwrite. Durable on return."""
    for extent in delta.own_extents():
        for start, end in split_range(extent.start, min(extent.end, base.size), CHUNK):
            undo.write(start, base.read(start, end - start))
    undo.flush()
