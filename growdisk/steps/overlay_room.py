"""Room on the host that a run on overlays needs for the image below them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from growdisk.block.device import BlockDevice, ExtentKind
from growdisk.block.raw import RawFile
from growdisk.durable import read_record, remove_files, replace_file
from growdisk.qcow2.entries import COPIED, L2Kind
from growdisk.qcow2.image import Qcow2Image
from growdisk.units import align_down, align_up, joined

_SECTOR = 512
Range = tuple[int, int]  # bytes [start, end)


class ReservedRoom:
    """What is taken in `file`, as recorded at `path`."""

    def __init__(self, path: Path, file: RawFile) -> None:
        self._path, self._file = path, file
        self._trial = path.with_name("trial")

    def take(self, ranges: Iterable[Range]) -> None:
        """Allocate these ranges, after the end of the file too; its content stays.

        OSError if there is no room.
        """
        wanted = sorted(ranges)
        size, holes = self._read()
        # Only what had no blocks is given back later. What is beyond the end is known by `size`.
        new = [hole for at, end in wanted for hole in self._file.unallocated(at, min(end, size))]
        # The record first: what a crash leaves reserved, give_back() has to know of.
        replace_file(self._path, json.dumps({"size": size, "holes": [*holes, *new]}).encode())
        for start, end in wanted:
            self._file.reserve(start, end - start)

    def try_length(self, length: int) -> None:
        """OSError EFBIG if no file can be so long, of this process or on this file system.

        Tried on another one.
        """
        self._trial.unlink(missing_ok=True)
        try:
            RawFile.create(self._trial, length, lock=False).close()
        finally:
            self._trial.unlink(missing_ok=True)

    def give_back(self) -> None:
        """The file has just the blocks that it had before; its content must be what it was then."""
        size, holes = self._read()
        # Somebody else may have changed the file's length since: then nothing is known.
        if self._file.size in (size, align_up(size, _SECTOR)) and not self._file.is_block_device:
            for start, end in holes:
                self._file.discard(start, end - start)
            self._file.trim(size)
            self._file.flush()
        self.forget()

    def trim(self) -> None:
        """It has been used; what is left of it after the end of the file goes."""
        self._file.trim(self._file.length)
        self._file.flush()

    def forget(self) -> None:
        """Nothing will be given back any more."""
        # two are of a crash
        remove_files(self._path, self._trial, self._path.with_name(self._path.name + ".new"))

    def _read(self) -> tuple[int, list[Range]]:
        """How long the file was, and where it had nothing, before the first take()."""
        if not self._path.exists():
            return self._file.length, []
        try:
            recorded = json.loads(read_record(self._path))
            return recorded["size"], [(start, end) for start, end in recorded["holes"]]
        except (OSError, ValueError, LookupError, TypeError):
            # nothing is known to be too much; the guest's bytes do not depend on it
            return self._file.length, []


# What a redo of overlays will fill in the host's file below them: a bound, before the first write.


def room_for_redo(base: BlockDevice, overlays: Sequence[Qcow2Image]) -> list[Range]:
    """Ranges of the base's file that must have blocks."""
    # Where any of them has data, adjacent ranges joined.
    found = sorted(
        (extent.start, extent.end)
        for overlay in overlays
        for extent in overlay.own_extents()
        if extent.kind is ExtentKind.DATA
    )
    data = list(joined(found))
    if not isinstance(base, Qcow2Image):
        return data
    length = _new_clusters(base, data, max((one.size for one in overlays), default=base.size))
    end = base.end_of_used
    return [*base.metadata_ranges(), *_in_place(base, data), (end, end + length)]


def _new_clusters(base: Qcow2Image, data: list[Range], size: int) -> int:
    """Bytes of the clusters that a qcow2 image will have to add, tables and counts among them."""
    geometry = base.header.geometry
    own = sum(_clusters_to_add(base, data))
    # One L2 table for each part that gets data, and a longer L1 table once more.
    tables = len(
        {
            index
            for a, b in data
            for index in range(a // geometry.l2_coverage, -(-b // geometry.l2_coverage))
        }
    )
    l1 = geometry.clusters(8 * geometry.l1_entries(size))
    total = own + tables + l1
    # Refcount blocks count themselves, too: two more. A longer refcount table gets half as many
    # entries again (Allocator): twice as many is a bound.
    blocks = total // geometry.refblock_entries + 2
    reftable = geometry.clusters(
        8 * (base.header.reftable_clusters * geometry.cluster_size // 8 + blocks) * 2
    )
    return (total + blocks + reftable + 2) * geometry.cluster_size


def _in_place(base: Qcow2Image, data: list[Range]) -> Iterator[Range]:
    """The ranges of the file that will be overwritten. A copy of an image may have holes there."""
    for start, end in data:
        for run in base.runs(start, min(end, base.size) - start) if start < base.size else ():
            if run.kind is L2Kind.NORMAL:
                yield run.host, run.host + run.end - run.start


def _clusters_to_add(base: Qcow2Image, data: list[Range]) -> Iterator[int]:
    """For each range the clusters that the base does not have for itself alone."""
    size = base.header.cluster_size
    for start, end in data:
        # Clusters from `inside` on are not wholly within the base: all of them count as new.
        inside = min(align_up(end, size), align_down(base.size, size))
        first = align_down(start, size)
        yield (align_up(end, size) - max(first, inside)) // size if end > inside else 0
        for run in base.runs(first, inside - first) if first < inside else ():
            # Not there, compressed, or shared with a snapshot: written to a cluster of its own.
            if run.kind is not L2Kind.NORMAL or not run.entry & COPIED:
                yield -(-(run.end - run.start) // size)
