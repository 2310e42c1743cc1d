"""The block device protocol: all that growdisk reads and writes is one of these.

A partition is a Window on a disk, a disk is a raw file or a Qcow2Image, and the file below a qcow2
image is itself a `ResizableDevice`: so the crash tests can put a device that dies, tears and
reorders under everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from functools import partial

from growdisk.fast_dataclass import NamedTuple, dataclass

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object


_ZEROS = memoryview(bytes(1 << 20))
_READ_ZEROS = 1 << 30


class ExtentKind(Enum):
    """What a range of a device consists of: stored bytes, or nothing but zeros."""

    DATA = "data"
    ZERO = "zero"


@dataclass(frozen=True)
class Extent:
    """A half-open range [start, end) of one kind, in bytes.

    `depth` is the layer that decides it: 0 this image, 1 its backing file, and so on; -1 where no
    layer has anything (only ever with ZERO).
    """

    start: int
    end: int
    kind: ExtentKind
    depth: int = 0

    @property
    def length(self) -> int:
        return self.end - self.start


class BlockDevice(Protocol):
    """Random access to `size` bytes.

    Offsets and lengths are bytes; a range that leaves the device raises ValueError. I/O errors of
    the host surface as OSError; a device that finds its own metadata broken raises ImageDamaged.
    """

    @property
    def size(self) -> int: ...

    @property
    def writable(self) -> bool: ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`."""

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Store `data` at `offset`. Durable only after flush()."""

    def write_zeros(self, offset: int, length: int) -> None:
        """Make a range read as zeros, cheaply if the device can."""

    def discard(self, offset: int, length: int) -> None:
        """The range's content is no longer needed; it reads as the old bytes or as zeros.

        May do nothing.
        """

    def flush(self) -> None:
        """When this returns, everything written before is durable."""

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """The range as adjacent extents, in order, covering it exactly."""

    def close(self) -> None:
        """Flush what is buffered and let go. Closing twice is harmless."""


def data_in(device: BlockDevice, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where [start, end) of a device has bytes that are stored anywhere."""
    for extent in device.extents(start, end - start):
        if extent.kind is ExtentKind.DATA:
            yield extent.start, extent.end


class ResizableDevice(BlockDevice, Protocol):
    """A device whose size can change: a host file."""

    def resize(self, size: int) -> None:
        """Cut off, or extend with zeros, to `size` bytes."""


class HostFile(BlockDevice, Protocol):
    """A device whose blocks on the host can be taken before they are written to."""

    def unallocated(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Where [start, end) has no blocks of the host."""

    def reserve(self, offset: int, length: int) -> None:
        """Take blocks for a range, or OSError."""


class Layer(BlockDevice, Protocol):
    """A device on top of another."""

    def own_extents(self) -> Iterator[Extent]:
        """What this layer itself has, in order; the time depends on the amount of that alone."""


class Part(NamedTuple):
    """Bytes [start, end) of a device.

    `fill` puts them into a buffer of just that length; None: they are zeros. `is_slow`: filling
    takes a processor longer than a disk, and may be done in any thread. `place`: the host file that
    has these bytes as they are, and where in it.
    """

    start: int
    end: int
    fill: Callable[[memoryview], None] | None = None
    is_slow: bool = False
    place: tuple[BlockDevice, int] | None = None

    def moved(self, distance: int) -> Part:
        """The same bytes as a device shows them that has them `distance` further."""
        return self._replace(start=self.start + distance, end=self.end + distance)


class InParts:
    """A device that knows what it consists of."""

    def parts(self, offset: int, length: int) -> Iterator[Part]:
        """The range as adjacent parts, in order, covering it exactly."""
        raise NotImplementedError


def check_range(device_size: int, offset: int, length: int) -> None:
    """Raise ValueError unless [offset, offset+length) lies within `device_size` bytes."""
    if offset < 0 or length < 0 or offset + length > device_size:
        raise ValueError(
            f"range [{offset:#x}, {offset + length:#x}) leaves a device of {device_size:#x} bytes"
        )


def read_padded(device: BlockDevice, offset: int, length: int) -> bytes:
    """A range of a device; beyond its end there are zeros."""
    inside = max(0, min(length, device.size - offset))
    return (device.read(offset, inside) if inside else b"").ljust(length, b"\0")


class TableReader:
    """Reads tables of one length, of which a small file may name a million in its holes.

    Each is read until 1 GiB of them were nothing but zeros; from then on holes are believed. Not
    before: a file system that takes new data for a hole (ZFS 2.2.0) must not make an image look
    empty.
    """

    def __init__(self, file: BlockDevice, length: int) -> None:
        self._file, self._zeros, self._left = file, bytes(length), _READ_ZEROS

    def read(self, offset: int) -> bytes:
        """The table at `offset`, padded with zeros; b"" if there is nothing else in it."""
        length = len(self._zeros)
        if self._left <= 0:
            inside = max(0, min(length, self._file.size - offset))
            extents = self._file.extents(offset, inside) if inside else ()
            if all(extent.kind is ExtentKind.ZERO for extent in extents):
                return b""
        table = read_padded(self._file, offset, length)
        if table != self._zeros:
            return table
        self._left -= length
        return b""


# --- parts ----------------------------------------------------------------------------------------
#
# Looking a range up and fetching it are two actions. The first goes through cached tables, and
# belongs to one thread. The second touches the host's files alone; if it takes a processor's time
# (decompressing), other threads can do it.


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
    if isinstance(device, InParts):
        fill(device.parts(offset, len(buffer)), offset, buffer)
    else:
        buffer[:] = device.read(offset, len(buffer))


def fill(parts: Iterable[Part], start: int, buffer: memoryview) -> None:
    """Put parts into a buffer whose first byte is the device's at `start`."""
    for part in parts:
        room = buffer[part.start - start : part.end - start]
        if part.fill is not None:
            part.fill(room)
            continue
        for position in range(0, len(room), len(_ZEROS)):
            length = min(len(_ZEROS), len(room) - position)
            room[position : position + length] = _ZEROS[:length]
