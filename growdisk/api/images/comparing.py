"""Whether two images show a guest the same bytes. Where one is longer, the rest of it must be zeros.

Ranges that are zeros in both are never read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from growdisk.api.images.opening import opened, require_keys
from growdisk.block.device import BlockDevice, Extent, ExtentKind
from growdisk.qcow2.probe import ImageFormat
from growdisk.qcow2.usable import Passphrase
from growdisk.units import align_up, split_range
from growdisk.values import dataclass

_CHUNK = 2 << 20
_SECTOR = 512


@dataclass(frozen=True)
class Comparison:
    """`offset`: the first sector that differs, None where the content is the same. Sizes as a guest sees them."""

    sizes: tuple[int, int]
    offset: int | None

    @property
    def sizes_differ(self) -> bool:
        return self.sizes[0] != self.sizes[1]


def compare_images(
    first: Path, second: Path, formats: tuple[ImageFormat | None, ImageFormat | None] = (None, None),
    key: Passphrase | None = None,
) -> Comparison:  # fmt: skip
    """Compare the guest-visible content of two images."""
    with opened(first, formats[0], key=key) as one, opened(second, formats[1], key=key) as other:
        require_keys(one)
        require_keys(other)
        sizes = align_up(one.size, _SECTOR), align_up(other.size, _SECTOR)
        return Comparison(sizes, _first_difference(one, other))


def _first_difference(one: BlockDevice, other: BlockDevice) -> int | None:
    shared = min(one.size, other.size)
    for start, end in _worth_reading(one, other, shared):
        for position, stop in split_range(start, end, _CHUNK):
            mine, theirs = one.read(position, stop - position), other.read(position, stop - position)
            if mine != theirs:
                return position + _sector_of_difference(mine, theirs)
    longer = one if one.size > shared else other
    return _first_nonzero(longer, shared)


def _worth_reading(one: BlockDevice, other: BlockDevice, size: int) -> Iterator[tuple[int, int]]:
    """The ranges in which at least one of them is not known to be zeros."""
    mine, theirs = one.extents(0, size), other.extents(0, size)
    a, b = next(mine, None), next(theirs, None)
    start = 0
    while a is not None and b is not None:
        end = min(a.end, b.end)
        if _is_data(a) or _is_data(b):
            yield start, end
        a = next(mine, None) if a.end == end else a
        b = next(theirs, None) if b.end == end else b
        start = end


def _first_nonzero(device: BlockDevice, start: int) -> int | None:
    for extent in device.extents(start, device.size - start):
        for position, stop in split_range(extent.start, extent.end, _CHUNK) if _is_data(extent) else ():
            data = device.read(position, stop - position)
            if data.count(0) != len(data):
                return position + _sector_of_difference(data, bytes(len(data)))
    return None


def _is_data(extent: Extent) -> bool:
    return extent.kind is ExtentKind.DATA


def _sector_of_difference(one: bytes, other: bytes) -> int:
    return next(i for i in range(0, len(one), _SECTOR) if one[i : i + _SECTOR] != other[i : i + _SECTOR])
