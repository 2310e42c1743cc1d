"""Looking at an image: reads only, never launches anything, and loads no more than reading needs."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from growdisk.backends.volumes.keyring import Keyring
from growdisk.block.device import BlockDevice
from growdisk.block.raw import RawFile
from growdisk.errors import ImageNotReadable
from growdisk.planner.facts import Facts
from growdisk.planner.inspect import image_facts, inspect_device
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.probe import ImageFormat, probe_format


def inspect(
    path: Path, image_format: ImageFormat | None = None, sector_size: int = 512, keys: tuple[bytes, ...] = ()
) -> Facts:
    """What is in the image at `path`. Refused while a guest has it open, as qemu-img does."""
    with opened(path, image_format or probed_format(path)) as device:
        return inspect_device(device, image_facts(device, path), sector_size, Keyring(keys))


def probed_format(path: Path) -> ImageFormat:
    """The image's format by its magic. What is no file at all is refused before it is opened: a pipe would wait."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise ImageNotReadable(path, reason=getattr(error, "strerror", "") or str(error)) from error
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        raise ImageNotReadable(path, reason="it is neither a regular file nor a block device")
    return probe_format(path)


@contextmanager
def opened(path: Path, image_format: ImageFormat) -> Iterator[BlockDevice]:
    """The guest-visible disk, to read."""
    device: BlockDevice = Qcow2Image.open(path) if image_format == "qcow2" else RawFile.open(path)
    try:
        yield device
    finally:
        device.close()
