"""Reading guest bytes: one host read per contiguous run, the backing file if unallocated here.

A backing file may be shorter than the image above it; beyond its end there are zeros.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property, partial

from growdisk.block.device import (
    BlockDevice,
    Extent,
    ExtentKind,
    Part,
    data_in,
    parts_of,
    read_into,
    read_padded,
)
from growdisk.qcow2.cluster_marks import HOLE, NOWHERE, FragmentedRun
from growdisk.qcow2.compress import Unpacker, unpacker
from growdisk.qcow2.entries import CompressedRange, L2Kind
from growdisk.qcow2.mapping import GuestRun, Mapping
from growdisk.qcow2.metadata import Metadata

_SPREAD = 2  # times what is needed is read, rather than to read piece by piece
_CLUSTERS_KEPT = 8  # decompressed; a cluster is usually read in pieces
_ZEROS = bytes(1 << 16)


class Reader:
    """Guest content of one layer and those below.

    Ranges may lie beyond the disk's end; zeros are there.
    """

    def __init__(self, metadata: Metadata, mapping: Mapping, backing: BlockDevice | None) -> None:
        self._metadata, self._mapping, self.backing = metadata, mapping, backing
        self._file, self._geometry = metadata.file, metadata.geometry
        self._clusters: OrderedDict[int, bytes] = OrderedDict()

    def read(self, start: int, end: int) -> bytes:
        # Beyond the disk's end are zeros, whatever the tables have there (VM state, old data).
        if end > (size := self._metadata.header.size):
            if start < size:
                return self.read(start, size) + bytes(end - size)
            return bytes(end - start)
        parts = [self._read_run(run) for run in self._mapping.runs(start, end)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def parts(self, start: int, end: int) -> Iterator[Part]:
        """The range, which must end within the disk, as parts.

        Whole compressed clusters are one part.
        """
        packed: list[GuestRun] = []
        for run in self._mapping.runs(start, end):
            if run.kind is L2Kind.COMPRESSED and run.end - run.start == self._geometry.cluster_size:
                # Consecutive ones are one part: if their data lie together, they are read at once.
                packed.append(run)
                continue
            if packed:
                yield self._packed_part(packed)
                packed = []
            yield from self._run_parts(run)
        if packed:
            yield self._packed_part(packed)

    def _run_parts(self, run: GuestRun) -> Iterator[Part]:
        if run.kind is L2Kind.NORMAL:
            for part in self._metadata.data.parts(run.host, run.end - run.start, run.start):
                yield part.moved(run.start - run.host)
        elif run.kind is L2Kind.COMPRESSED:
            yield Part(run.start, run.end, partial(self._fill_within, run))
        elif run.kind is L2Kind.UNALLOCATED:
            yield from parts_of(self.backing, run.start, run.end)
        else:
            yield Part(run.start, run.end)

    def _packed_part(self, runs: list[GuestRun]) -> Part:
        _ = self._unpack  # ToolMissing is raised here, not in a thread
        unpack = partial(self._unpack_each, [run.entry for run in runs])
        return Part(runs[0].start, runs[-1].end, unpack, is_slow=True)

    def _fill_within(self, run: GuestRun, buffer: memoryview) -> None:
        buffer[:] = self._read_run(run)

    def extents(self, start: int, end: int) -> Iterator[Extent]:
        """Adjacent extents, joined if of one kind and depth."""
        last: Extent | None = None
        for extent in self._raw_extents(start, end):
            if last is not None and (last.kind, last.depth) == (extent.kind, extent.depth):
                last = Extent(last.start, extent.end, last.kind, last.depth)
                continue
            if last is not None:
                yield last
            last = extent
        if last is not None:
            yield last

    def own_extents(self, start: int, end: int) -> Iterator[Extent]:
        """The same as if there were no layer below."""
        return Reader(self._metadata, self._mapping, None).extents(start, end)

    def reads_as_zero(self, run: GuestRun) -> bool:
        """Whether a run is known to be zeros without looking at data."""
        if run.kind in (L2Kind.ZERO_PLAIN, L2Kind.ZERO_ALLOCATED):
            return True
        return run.kind is L2Kind.UNALLOCATED and (
            self.backing is None or run.start >= self.backing.size
        )

    def not_known_as_zero(self, run: GuestRun) -> Iterator[tuple[int, int]]:
        """The parts of a run that may not be zeros, in this layer or in those below."""
        if self.reads_as_zero(run):
            return
        if run.kind is not L2Kind.UNALLOCATED or self.backing is None:
            yield run.start, run.end
            return
        yield from data_in(self.backing, run.start, min(run.end, self.backing.size))

    def forget(self, entry: int) -> None:
        """New compressed data have been written to where this L2 entry points."""
        self._clusters.pop(entry, None)

    def _read_run(self, run: GuestRun) -> bytes:
        length = run.end - run.start
        if run.kind is L2Kind.NORMAL:
            return self._read_host(run.host, length, run.start)
        if run.kind is L2Kind.COMPRESSED:
            within = run.start % self._geometry.cluster_size
            return self._cluster(run.entry)[within : within + length]
        if run.kind is L2Kind.UNALLOCATED and self.backing is not None:
            return read_padded(self.backing, run.start, length)
        return _ZEROS[:length] if length <= len(_ZEROS) else bytes(length)

    def _read_host(self, offset: int, length: int, guest_offset: int) -> bytes:
        """Host bytes; the file's last cluster may be cut short, and then ends in zeros."""
        data = self._metadata.data
        inside = max(0, min(length, data.size - offset))
        found = data.read(offset, inside, guest_offset) if inside else b""
        return found.ljust(length, b"\0")

    def _cluster(self, entry: int) -> bytes:
        """A compressed cluster, known until forget(): nobody else writes the file."""
        if entry not in self._clusters:
            cluster = bytearray(self._geometry.cluster_size)
            self._unpack_each([entry], memoryview(cluster))
            self._clusters[entry] = bytes(cluster)
            if len(self._clusters) > _CLUSTERS_KEPT:
                self._clusters.popitem(last=False)
        return self._clusters[entry]

    def _unpack_each(self, entries: list[int], buffer: memoryview) -> None:
        """Fill `buffer` with whole clusters, in any thread once the unpacker is there."""
        unpack, size = self._unpack, self._geometry.cluster_size
        ranges = [CompressedRange.of(entry, self._geometry.cluster_bits) for entry in entries]
        for number, (source, place) in enumerate(zip(self._stored(ranges), ranges, strict=True)):
            try:
                unpack(source, buffer[number * size : (number + 1) * size])
            except ValueError as error:
                reason = f"the compressed cluster at {place.offset:#x} is broken: {error}"
                raise self._metadata.damaged(reason) from error

    @cached_property
    def _unpack(self) -> Unpacker:
        return unpacker(self._metadata.header.compression_type)

    def _stored(self, ranges: list[CompressedRange]) -> Iterator[memoryview]:
        """The stored bytes of each range, by one read if they are close together."""
        first = min(place.offset for place in ranges)
        # The last sector of compressed data may lie beyond the end of the file.
        end = min(max(place.offset + place.length for place in ranges), self._file.size)
        # Data written in order lie close together. Others are read one by one.
        if len(ranges) > 1 and end - first > _SPREAD * sum(place.length for place in ranges):
            for place in ranges:
                yield from self._stored([place])
            return
        stored = memoryview(bytearray(end - first))
        read_into(self._file, first, stored)
        for place in ranges:
            yield stored[place.offset - first : place.offset - first + place.length]

    def _raw_extents(self, start: int, end: int) -> Iterator[Extent]:
        has_holes = self._has_holes()
        for run in self._mapping.pieces(start, end, holes=has_holes):
            if isinstance(run, FragmentedRun):
                yield from self._fragmented_extents(run)
            elif has_holes and run.kind is L2Kind.NORMAL:
                yield from self._host_extents(run)
            elif run.kind in (L2Kind.NORMAL, L2Kind.COMPRESSED):
                yield Extent(run.start, run.end, ExtentKind.DATA)
            elif run.kind is not L2Kind.UNALLOCATED:
                yield Extent(run.start, run.end, ExtentKind.ZERO)
            else:
                yield from self._backing_extents(run.start, run.end)

    def _fragmented_extents(self, fragmented: FragmentedRun) -> Iterator[Extent]:
        """A cluster of which the host has a part only counts as data."""
        bits = self._geometry.cluster_bits
        for mark, first, last in fragmented.stretches():
            start, end = fragmented.start + (first << bits), fragmented.start + (last << bits)
            if mark == NOWHERE:
                yield from self._backing_extents(start, end)
            else:
                yield Extent(start, end, ExtentKind.ZERO if mark == HOLE else ExtentKind.DATA)

    def _has_holes(self) -> bool:
        """Whether much of the file is holes on the host: preallocated clusters never written to."""
        if self._metadata.header.crypt_method or self._metadata.data_file is not None:
            # what decrypts from zeros is none; and a data file is as large as the disk anyway
            return False
        try:
            # A tenth at least: to ask for holes takes time for each run.
            return self._metadata.path.stat().st_blocks * 512 < self._file.size * 9 // 10
        except OSError:
            return False

    def _host_extents(self, run: GuestRun) -> Iterator[Extent]:
        """A run of clusters, as the host has it: its holes read as zeros."""
        # The file may end within the run's last cluster: zeros follow.
        shift, length = run.start - run.host, min(run.end - run.start, self._file.size - run.host)
        for extent in self._file.extents(run.host, length):
            yield Extent(extent.start + shift, extent.end + shift, extent.kind)
        if run.start + length < run.end:
            yield Extent(run.start + length, run.end, ExtentKind.ZERO)

    def _backing_extents(self, start: int, end: int) -> Iterator[Extent]:
        if self.backing is not None and start < (stop := min(end, self.backing.size)):
            for extent in self.backing.extents(start, stop - start):
                # One layer further down. -1, no layer at all, stays.
                depth = extent.depth + 1 if extent.depth >= 0 else -1
                yield Extent(extent.start, extent.end, extent.kind, depth)
            start = stop
        if start < end:
            yield Extent(start, end, ExtentKind.ZERO, -1)
