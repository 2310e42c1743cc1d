"""A file copied byte for byte, with its holes: like cp --sparse, and the kernel moves the data where it can."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from growdisk.api.images.new_file import NewFile
from growdisk.api.images.opening import data_length, refuse_small_device, report_create_errors
from growdisk.api.images.pumping import Progress, nonzero_pieces, write_pieces
from growdisk.block.device import ExtentKind
from growdisk.block.raw import RawFile
from growdisk.units import split_range

Sparse = Literal["auto", "always", "never"]
_CHUNK = 8 << 20
_SMALLEST_HOLE = 4096


def copy_image(source: Path, path: Path, sparse: Sparse, progress: Progress) -> int:
    """Copy under the reader's lock. auto: holes stay holes; always: zeros become holes; never: holes become zeros.

    Returns the size. After a failure nothing is there.
    """
    file = RawFile.open(source)
    try:
        takes = (lambda: file.size) if sparse == "never" else (lambda: data_length(file))
        with report_create_errors(path, takes), NewFile(path) as new:
            copy = new.open()
            try:
                refuse_small_device(copy, file.size)
                copy.write_behind()
                _fill(file, copy, sparse, progress)
            finally:
                copy.close()
            new.publish()
            return file.size
    finally:
        file.close()


def _fill(file: RawFile, copy: RawFile, sparse: Sparse, progress: Progress) -> None:
    copy.resize(file.size)
    if sparse == "always":
        pieces = nonzero_pieces(file, _SMALLEST_HOLE, progress)
        write_pieces(copy, pieces, file.size if copy.is_block_device else 0)
        return
    for extent in file.extents(0, file.size):
        for start, end in split_range(extent.start, extent.end, _CHUNK):
            if extent.kind is ExtentKind.DATA:
                copy.copy_from(file, start, end - start)
            elif sparse == "never":
                copy.write(start, bytes(end - start))
            elif copy.is_block_device:
                copy.write_zeros(start, end - start)
            progress(end, file.size)
    progress(file.size, file.size)
