"""Checks before the first write of a change, so that a refusal leaves the file as it was.

The engine checks every entry again when it meets it. But in the middle of a change that is too late
if the image's tables are wrong: others have been written by then.
"""

from __future__ import annotations

from growdisk.qcow2.entries import L2Kind
from growdisk.qcow2.header_rules import damaged
from growdisk.qcow2.l1_walk import Walker
from growdisk.qcow2.mapping import Mapping
from growdisk.qcow2.metadata import Metadata
from growdisk.qcow2.reader import Reader
from growdisk.units import align_down, align_up


class Preflight:
    """Changes nothing.

    Each method raises ImageDamaged (or ImageUnsupported) if the change could not be finished.
    """

    def __init__(
        self, metadata: Metadata, mapping: Mapping, reader: Reader, walker: Walker
    ) -> None:
        self._metadata = metadata
        self._mapping = mapping
        self._reader = reader
        self._walker = walker
        self._geometry = metadata.geometry

    def guest_change(self, start: int, end: int) -> None:
        """Before the guest bytes [start, end) are written, zeroed or dropped."""
        self._metadata.allocator.check_metadata()
        self._entries(start, end)
        cluster_size = self._geometry.cluster_size
        # The rest of the first and the last cluster is copied into new ones: it must be readable.
        for first, last in (
            (align_down(start, cluster_size), start),
            (end, align_up(end, cluster_size)),
        ):
            self._readable(first, min(last, self._metadata.header.size))

    def resizing(self, size: int) -> None:
        """Before the disk gets another size."""
        header = self._metadata.header
        if size < header.size:
            self.dropping_behind(size)
        elif size > header.size:
            self._metadata.allocator.check_metadata()
            self._droppable(header.size)
            # The rest of the last cluster is zeroed, as a guest's write would be.
            cluster_end = align_up(header.size, self._geometry.cluster_size)
            if header.size < cluster_end:
                self._entries(header.size, cluster_end)
                self._readable(align_down(header.size, self._geometry.cluster_size), header.size)
            # The L1 table is freed if a longer one takes its place.
            l1_run = (
                header.l1_offset >> header.cluster_bits,
                self._geometry.clusters(8 * header.l1_size),
            )
            bad = self._metadata.refcounts.first_outside([l1_run], 1, self._geometry.refcount_max)
            if bad is not None:
                raise self._walker.bad_count(*bad)

    def dropping_behind(self, size: int) -> None:
        """Before everything beyond a disk of `size` bytes is dropped."""
        self._metadata.allocator.check_metadata()
        self._droppable(size)

    def _droppable(self, size: int) -> None:
        self._metadata.flush()  # earlier changes, if any: the walker reads from the file
        l1, coverage = self._metadata.l1, self._geometry.l2_coverage
        kept = self._geometry.l1_entries(size)
        self._walker.check_counts(self._walker.references(l1[kept:]), up=False)
        start = align_up(size, self._geometry.cluster_size)
        self._entries(start, min(align_up(size, coverage), len(l1) * coverage))

    def _entries(self, start: int, end: int) -> None:
        """The entries of a range are sound; what they name is counted and is not metadata."""
        if start >= end:
            return
        for _ in self._mapping.runs(start, end):
            pass  # each is validated when it is met
        references = self._walker.range_references(start, end)
        self._walker.check_counts(references, up=False)
        for first, count in references.runs():
            cluster = self._metadata.allocator.metadata_in(first, count)
            if cluster is not None:
                raise damaged(
                    self._metadata.path,
                    f"cluster {cluster:#x} is guest data and holds metadata too",
                )

    def _readable(self, start: int, end: int) -> None:
        """Read compressed clusters that will be written to in part: their data may be broken."""
        if start < end and any(
            run.kind is L2Kind.COMPRESSED for run in self._mapping.runs(start, end)
        ):
            self._reader.read(start, end)
