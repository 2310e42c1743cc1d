"""Which layer of an image holds which guest bytes: the records of `qemu-img map`.

They are those of `--output=json`. `present` means that the layer itself decides, `zero` that it
reads as zeros, `data` that clusters are allocated; so metadata that was preallocated is data *and*
zero. Only then is the host asked for holes, as QEMU does.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, product, repeat
from pathlib import Path

from growdisk.api.images.opening import open_guest_content
from growdisk.block.device import BlockDevice, ExtentKind
from growdisk.block.raw import RawFile
from growdisk.errors import ImageDamaged
from growdisk.fast_dataclass import NamedTuple
from growdisk.qcow2.cluster_marks import BOTH, HOLE, NOWHERE, FragmentedRun
from growdisk.qcow2.entries import L2Kind
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.mapping import GuestRun
from growdisk.qcow2.probe import ImageFormat
from growdisk.units import align_up

_SECTOR = 512
_WORDS = ("false", "true")
_FLAGS = {
    (bool(p), bool(z), bool(d)): f'"present": {_WORDS[p]}, "zero": {_WORDS[z]}, "data": {_WORDS[d]}'
    for p, z, d in product(range(2), repeat=3)
}


class MapRecord(NamedTuple):
    """Guest bytes [start, start+length), at `offset` of the file `path`; None: stored nowhere."""

    start: int
    length: int
    depth: int
    present: bool
    zero: bool
    data: bool
    offset: int | None
    path: Path

    def json_text(self) -> str:
        """The keys of QEMU's MapEntry, made sooner than by an encoder: there may be millions."""
        start, length, depth, present, zero, data, offset, _ = self
        place = "" if offset is None else f', "offset": {offset}'
        return (
            f'{{"start": {start}, "length": {length}, "depth": {depth}, '
            f"{_FLAGS[present, zero, data]}{place}}}"
        )

    def continued_by(self, other: MapRecord) -> bool:
        """Whether both are one record."""
        if self[2:6] != other[2:6]:  # depth, present, zero, data
            return False
        if self.offset is None or other.offset is None:
            return self.offset is other.offset
        return self.path == other.path and self.offset + self.length == other.offset


def image_map(path: Path, image_format: ImageFormat | None = None) -> Iterator[MapRecord]:
    """The records of an image, in order, covering it; the file is open while the iterator runs."""
    return chain.from_iterable(image_map_lists(path, image_format))


def image_map_lists(
    path: Path, image_format: ImageFormat | None = None
) -> Iterator[list[MapRecord]]:
    """The same in lists, as they are found: there may be millions of records."""
    with open_guest_content(path, image_format) as device:
        last: MapRecord | None = None
        for records in _batches(device, path, 0, 0, align_up(device.size, _SECTOR)):
            if last is not None and last.continued_by(records[0]):
                length = last.length + records[0].length
                # A record that goes on in the next batch is one record to QEMU.
                records[0] = records[0]._replace(
                    start=last.start, length=length, offset=last.offset
                )
            elif last is not None:
                records.insert(0, last)
            # Kept back: the next batch may continue it.
            last = records.pop()
            yield records
        # a disk of no bytes is one record to QEMU
        yield [last or MapRecord(0, 0, 0, False, False, False, None, path)]


def _batches(
    device: BlockDevice, path: Path, depth: int, start: int, end: int
) -> Iterator[list[MapRecord]]:
    """The records, some at once, which are then no longer to be joined; never none."""
    if isinstance(device, Qcow2Image):
        # Then the host is asked for holes in clusters that are data by the tables.
        preallocated = _has_preallocated_metadata(device)
        for run in device.pieces(start, min(end, device.size) - start, holes=preallocated):
            if isinstance(run, FragmentedRun):
                yield from _fragmented_records(device, run, depth, preallocated=preallocated)
            else:
                yield from _run_records(device, run, depth, preallocated=preallocated)
    else:
        for first, last, is_data in _host_extents(device, start, end):
            yield [MapRecord(first, last - first, depth, True, not is_data, is_data, first, path)]


