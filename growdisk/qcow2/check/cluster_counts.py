"""A number for every cluster of a file: how often it is referenced, or what its refcount says.

Sparse, in segments of 4096 clusters, one byte a cluster: 1 TiB of 64 KiB clusters takes 16 MiB.

    cluster          8191          8192          9000
    segment, index   1, 4095       2, 0          2, 808
    number           1             1             300
    kept as          bytearray     array("Q"), because 300 is more than a byte can tell

So nothing is ever cut off. Numbers that are scattered over a file of 2^60 bytes would need a
segment each: then there is a limit.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import itemgetter

SEGMENT_BITS = 12
SEGMENT = 1 << SEGMENT_BITS
_FULL = 255  # what a byte cannot tell from "more"; a segment that reaches it is widened
_ZEROS = bytes(SEGMENT)
_FLAT_SEGMENTS = 1024  # 4 MiB: what may be copied for the clusters of one table
_NEAR_SEGMENTS = 128  # with the first: so few are quicker copied than the lowest cluster is found
_IS_ONE = bytes(value == 1 for value in range(256))
_LEAF = 256  # clusters that are compared one by one
MAX_SEGMENTS = 1 << 16  # 256 MiB, enough for 16 TiB of 64 KiB clusters wherever they lie
Run = tuple[int, int]


class TooScattered(Exception):
    """More segments would be needed than are allowed."""


class ClusterCounts:
    """Numbers by cluster index, all zero at first."""

    def __init__(self, max_segments: int = MAX_SEGMENTS) -> None:
        self._segments: dict[int, bytearray | array[int]] = {}
        self._max_segments = max_segments
        # what _flat() gave last, for which segments
        self._copy: tuple[int, int, bytes] | None = None

    def __getitem__(self, cluster: int) -> int:
        segment = self._segments.get(cluster >> SEGMENT_BITS)
        return segment[cluster & SEGMENT - 1] if segment is not None else 0

    def add(self, cluster: int, times: int = 1) -> None:
        """Count one cluster `times` more often."""
        segment, index = self._segment(cluster >> SEGMENT_BITS), cluster & SEGMENT - 1
        value = segment[index] + times
        if value >= _FULL and isinstance(segment, bytearray):
            segment = self._widen(cluster >> SEGMENT_BITS)
        segment[index] = value

    def add_run(self, first: int, length: int, times: int = 1) -> None:
        """Count `length` clusters from `first` on `times` more often."""
        if length == 1:
            return self.add(first, times)
        for number, low, high in _split(first, length):
            segment = self._segment(number)
            if isinstance(segment, bytearray):
                raised = segment[low:high].translate(_raised_by(times))
                if _FULL not in raised:
                    segment[low:high] = raised
                    continue
                segment = self._widen(number)
            for index in range(low, high):
                segment[index] += times
        return None

    def add_each(self, clusters: Sequence[int], highest: int, times: int = 1) -> None:
        """Count each of these `times` more often, wherever they lie."""
        first, last = self._segments_of(clusters, highest)
        # All segments that these clusters lie in as one piece, so that counting is an index each.
        flat, base = bytearray(self._flat(first, last)), first << SEGMENT_BITS
        self._copy = None
        try:
            if base:
                for cluster in clusters:
                    flat[cluster - base] += times
            else:
                for cluster in clusters:
                    flat[cluster] += times
        except (ValueError, IndexError):  # more than a byte can tell, or too wide an area
            flat = bytearray()
        # The piece is a copy: it is dropped, and each cluster is counted by itself.
        if not flat or _FULL in flat:
            for cluster in clusters:
                self.add(cluster, times)
            return
        for number in range(first, last + 1):
            part = flat[(number - first) << SEGMENT_BITS : (number + 1 - first) << SEGMENT_BITS]
            # A segment that got no count is not made.
            if number in self._segments or any(part):
                self._segments[number] = part

    def ones_among(self, clusters: Sequence[int], highest: int) -> bytes:
        """1 for each of these that has exactly the number one, else 0, wherever they lie."""
        first, last = self._segments_of(clusters, highest)
        flat, base = self._flat(first, last), first << SEGMENT_BITS
        if not flat or len(clusters) < 2:
            return bytes(self[cluster] == 1 for cluster in clusters)
        return bytes(
            # itemgetter takes all in one call. Of a single index it would give no tuple.
            itemgetter(*([c - base for c in clusters] if base else clusters))(flat)
        ).translate(_IS_ONE)

    def _segments_of(self, clusters: Sequence[int], highest: int) -> tuple[int, int]:
        """The first and the last segment to be copied for these clusters."""
        # From segment 0 if that is near: then no base has to be subtracted from each index.
        last = highest >> SEGMENT_BITS
        return (0 if last < _NEAR_SEGMENTS else min(clusters) >> SEGMENT_BITS), last

    def put(self, first: int, values: Sequence[int]) -> None:
        """Set the numbers of len(values) clusters from `first` on."""
        for number, low, high in _split(first, len(values)):
            start = (number << SEGMENT_BITS) + low - first
            part = values[start : start + high - low]
            segment = self._segment(number)
            if isinstance(segment, bytearray):
                # Bytes are searched faster than max() goes through them.
                are_bytes = isinstance(part, (bytes, bytearray))
                if (are_bytes and _FULL not in part) or max(part) < _FULL:
                    segment[low:high] = bytes(part)
                    continue
                segment = self._widen(number)
            segment[low:high] = array("Q", list(part))  # a list: bytes would be taken as raw memory

    def get(self, first: int, length: int) -> Sequence[int]:
        """The numbers of `length` clusters from `first` on; bytes if they are small."""
        parts = [self._part(*piece) for piece in _split(first, length)]
        if len(parts) == 1:
            return parts[0]
        if all(isinstance(part, (bytes, bytearray)) for part in parts):
            return b"".join(bytes(part) for part in parts)
        return array("Q", [value for part in parts for value in part])

    def ones(self, first: int, length: int) -> int:
        """How many of `length` clusters from `first` on have exactly the number one."""
        return sum(
            _ones(self._segments.get(number), low, high)
            for number, low, high in _split(first, length)
        )

    def others_than_one(self, first: int, length: int) -> Iterator[int]:
        """Those of `length` clusters from `first` on that have not the number one."""
        for number, low, high in _split(first, length):
            # Nearly always all have it, and that is quicker to tell.
            if _ones(self._segments.get(number), low, high) < high - low:
                part, base = self._part(number, low, high), (number << SEGMENT_BITS) + low
                yield from (base + index for index, value in enumerate(part) if value != 1)

    def differing(self, other: ClusterCounts, end: int) -> Iterator[tuple[range, int, int]]:
        """(clusters, own number, other's number) where the two differ before `end`.

        A row for each cluster, or for all of a leaf that are alike: a file of 256 KiB can have
        references to 2^28 clusters that are not counted.
        """
        for number in sorted(self._segments.keys() | other._segments.keys()):
            base = number << SEGMENT_BITS
            high = max(0, min(SEGMENT, end - base))
            mine, theirs = self._part(number, 0, high), other._part(number, 0, high)
            if mine == theirs:
                continue
            for low in range(0, high, _LEAF):
                ours, others = mine[low : low + _LEAF], theirs[low : low + _LEAF]
                if ours == others:
                    continue
                first, size = base + low, len(ours)
                if ours.count(ours[0]) == others.count(others[0]) == size:
                    # Bytes and wide numbers may say the same, and are not equal.
                    if ours[0] != others[0]:
                        yield range(first, first + size), ours[0], others[0]
                    continue
                for place, (one, two) in enumerate(zip(ours, others, strict=True), first):
                    if one != two:
                        yield range(place, place + 1), one, two

    def segments(self) -> list[Run]:
        """(first cluster, number of clusters) of all areas that may have counts, in order."""
        return [(number << SEGMENT_BITS, SEGMENT) for number in sorted(self._segments)]

    def last_used(self, end: int) -> int:
        """The highest cluster before `end` with a count other than 0; -1 if there is none."""
        for number in sorted(self._segments, reverse=True):
            base = number << SEGMENT_BITS
            part = self._part(number, 0, max(0, min(SEGMENT, end - base)))
            # A segment of 64-bit numbers as one byte each, so that rstrip() finds the end of both.
            used = len((bytes(map(bool, part)) if isinstance(part, array) else part).rstrip(b"\0"))
            if used:
                return base + used - 1
        return -1

    def above(self, limit: int) -> Iterator[tuple[int, int]]:
        """(cluster, number) of all numbers greater than `limit`."""
        for number, segment in sorted(self._segments.items()):
            if isinstance(segment, bytearray) and (
                # strip() leaves nothing exactly if no number is above the limit.
                limit >= _FULL or not segment.strip(bytes(range(limit + 1)))
            ):
                continue
            # A copy: the caller may change a number that it was given.
            for index, value in enumerate(segment[:]):
                if value > limit:
                    yield (number << SEGMENT_BITS) + index, value

    def _part(self, number: int, low: int, high: int) -> bytes | bytearray | array[int]:
        segment = self._segments.get(number)
        return _ZEROS[low:high] if segment is None else segment[low:high]

    def _flat(self, first: int, last: int) -> bytes:
        """The numbers in these segments; nothing if they are many, or too large for bytes."""
        if self._copy is not None and self._copy[:2] == (first, last):
            return self._copy[2]
        parts = [
            self._part(number, 0, SEGMENT)
            for number in range(first, min(last, first + _FLAT_SEGMENTS) + 1)
        ]
        if last - first >= _FLAT_SEGMENTS or any(isinstance(part, array) for part in parts):
            return b""
        flat = b"".join(bytes(part) for part in parts)
        self._copy = first, last, flat
        return flat

    def _segment(self, number: int) -> bytearray | array[int]:
        self._copy = None
        segment = self._segments.get(number)
        if segment is None:
            if len(self._segments) >= self._max_segments:
                raise TooScattered
            segment = self._segments[number] = bytearray(SEGMENT)
        return segment

    def _widen(self, number: int) -> array[int]:
        self._max_segments -= 7  # it takes the room of eight
        wide = self._segments[number] = array("Q", list(self._segments[number]))
        return wide


@lru_cache(maxsize=256)
def _raised_by(times: int) -> bytes:
    """For translate(): every number that a byte can tell, so much higher."""
    return bytes(min(value + times, _FULL) for value in range(256))


def _split(first: int, length: int) -> Iterator[tuple[int, int, int]]:
    """A run of clusters cut at segment borders: (segment number, low, high)."""
    end = first + length
    while first < end:
        stop = min((first >> SEGMENT_BITS) + 1 << SEGMENT_BITS, end)
        low = first & SEGMENT - 1
        yield first >> SEGMENT_BITS, low, low + stop - first
        first = stop


def _ones(segment: bytearray | array[int] | None, low: int, high: int) -> int:
    if segment is None:
        return 0
    if isinstance(segment, bytearray):
        return segment.count(1, low, high)
    return segment[low:high].count(1)
