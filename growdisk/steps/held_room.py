"""Room on the host that a run takes for the image while there still is a way back, and how it gives that back.

What making the result final will fill is allocated before, so that it cannot fail for want of room. What had no blocks
until then is written down first: a run that goes back, in whatever process, gives just that back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from growdisk.block.raw import RawFile
from growdisk.durable import replace_file, sync_directory
from growdisk.units import align_up

_SECTOR = 512
Range = tuple[int, int]  # bytes [start, end)


class HeldRoom:
    """What is taken in `file`, as told by the record at `path`."""

    def __init__(self, path: Path, file: RawFile) -> None:
        self._path, self._file = path, file
        self._trial = path.with_name("trial")

    def take(self, ranges: Iterable[Range]) -> None:
        """Allocate these ranges, behind the end of the file too; its content stays. OSError where there is no room."""
        wanted = sorted(ranges)
        size, holes = self._read()
        new = [hole for start, end in wanted for hole in self._file.unallocated(start, min(end, size))]
        replace_file(self._path, json.dumps({"size": size, "holes": [*holes, *new]}).encode())
        for start, end in wanted:
            self._file.reserve(start, end - start)

    def try_length(self, length: int) -> None:
        """OSError EFBIG where no file can be so long, of this process or on this file system. Tried on another one."""
        self._trial.unlink(missing_ok=True)
        try:
            RawFile.create(self._trial, length, lock=False).close()
        finally:
            self._trial.unlink(missing_ok=True)

    def give_back(self) -> None:
        """The file has just the blocks that it had before; its content must be what it was then."""
        size, holes = self._read()
        if self._file.size in (size, align_up(size, _SECTOR)) and not self._file.is_block_device:
            for start, end in holes:
                self._file.discard(start, end - start)
            self._file.trim(size)
            self._file.flush()
        self.forget()

    def trim(self) -> None:
        """It has been used; what is left of it behind the end of the file goes."""
        self._file.trim(self._file.length)
        self._file.flush()

    def forget(self) -> None:
        """Nothing will be given back any more."""
        for path in (self._path, self._trial, self._path.with_name(self._path.name + ".new")):  # two are of a crash
            if path.exists():
                path.unlink()
                sync_directory(path.parent)

    def _read(self) -> tuple[int, list[Range]]:
        """How long the file was, and where it had nothing, before the first take()."""
        if not self._path.exists():
            return self._file.length, []
        told = json.loads(self._path.read_bytes())
        return told["size"], [(start, end) for start, end in told["holes"]]
