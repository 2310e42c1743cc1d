"""The host clusters that a disk's tables name, also as joined runs in the file's order."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator

from growdisk.fast_dataclass import dataclass, field
from growdisk.qcow2.refcounts import Run

_RUN_BITS = 20  # a run is packed as first << 20 | count, so that a million of them take 8 MB
_COUNT_MASK = (1 << _RUN_BITS) - 1
MAX_CLUSTERS = 1 << 64 - _RUN_BITS  # that can be packed
_MAX_MARKS = 1 << 25
_ONE_MORE = bytes(min(value + 1, 0xFF) for value in range(256))


@dataclass
class References:
    """Host clusters that an L1 table reaches, one count each time."""

    packed_runs: array[int] = field(default_factory=lambda: array("Q"))
    # runs of one, as cluster indices
    singles: array[int] = field(default_factory=lambda: array("Q"))
    # cluster index: how many compressed clusters lie in it
    compressed: dict[int, int] = field(default_factory=dict)
    repeated: int | None = None  # a cluster that two entries claim as their own; known after runs()
    #: What _join() gave last, and of how many runs.
    joined: tuple[int, list[Run]] = field(default_factory=lambda: (0, []))

    def add(self, first: int, count: int) -> None:
        self.packed_runs.append(first << _RUN_BITS | count)

    def add_compressed(self, clusters: range) -> None:
        for cluster in clusters:
            self.compressed[cluster] = self.compressed.get(cluster, 0) + 1

    def runs(self) -> list[Run]:
        """All clusters as joined runs in the file's order; one that n compressed share, n times."""
        if self.joined[0] != len(self.packed_runs) + len(self.singles):
            self.joined = len(self.packed_runs) + len(self.singles), self._join()
        shared = [
            (cluster, 1) for cluster, times in sorted(self.compressed.items()) for _ in range(times)
        ]
        return self.joined[1] + shared

    def _join(self) -> list[Run]:
        runs = self._joined_by_marks() if self.singles else self._joined_in_order()
        # Compressed clusters may share a host cluster with each other, and with nothing else.
        starts = [first for first, _ in runs] if self.compressed else []
        for cluster in self.compressed if runs else ():
            first, count = runs[max(bisect_right(starts, cluster) - 1, 0)]
            if first <= cluster < first + count:
                self.repeated = cluster
        return runs

    def _joined_in_order(self) -> list[Run]:
        runs: list[Run] = []
        first, end = 0, 0
        for packed in sorted(
            [*self.packed_runs, *(cluster << _RUN_BITS | 1 for cluster in self.singles)]
        ):
            start, count = packed >> _RUN_BITS, packed & _COUNT_MASK
            if start != end:
                # An overlap: the counts are refused then, so the runs need not be right any more.
                if start < end:
                    self.repeated = start
                if end > first:
                    runs.append((first, end - first))
                first = start
            end = start + count
        if end > first:
            runs.append((first, end - first))
        return runs

    def _joined_by_marks(self) -> list[Run]:
        """As `_joined_in_order`, by a byte for each cluster: quicker if most are alone."""
        # At least one more than the highest cluster: where the last run begins, rounded up, and the
        # length of the longest run.
        end = (
            max(max(self.singles), max(self.packed_runs, default=0) + _COUNT_MASK >> _RUN_BITS) + 1
        )
        end += max((packed & _COUNT_MASK for packed in self.packed_runs), default=0)
        if end > _MAX_MARKS:
            return self._joined_in_order()
        marks = bytearray(end)
        try:
            for cluster in self.singles:
                marks[cluster] += 1
        except ValueError:  # more often than a byte can tell
            return self._joined_in_order()
        for packed in self.packed_runs:
            area = slice(start := packed >> _RUN_BITS, start + (packed & _COUNT_MASK))
            marks[area] = marks[area].translate(_ONE_MORE)
        if (twice := re.search(rb"[^\0\1]", marks)) is not None:
            self.repeated = twice.start()
        return [
            (found.start(), found.end() - found.start()) for found in re.finditer(rb"[^\0]+", marks)
        ]


def overlaid(runs: Iterable[Run]) -> Iterator[tuple[int, int, int]]:
    """Runs that may overlap as (first cluster, clusters, runs that have them), in order."""
    # 5 to 9 and 7 to 8: one run more from 5 on, one more from 7 on, one less from 9 and from 10 on.
    changes: Counter[int] = Counter()
    for first, count in runs:
        changes[first] += 1
        changes[first + count] -= 1
    start, times = 0, 0
    for place in sorted(changes):
        if not changes[place]:
            continue
        if times:
            yield start, place - start, times
        start, times = place, times + changes[place]
