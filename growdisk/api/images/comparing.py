"""Whether two images show a guest the same bytes. Where one is longer, the rest of it must be zeros.

Ranges that are zeros in both, or come from a layer below both, are never read.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from growdisk.api.images.fetching import fetched, fetched_both
from growdisk.api.images.opening import opened, require_keys
from growdisk.api.images.pumping import is_zero
from growdisk.api.images.sharing import differing, joined
from growdisk.block.device import BlockDevice, ExtentKind
from growdisk.fast_dataclass import dataclass
from growdisk.qcow2.open_checks import Passphrase
from growdisk.qcow2.probe import ImageFormat
from growdisk.units import align_up

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
    key: Passphrase | None = None, progress: Callable[[int, int], None] | None = None,
) -> Comparison:  # fmt: skip
    """Compare the guest-visible content of two images. `progress` is told (bytes done, bytes in all)."""
    with opened(first, formats[0], key=key) as one, opened(second, formats[1], key=key) as other:
        require_keys(one)
        require_keys(other)
        sizes = align_up(one.size, _SECTOR), align_up(other.size, _SECTOR)
        return Comparison(sizes, _first_difference(one, other, progress))


def _first_difference(
    one: BlockDevice, other: BlockDevice, progress: Callable[[int, int], None] | None
) -> int | None:  # fmt: skip
    shared = min(one.size, other.size)
    for start, mine, theirs in fetched_both(one, other, joined(differing(one, other, 0, shared))):
        if mine != theirs:
            return start + _sector_of_difference(mine, theirs)
        if progress is not None:
            progress(start + len(mine), shared)
    longer = one if one.size > shared else other
    return _first_nonzero(longer, shared)


def _first_nonzero(device: BlockDevice, start: int) -> int | None:
    extents = device.extents(start, device.size - start)
    data = ((extent.start, extent.end) for extent in extents if extent.kind is ExtentKind.DATA)
    for position, found in fetched(device, data):
        if not is_zero(found):
            return position + _sector_of_difference(found, bytearray(len(found)))
    return None


def _sector_of_difference(one: bytearray, other: bytearray) -> int:
    return next(i for i in range(0, len(one), _SECTOR) if one[i : i + _SECTOR] != other[i : i + _SECTOR])