def _fragmented_records(
    image: Qcow2Image, fragmented: FragmentedRun, depth: int, *, preallocated: bool
) -> Iterator[list[MapRecord]]:
    """A fragmented table's records, as far as this layer decides; run by run if it has to be."""
    # What the host has of each cluster. BOTH: it is data in part; NOWHERE: it is not allocated.
    bits = image.header.cluster_bits
    if BOTH in fragmented.marks or NOWHERE in fragmented.marks or image.header.crypt_method:
        for run in image.runs(fragmented.start, len(fragmented.marks) << bits):
            yield from _run_records(image, run, depth, preallocated=preallocated)
        return
    # Fragmented data have a record for nearly each cluster: they are made column by column.
    firsts, counts = fragmented.runs()
    starts = [fragmented.start + (first << bits) for first in firsts]
    lengths = [count << bits for count in counts]
    zeros = [fragmented.marks[first] == HOLE for first in firsts]
    offsets = [fragmented.clusters[first] << bits for first in firsts]
    columns = zip(
        starts,
        lengths,
        repeat(depth),
        repeat(True),
        zeros,
        repeat(True),
        offsets,
        repeat(_place(image)),
    )
    yield list(map(MapRecord._make, columns))


def _below(image: Qcow2Image, depth: int, run: GuestRun) -> Iterator[list[MapRecord]]:
    """What an unallocated range is: the backing file's, and after its end zeros that nobody has."""
    backing, start, end = image.backing, run.start, run.end
    if backing is not None and start < (border := min(end, align_up(backing.size, _SECTOR))):
        path = backing.path if isinstance(backing, (Qcow2Image, RawFile)) else image.path
        yield from _batches(backing, path, depth + 1, start, border)
        start = border
    if start < end:
        # Subclusters that are not allocated have a place in the file if others of the cluster are.
        offset = _host_offset(image, run, start)
        yield [MapRecord(start, end - start, depth, False, True, False, offset, _place(image))]


def _run_records(
    image: Qcow2Image, run: GuestRun, depth: int, *, preallocated: bool
) -> Iterator[list[MapRecord]]:
    if run.kind is L2Kind.UNALLOCATED:
        yield from _below(image, depth, run)
        return
    zero = run.kind in (L2Kind.ZERO_PLAIN, L2Kind.ZERO_ALLOCATED)
    record = MapRecord(
        run.start,
        run.end - run.start,
        depth,
        True,
        zero,
        not zero,
        _host_offset(image, run, run.start),
        _place(image),
    )
    # Compressed and encrypted clusters have no offset: a hole would look like data there.
    if not preallocated or record.offset is None or zero:
        yield [record]
        return
    for first, last, is_data in _host_extents(
        image.host_file, record.offset, record.offset + record.length
    ):
        start = run.start + first - record.offset
        yield [MapRecord(start, last - first, depth, True, not is_data, True, first, image.path)]


def _place(image: Qcow2Image) -> Path:
    """The file in which the offsets of a layer count: its external data file, if it has one."""
    return image.host_file.path if isinstance(image.host_file, RawFile) else image.path


def _host_offset(image: Qcow2Image, run: GuestRun, start: int) -> int | None:
    """Only bytes that can be read as they stand there: not compressed, not encrypted."""
    has_place = run.host >= 0 and not image.header.crypt_method
    return run.host + start - run.start if has_place else None


def _host_extents(file: BlockDevice, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """(start, end, whether it is data) of a host range; beyond the file's end there is none."""
    # its last sector may not be whole
    length = file.length if isinstance(file, RawFile) else file.size
    inside = max(min(end, length), start)
    for extent in file.extents(start, inside - start):
        yield extent.start, extent.end, extent.kind is ExtentKind.DATA
    if inside < end:
        yield inside, end, False


def _has_preallocated_metadata(image: Qcow2Image) -> bool:
    """QEMU's test: far more clusters are counted than the file has on the host."""
    real = image.actual_size // image.header.cluster_size
    # A ninth more clusters than the host has blocks for, and two at least.
    threshold = max(real * 10 // 9, real + 2)
    try:
        return image.used_clusters(threshold) >= threshold
    except ImageDamaged:  # of its refcounts: a reader needs none
        return False
