"""Whether two images show a guest the same bytes.

Where one is longer, the rest of it must be zeros. Ranges that are zeros in both, or come from a
layer below both, are never read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from growdisk.api.images.data_copy import is_zero
from growdisk.api.images.opening import open_guest_content, require_keys
from growdisk.api.images.pump import COMPARED_CHUNK, StopEarly, pump, side_by_side
from growdisk.block.device import BlockDevice, Extent, ExtentKind, data_in
from growdisk.block.raw import RawFile
from growdisk.fast_dataclass import dataclass
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.open_checks import Passphrase
from growdisk.qcow2.probe import ImageFormat
from growdisk.units import align_up, joined

_SECTOR = 512


@dataclass(frozen=True)
class Comparison:
    """`offset`: the first sector that differs, None if the content is the same.

    Sizes as a guest sees them.
    """

    sizes: tuple[int, int]
    offset: int | None

    @property
    def sizes_differ(self) -> bool:
        return self.sizes[0] != self.sizes[1]


def compare_images(
    first: Path,
    second: Path,
    formats: tuple[ImageFormat | None, ImageFormat | None] = (None, None),
    key: Passphrase | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Compare the guest-visible content of two images.

    `progress` gets (bytes done, bytes in all).
    """
    with (
        open_guest_content(first, formats[0], key=key) as one,
        open_guest_content(second, formats[1], key=key) as other,
    ):
        require_keys(one)
        require_keys(other)
        # A guest sees whole sectors, also of a raw file that ends within one.
        sizes = align_up(one.size, _SECTOR), align_up(other.size, _SECTOR)
        return Comparison(sizes, _first_difference(one, other, progress))


def _first_difference(
    one: BlockDevice, other: BlockDevice, progress: Callable[[int, int], None] | None
) -> int | None:
    shared, report = min(one.size, other.size), progress or (lambda _reached, _size: None)
    ranges = joined(differing(one, other, 0, shared))
    different = _first_place([one, other], ranges, lambda reached: report(reached, shared))
    if different is not None:
        return different
    # Alike as far as both go. If they are of one length, nothing is left of `longer`.
    longer = one if one.size > shared else other
    return _first_place([longer], data_in(longer, shared, longer.size), lambda _: None)


def _first_place(
    devices: Sequence[BlockDevice],
    ranges: Iterable[tuple[int, int]],
    progress: Callable[[int], None],
) -> int | None:
    """The first sector in which two devices differ, or one is not zeros."""
    place: list[int] = []

    def look(
        start: int, mine: bytearray, theirs: bytearray | None = None
    ) -> tuple[int, int | None]:
        # Of one device alone: compared with zeros.
        is_same = is_zero(mine) if theirs is None else mine == theirs
        if is_same:
            return start + len(mine), None
        other = bytearray(len(mine)) if theirs is None else theirs
        return start + len(mine), start + _sector_of_difference(mine, other)

    def note(found: tuple[int, int | None]) -> int:
        if found[1] is not None:
            place.append(found[1])
            # in_order() ends here: results come in order, so this is the first place.
            raise StopEarly
        return found[0]

    pump(devices, ranges, look, note, progress, chunk=COMPARED_CHUNK, unless_alike=len(devices) > 1)
    return place[0] if place else None


def _sector_of_difference(one: bytearray, other: bytearray) -> int:
    return next(
        i for i in range(0, len(one), _SECTOR) if one[i : i + _SECTOR] != other[i : i + _SECTOR]
    )


# --- two images over the same layer: what both have from there is equal, and is not read ----------


def differing(
    one: BlockDevice | None, other: BlockDevice | None, start: int, end: int
) -> Iterator[tuple[int, int]]:
    """The parts of [start, end) that may differ: not zeros in both, not from a shared layer.

    Beyond an end there are zeros.
    """
    depths = _depths_of_shared(one, other)
    mine, theirs = _extents(one, start, end), _extents(other, start, end)
    for first, last, a, b in side_by_side(mine, theirs, start):
        are_zeros = a.kind is b.kind is ExtentKind.ZERO
        # Both look through to the shared layer. Where none has anything (-1), one may hide it.
        are_shared = depths is not None and a.depth >= depths[0] and b.depth >= depths[1]
        if not (are_zeros or are_shared):
            yield first, last


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
    """What each layer is: how it is read, and its file; what is not known is like nothing else."""
    while device is not None:
        if isinstance(device, Qcow2Image):
            # With the L1 table: a snapshot in the same file is another layer.
            yield "qcow2", *_file(device.image_file), device.header.l1_offset, device.header.size
            device = device.backing
        else:
            yield ("raw", *_file(device))
            device = None


def _file(device: BlockDevice) -> tuple[object, ...]:
    if not isinstance(device, RawFile):
        return (id(device),)
    return device.status.st_dev, device.status.st_ino
