"""Whether two devices have the same bytes somewhere, told in steps.

A step is as long as one thread can read and compare without waiting much for another: with shorter
ones the threads do little but hand the interpreter to each other, and two are no faster than one.
"""

from __future__ import annotations

from growdisk.block.device import Part
from growdisk.block.parts import read_into

_STEP = 1 << 20
_ZEROS = bytes(_STEP)


class Comparer:
    """For one thread at a time, which keeps the memory of each step."""

    def __init__(self) -> None:
        self._buffers = bytearray(_STEP), bytearray(_STEP)

    def are_alike(self, one: list[Part], other: list[Part]) -> bool:
        """Whether a range is alike; False as well if it cannot be read in steps: fetch it then."""
        if not all(part.place is not None or part.fill is None for part in (*one, *other)):
            return False
        start, mine, theirs = one[0].start, iter(one), iter(other)
        a, b = next(mine), next(theirs)
        while True:
            end = min(a.end, b.end, start + _STEP)
            if _bytes(a, start, end, self._buffers[0]) != _bytes(b, start, end, self._buffers[1]):
                return False
            if end == one[-1].end:
                return True
            a = next(mine) if a.end == end else a
            b = next(theirs) if b.end == end else b
            start = end


def _bytes(part: Part, start: int, end: int, buffer: bytearray) -> bytearray | bytes:
    """[start, end) of a part, in the buffer if that has just this length."""
    if part.place is None:
        return _ZEROS if end - start == _STEP else bytes(end - start)
    if end - start < _STEP:
        buffer = bytearray(end - start)
    device, offset = part.place
    read_into(device, offset + start - part.start, memoryview(buffer))
    return buffer
