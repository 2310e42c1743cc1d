"""Two images over the same layer: what both have from there is equal, and is not read."""

from __future__ import annotations

from collections.abc import Iterator

from growdisk.block.device import BlockDevice, Extent, ExtentKind
from growdisk.block.raw import RawFile
from growdisk.qcow2.image import Qcow2Image

Range = tuple[int, int]


def differing(
    one: BlockDevice | None, other: BlockDevice | None, start: int, end: int
) -> Iterator[Range]:
    """The parts of [start, end) that may differ: not zeros in both, not from a shared layer.

    Beyond an end there are zeros.
    """
    depths = _depths_of_shared(one, other)
    mine, theirs = _extents(one, start, end), _extents(other, start, end)
    # Two lists of extents side by side: [start, stop) lies in one of each.
    a, b = next(mine, None), next(theirs, None)
    while a is not None and b is not None:
        stop = min(a.end, b.end)
        if not (_is_zero(a) and _is_zero(b)) and not (
            depths is not None and _comes_from(depths, a, b)
        ):
            yield start, stop
        a = next(mine, None) if a.end == stop else a
        b = next(theirs, None) if b.end == stop else b
        start = stop


def _comes_from(depths: tuple[int, int], a: Extent, b: Extent) -> bool:
    """Whether both look through to the shared layer.

    Where none has anything, a shorter layer may hide it: unknown.
    """
    # depth is -1 if no layer has anything.
    return a.depth >= depths[0] and b.depth >= depths[1]


def _extents(device: BlockDevice | None, start: int, end: int) -> Iterator[Extent]:
    inside = start if device is None else min(max(device.size, start), end)
    if device is not None and start < inside:
        yield from device.extents(start, inside - start)
    if inside < end:
        yield Extent(inside, end, ExtentKind.ZERO, -1)


def _depths_of_shared(one: BlockDevice | None, other: BlockDevice | None) -> tuple[int, int] | None:
    """How deep in each the first layer lies that both have."""
    theirs = {layer: depth for depth, layer in enumerate(_layers(other))}
    for depth, layer in enumerate(_layers(one)):
        # The topmost that both have: below it all is the same.
        if layer in theirs:
            return depth, theirs[layer]
    return None


def _layers(device: BlockDevice | None) -> Iterator[tuple[object, ...]]:
    """What each layer is: how it is read, and the file on the host.

    What is not known is like nothing else.
    """
    while device is not None:
        if isinstance(device, Qcow2Image):
            # With the L1 table: a snapshot in the same file is another layer.
            yield "qcow2", *_file(device.image_file), device.header.l1_offset, device.header.size
            device = device.backing
        else:
            yield ("raw", *_file(device))
            device = None


def _file(device: BlockDevice) -> tuple[object, ...]:
    return device.file_identity if isinstance(device, RawFile) else (id(device),)


def _is_zero(extent: Extent) -> bool:
    return extent.kind is ExtentKind.ZERO
