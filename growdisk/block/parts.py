"""What a range of a device consists of, and how each part gets into a buffer of the caller's.

Looking a range up and fetching it are two actions. The first goes through cached tables, and
belongs to one thread. The second touches the host's files alone; where it takes a processor's time
(decompressing), other threads can do it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from growdisk.block.device import BlockDevice, InParts, Part
from growdisk.block.raw import RawFile

_ZEROS = memoryview(bytes(1 << 20))


def parts_of(device: BlockDevice | None, start: int, end: int) -> Iterator[Part]:
    """The parts of any device; beyond its end, and without one, there are zeros."""
    # Where the device's bytes end within the range.
    inside = start if device is None else min(max(device.size, start), end)
    if device is not None and start < inside:
        if isinstance(device, InParts):
            yield from device.parts(start, inside - start)
        else:
            yield Part(start, inside, partial(read_into, device, start))
    if inside < end:
        yield Part(inside, end)


def read_into(device: BlockDevice, offset: int, buffer: memoryview) -> None:
    """Fill `buffer` with the bytes of a device from `offset` on."""
    if isinstance(device, RawFile):
        device.read_into(offset, buffer)
    else:
        buffer[:] = device.read(offset, len(buffer))


def fill(parts: list[Part], start: int, buffer: memoryview) -> None:
    """Put parts into a buffer whose first byte is the device's at `start`."""
    for part in parts:
        room = buffer[part.start - start : part.end - start]
        if part.fill is None:
            set_zero(room)
        else:
            part.fill(room)


def set_zero(buffer: memoryview) -> None:
    for start in range(0, len(buffer), len(_ZEROS)):
        length = min(len(_ZEROS), len(buffer) - start)
        buffer[start : start + length] = _ZEROS[:length]
