"""The files whose bytes an image shows beside its own: its data file, and what it lies on.

They are found by their names, without a lock and without opening what may not be followed. Where
that ends, the reason is reported when the image is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from growdisk.block.raw import RawFile
from growdisk.errors import ImageError
from growdisk.qcow2.backing import MAX_DEPTH, data_file_path
from growdisk.qcow2.features import Incompatible
from growdisk.qcow2.header import read_header
from growdisk.qcow2.named_files import backing_path, real, require_trusted
from growdisk.qcow2.probe import ImageFormat

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from growdisk.qcow2.header import Header

RAW_NAMES = ("raw", "file", "host_device")


def files_below(path: Path) -> Iterator[tuple[Path, ImageFormat]]:
    """The data file of the image at `path`, then layer for layer what it lies on.

    Each with its format; one that can only be probed counts as qcow2.
    """
    above: list[Path] = []
    seen = {real(path)}
    # Ends at the first file that is not a qcow2 image, or cannot be read.
    while len(above) <= MAX_DEPTH and (header := _header(path)) is not None:
        with suppress(ImageError):
            # A data file outside the folder is not followed; what the image lies on may be all the
            # same.
            if header.has(Incompatible.DATA_FILE):
                yield data_file_path(path, header), "raw"
        try:
            if header.backing_file is None:
                return
            below = backing_path(path, header.backing_file)
            require_trusted(path, below, header.backing_file, "backing file", above)
        except ImageError:
            return
        if real(below) in seen:
            # A chain that leads back into itself.
            return
        is_raw = header.backing_format in RAW_NAMES
        yield below, "raw" if is_raw else "qcow2"
        if is_raw:
            return
        above.append(path)
        seen.add(real(below))
        path = below


def _header(path: Path) -> Header | None:
    try:
        with closing(RawFile.open(path, lock=False)) as file:
            return read_header(file, path)
    except (ImageError, OSError):
        return None
