"""A file copied byte for byte, with its holes: like cp --sparse.

Where the file system can let two files share blocks (XFS, btrfs), they do. Otherwise the kernel
moves the data, or they go past the host's cache to its disk.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Literal

from growdisk.api.images.data_copy import Progress, copy_everything, copy_nonzero, copy_ranges
from growdisk.api.images.new_file import NewFile
from growdisk.api.images.opening import data_length, refuse_small_device, report_create_errors
from growdisk.block.device import Extent, ExtentKind
from growdisk.block.raw import RawFile
from growdisk.units import split_range

Sparse = Literal["auto", "always", "never"]
_CHUNK = 8 << 20
_SMALLEST_HOLE = 4096


def copy_image(source: Path, path: Path, sparse: Sparse, progress: Progress) -> int:
    """Copy under the reader's lock, and return the size. After a failure nothing is there.

    `sparse`: auto: holes stay holes; always: zeros become holes; never: holes become zeros.
    """
    with closing(RawFile.open(source)) as file:
        takes = (lambda: file.size) if sparse == "never" else (lambda: data_length(file))
        with report_create_errors(path, takes), NewFile(path) as new:
            with closing(new.open()) as copy:
                refuse_small_device(copy, file.size)
                copy.write_behind()
                _fill(file, copy, sparse, progress)
            new.publish()
            return file.size


def _fill(file: RawFile, copy: RawFile, sparse: Sparse, progress: Progress) -> None:
    if sparse == "auto" and copy.clone_from(file):
        progress(file.size, file.size)
        return
    copy.resize(file.size)
    if sparse == "always":
        if copy.is_block_device:
            copy_everything(file, copy, _SMALLEST_HOLE, progress)
        else:
            copy_nonzero(file, _SMALLEST_HOLE, copy.write, progress)
        return
    # A new file reads as zeros where nothing is written; a device shows what was on it.
    if copy.is_block_device or sparse == "never":
        for hole in (
            extent for extent in file.extents(0, file.size) if extent.kind is ExtentKind.ZERO
        ):
            _fill_hole(copy, hole, sparse)
    data = (
        (extent.start, extent.end)
        for extent in file.extents(0, file.size)
        if extent.kind is ExtentKind.DATA
    )
    pieces = (piece for extent in data for piece in split_range(*extent, _CHUNK))
    for start, end in pieces:
        copy.copy_from(file, start, end - start)
        progress(end, file.size)
        # The kernel copies through the host's cache; past it the data go through our buffers.
        if copy.writes_directly:
            copy_ranges(file, pieces, copy.write, progress)
    progress(file.size, file.size)


def _fill_hole(copy: RawFile, hole: Extent, sparse: Sparse) -> None:
    if sparse == "never":
        for start, end in split_range(hole.start, hole.end, _CHUNK):
            copy.write(start, bytes(end - start))
    else:
        copy.write_zeros(hole.start, hole.length)
