"""Looking at an image: reads only, never launches anything, and loads no more than reading needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.block.raw import RawFile
from growdisk.planner.facts import Facts
from growdisk.planner.inspect import image_facts, inspect_device
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.probe import ImageFormat, probe_format
from growdisk.volumes.keyring import Keyring


def inspect(
    path: Path, image_format: ImageFormat | None = None, sector_size: int = 512, keys: tuple[bytes, ...] = ()
) -> Facts:
    """What is in the image at `path`. Refused while a guest has it open, as qemu-img does."""
    with opened(path, image_format or probe_format(path), keys) as device:
        return inspect_device(device, image_facts(device, path), sector_size, Keyring(keys))


@contextmanager
def opened(path: Path, image_format: ImageFormat, keys: tuple[bytes, ...] = ()) -> Iterator[BlockDevice]:
    """The guest-visible disk, to read; one of `keys` opens an image that is encrypted."""
    is_qcow2 = image_format == "qcow2"
    device: BlockDevice = Qcow2Image.open(path, key=keys) if is_qcow2 else RawFile.open_disk(path)
    try:
        yield device
    finally:
        device.close()
