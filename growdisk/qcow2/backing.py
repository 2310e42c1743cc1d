"""The other files of an image, opened: its backing chain, its external data file.

What their names mean: named_files.py. Loops are refused, and every layer is locked for reading. A
backing file without a recorded format is probed as QEMU does it; any other format than ours is
refused, never taken for raw.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.block.raw import RawFile
from growdisk.errors import ImageNotReadable, ImageUnsupported, shell_word
from growdisk.fast_dataclass import replace
from growdisk.qcow2.features import Autoclear, Incompatible
from growdisk.qcow2.header import Extension, Header
from growdisk.qcow2.header_fields import MAX_BACKING_NAME, damaged
from growdisk.qcow2.named_files import backing_path, data_path, exists, real, require_trusted
from growdisk.qcow2.probe import probe_backing

MAX_DEPTH = 200
ATOMIC = 512  # bytes of a header that are on the disk all at once or not at all
_DEEP, _CALLS_PER_LAYER = 40, 50
OpenQcow2 = Callable[[Path, tuple[Path, ...]], BlockDevice]


def open_backing(
    image: Path, header: Header, above: tuple[Path, ...], open_qcow2: OpenQcow2
) -> BlockDevice | None:
    """The opened backing file of an image, or None if it has none.

    `above`: the real paths of the layers on top.
    """
    if header.backing_file is None:
        return None
    path = backing_path(image, header.backing_file)
    require_trusted(image, path, header.backing_file, "backing file", above)
    chain = (*above, real(image))
    # By real paths: two names of one file would hide a loop.
    if real(path) in chain:
        raise ImageUnsupported(
            image,
            reason=f"its backing file '{header.backing_file}' is an image of its own chain",
            hint="give one of them another backing file (growdisk image rebase --unsafe "
            "--overlays-may-break); nothing was changed",
        )
    if len(chain) > MAX_DEPTH:
        raise ImageUnsupported(image, reason=f"its backing chain has more than {MAX_DEPTH} layers")
    if len(chain) > _DEEP:  # a read goes down through all layers, in several calls each
        sys.setrecursionlimit(max(sys.getrecursionlimit(), _CALLS_PER_LAYER * MAX_DEPTH))
    if not exists(path):
        raise ImageNotReadable(
            path,
            reason=f"it is the backing file of {image} and does not exist",
            hint="put it back, or name its new place: growdisk image rebase --unsafe -b FILE "
            f"{shell_word(image)}",
        )
    kind = header.backing_format or _probed(path)
    if kind == "qcow2":
        return open_qcow2(path, chain)
    # QEMU's drivers for the bytes of a file or device, if they are named as the format.
    if kind == "raw" or kind == ("host_device" if path.is_block_device() else "file"):
        return RawFile.open_disk(path)
    raise ImageUnsupported(
        image,
        reason=f"its backing file has the format '{kind}'; growdisk knows qcow2 and raw",
        hint=f"qemu-img convert -O qcow2 {shell_word(image)} NEW.qcow2 makes one image of both; "
        "growdisk has not changed it",
    )


def with_backing(
    header: Header, path: Path, name: str | None, backing_format: str | None
) -> Header:
    """The header of the image at `path` with another backing file, or none.

    ImageUnsupported if it does not fit.
    """
    extensions = header.without(Extension.BACKING_FORMAT)
    if name and backing_format:
        named = Extension(Extension.BACKING_FORMAT, backing_format.encode())
        extensions = (named, *extensions)
    # Within one sector the name changes at once or not at all (Qcow2Image.record_backing).
    changed = replace(header, backing_file=name, extensions=extensions).fitting(ATOMIC)
    if name and header.autoclear & Autoclear.RAW_DATA_FILE:
        reason = (
            "its external data file is a raw image of its own, which cannot lie on a backing file"
        )
        raise ImageUnsupported(
            path, reason, "convert it to a qcow2 image without a raw data file first"
        )
    length = len(os.fsencode(name or ""))
    if length > MAX_BACKING_NAME or len(changed.to_bytes()) > header.cluster_size:
        raise ImageUnsupported(
            path, reason=f"the name of a backing file ({length} bytes) does not fit into its header"
        )
    return changed


def open_data_file(image: Path, header: Header, *, writable: bool) -> RawFile | None:
    """The external data file of an image under the same locks, or None if it has none."""
    if not header.has(Incompatible.DATA_FILE):
        return None
    path = data_file_path(image, header)
    if not exists(path):
        raise ImageNotReadable(
            path, reason=f"it is the external data file of {image} and does not exist"
        )
    # Guest bytes would be written over the tables.
    if path.samefile(image):
        raise damaged(image, "its external data file is itself")
    return RawFile.open(path, writable=writable)


def data_file_path(image: Path, header: Header) -> Path:
    """Where the external data file of an image that has one should lie.

    ReferenceOutside if it may not be looked for there.
    """
    if not header.data_file:
        raise damaged(image, "its data lie in an external data file that it does not name")
    path = data_path(image, header.data_file)
    require_trusted(image, path, header.data_file, "data file")
    return path


def _probed(path: Path) -> str:
    # Unlocked: it is opened, locked and read again as what it turns out to be.
    with closing(RawFile.open(path, lock=False)) as file:
        return probe_backing(file, path)
