"""Copies a partition to its place in the new table, and proves that every byte arrived.

Our engine copies. Old and new place may overlap: it starts at the end, so that nothing is
overwritten before it was read. Until the table is switched the guest knows the old place only; if
that is overwritten, only the step's snapshot restores it.

One thing is changed on the way: a volume that says where on the disk it starts gets its new place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache

from growdisk.block.device import BlockDevice, ExtentKind
from growdisk.block.window import Window
from growdisk.fast_dataclass import dataclass
from growdisk.filesystems.volume_start import Stamp, start_stamps
from growdisk.partitions.table import FIRST_DISK
from growdisk.steps.failures import verify_failed
from growdisk.units import ByteRange, format_size, split_range

_CHUNK = 4 << 20


@dataclass(frozen=True)
class Move:
    """Partition `number`: `size` bytes from `start` to `new_start`, which lies after it."""

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

    @property
    def name(self) -> str:
        """As the journal has it."""
        return f"{FIRST_DISK}{self.number}"

    def described(self, disk: str) -> str:
        return (
            f"{disk}{self.number} copied to {format_size(self.new_start)} "
            f"({format_size(self.size)})"
        )


def copy(device: BlockDevice, move: Move, pause: Callable[[], None], sector_size: int = 512) -> str:
    """Copy, and return the digest of what was written; `pause` is called often, and may raise."""
    stamps = start_stamps(Window(device, move.start, move.size), move.new_start // sector_size)
    digests: list[bytes] = []
    # From the end: the new place lies after the old one, and may overlap it.
    for start, length in reversed(_chunks(move)):
        pause()
        inside = [stamp for stamp in stamps if stamp.offset < start + length and stamp.end > start]
        digests.append(_copy_chunk(device, move, start, length, inside))
    device.flush()
    # The digests were made from the last chunk on; digest() reads from the first.
    return _together(reversed(digests))


def require_copied(
    device: BlockDevice, moves: Sequence[Move], digests: Mapping[str, int | str]
) -> None:
    """Raise promise-broken if a partition's new place does not hold what copy() wrote.

    `digests` are by the partition's name.
    """
    for move in moves:
        if (found := digest(device, move)) != (expected := digests[move.name]):
            found = f"SHA-256 {found} of {move.name}"
            raise verify_failed("rewrite-partitions", found=found, expected=str(expected))


def digest(device: BlockDevice, move: Move) -> str:
    """Of what is at the new place."""
    places = ((move.new_start + start, length) for start, length in _chunks(move))
    return _together(
        _digest_of_zeros(length)
        if _is_empty(device, place, length)
        else _digest(device.read(place, length))
        for place, length in places
    )


def _copy_chunk(
    device: BlockDevice, move: Move, start: int, length: int, stamps: Sequence[Stamp]
) -> bytes:
    source, destination = move.start + start, move.new_start + start
    # Holes stay holes: an empty partition of many GiB is not written out.
    if not stamps and _is_empty(device, source, length):
        if not _is_empty(device, destination, length):
            device.write_zeros(destination, length)
        return _digest_of_zeros(length)
    data = _stamped(device.read(source, length), start, stamps)
    device.write(destination, data)
    return _digest(data)


def _stamped(data: bytes, start: int, stamps: Sequence[Stamp]) -> bytes:
    """`data` from byte `start` of the volume, with its stamps, which may reach out of it."""
    changed = bytearray(data)
    for stamp in stamps:
        first, last = max(stamp.offset, start), min(stamp.end, start + len(data))
        changed[first - start : last - start] = stamp.data[
            first - stamp.offset : last - stamp.offset
        ]
    return bytes(changed)


def _digest(data: bytes) -> bytes:
    import hashlib  # OpenSSL comes with it, and most runs move nothing

    return hashlib.sha256(data).digest()


@lru_cache(2)  # most chunks have one length
def _digest_of_zeros(length: int) -> bytes:
    return _digest(bytes(length))


def _is_empty(device: BlockDevice, offset: int, length: int) -> bool:
    return all(extent.kind is ExtentKind.ZERO for extent in device.extents(offset, length))


def _together(digests: Iterator[bytes]) -> str:
    return _digest(b"".join(digests)).hex()


def _chunks(move: Move) -> list[tuple[int, int]]:
    """(offset, length) in the partition."""
    return [(start, stop - start) for start, stop in split_range(0, move.size, _CHUNK)]
