"""The backing chain: names resolved as QEMU does, loops and network names refused, every layer locked for reading.

A relative name is relative to the directory of the image that carries it. A backing file without a recorded format is
probed as QEMU does it; any other format than ours is refused, never taken for raw.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.block.raw import RawFile
from growdisk.errors import ImageNotReadable, ImageUnsupported
from growdisk.qcow2.header import Extension, Header
from growdisk.qcow2.header_rules import MAX_BACKING_NAME, damaged
from growdisk.qcow2.probe import probe_backing
from growdisk.values import replace

MAX_DEPTH = 200
ATOMIC = 512  # bytes of a header that are on the disk all at once or not at all
_PROTOCOL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
OpenQcow2 = Callable[[Path, tuple[Path, ...]], BlockDevice]


def backing_path(image: Path, name: str, what: str = "backing file") -> Path:
    """Where the backing (or data) file of `image` lies. ImageUnsupported for json: and protocol names."""
    if "\0" in name:
        raise damaged(image, f"the name of its {what} cannot be that of a file")
    if name.startswith("file:"):
        name = name.removeprefix("file:")
    elif _PROTOCOL.match(name) and "/" not in name.split(":", 1)[0]:
        raise ImageUnsupported(
            image, reason=f"its {what} '{name}' is not a local file",
            hint="rebase it onto a local file first; growdisk has not changed it",
        )  # fmt: skip
    return image.parent / name


def as_local(name: str) -> str:
    """A file's name so written that QEMU does not take its beginning for a protocol."""
    return f"./{name}" if ":" in name.partition("/")[0] else name


def open_backing(image: Path, header: Header, above: tuple[Path, ...], open_qcow2: OpenQcow2) -> BlockDevice | None:
    """The opened backing file of an image, or None if it has none. `above`: the real paths of the layers on top."""
    if header.backing_file is None:
        return None
    path = backing_path(image, header.backing_file)
    chain = (*above, image.resolve())
    if path.resolve() in chain:
        raise ImageUnsupported(
            image, reason=f"its backing file '{header.backing_file}' is an image of its own chain",
            hint="give one of them another backing file (growdisk image rebase --unsafe); nothing was changed",
        )  # fmt: skip
    if len(chain) > MAX_DEPTH:
        raise ImageUnsupported(image, reason=f"its backing chain has more than {MAX_DEPTH} layers")
    if not path.exists():
        raise ImageNotReadable(path, reason=f"it is the backing file of {image} and does not exist")
    kind = header.backing_format or _probed(path)
    if kind == "qcow2":
        return open_qcow2(path, chain)
    if kind in ("raw", "file", "host_device"):
        return RawFile.open_disk(path)
    raise ImageUnsupported(image, reason=f"its backing file has the format '{kind}'; growdisk knows qcow2 and raw")


def with_backing(header: Header, path: Path, name: str | None, backing_format: str | None) -> Header:
    """The header of the image at `path` with another backing file, or none. ImageUnsupported if it does not fit."""
    kept = tuple(extension for extension in header.extensions if extension.type != Extension.BACKING_FORMAT)
    named = (Extension(Extension.BACKING_FORMAT, backing_format.encode()),) if name and backing_format else ()
    changed = replace(header, backing_file=name, extensions=named + kept)
    if len(changed.to_bytes()) > ATOMIC:  # the names of features are a courtesy
        kept = tuple(extension for extension in kept if extension.type != Extension.FEATURE_NAMES)
        changed = replace(header, backing_file=name, extensions=named + kept)
    length = len((name or "").encode("utf-8", "surrogateescape"))
    if length > MAX_BACKING_NAME or len(changed.to_bytes()) > header.cluster_size:
        raise ImageUnsupported(path, reason=f"the name of a backing file ({length} bytes) does not fit into its header")
    return changed


def _probed(path: Path) -> str:
    file = RawFile.open(path, lock=False)
    try:
        return probe_backing(file, path)
    finally:
        file.close()
