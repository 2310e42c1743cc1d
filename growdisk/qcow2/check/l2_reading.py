"""The L2 tables of an image as a check reads them: as runs, or as a list if fragmented.

A check looks twice, first for references and then for COPIED; what it has learned of a table takes
little memory, and is kept for the second time.
"""

from __future__ import annotations

from growdisk.block.device import BlockDevice
from growdisk.qcow2.check.entry_runs import RunFinder
from growdisk.qcow2.check.fragmented_tables import FragmentedTable, FragmentedTables
from growdisk.qcow2.check.stored_refcounts import read_padded
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.header import Header

Runs = list[tuple[int, int]]  # (first entry, number of entries)
_RUN_BYTES, _ENTRY_BYTES = 160, 9  # about what a run, and what an entry of a scattered table, takes
_MAX_KEPT = 32 << 20
_MAX_MISPLACED = 4 << 20  # bytes of tables that are not aligned, which may overlap without end


class L2Reader:
    """Reads standard L2 tables; callers take the bitmaps out of extended ones first."""

    def __init__(self, file: BlockDevice, header: Header) -> None:
        self._file, self._size = file, header.cluster_size
        self.extended = header.has(Incompatible.EXTENDED_L2)
        self._is_plain = not header.has(Incompatible.DATA_FILE)
        # Bit 0 is a zero flag in version 3 alone, and only without subclusters.
        zeros = header.version >= 3 and not self.extended
        self._runs = RunFinder(header.cluster_size, zero_flag=zeros)
        clusters = -(-file.size // header.cluster_size)
        self._scattered = FragmentedTables(header.cluster_bits, clusters, zero_flag=zeros)
        self._kept: dict[int, FragmentedTable | Runs] = {}
        self._room = _MAX_KEPT
        self._misplaced: set[int] = set()  # offsets of tables that are not aligned

    def raw(self, offset: int) -> bytes:
        """A table as it stands in the file; nothing if it lies beyond the file's end.

        Nothing either if too many that are not aligned have been read: they are errors anyway.
        """
        if offset >= self._file.size or not self._is_worth_reading(offset):
            return b""
        return read_padded(self._file, offset, self._size)

    def _is_worth_reading(self, offset: int) -> bool:
        if offset % self._size and offset not in self._misplaced:
            if (len(self._misplaced) + 1) * self._size > _MAX_MISPLACED:
                return False
            self._misplaced.add(offset)
        return True

    def read(self, offset: int) -> FragmentedTable | Runs:
        """A table whose clusters lie anywhere, or the runs of any other."""
        kept = self._kept.get(offset)
        if kept is not None:
            return kept
        table = self.raw(offset)
        # Entries for a data file may have offset 0 and a meaning: always as runs.
        found = (self._scattered.read(table) if self._is_plain else None) or self.runs(table)
        size = (
            _ENTRY_BYTES * len(found.clusters)
            if isinstance(found, FragmentedTable)
            else _RUN_BYTES * len(found)
        )
        if size <= self._room:
            self._room -= size
            self._kept[offset] = found
        return found

    def runs(self, table: bytes) -> Runs:
        """The runs of entries that follow one another."""
        return list(self._runs.runs(table))
