"""What is on a disk: of an image at rest, or of a guest that may be running.

Reads only, and loads no more than that needs: growdisk show answers in a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from growdisk.api.disk_facts import image_facts, inspect_device
from growdisk.api.in_use import explained_refusals
from growdisk.block.device import BlockDevice
from growdisk.block.raw import RawFile
from growdisk.planner.facts import Facts
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.probe import ImageFormat, probe_format
from growdisk.volumes.keyring import Keyring

if TYPE_CHECKING:
    from growdisk.api.live_target import LiveRequest

    Asked = str | PathLike[str] | LiveRequest


def inspect(
    target: Asked,
    image_format: ImageFormat | None = None,
    sector_size: int = 512,
    keys: tuple[bytes, ...] = (),
) -> Facts:
    """What is on a disk: its table, its partitions, and what is in them. Reads only.

    target: the image's path, or a LiveRequest for a guest that may be running. sector_size: in
    bytes, the disk's logical one. keys: passphrases of what is encrypted inside. Raises Refused
    (the image cannot be read, or is in use).
    """
    if isinstance(target, (str, PathLike)):
        with explained_refusals(Path(target), "show"):
            return facts_of_image(Path(target), image_format, sector_size, keys)
    from growdisk.api.live_inspect import inspected
    from growdisk.workflow.stopping import StopRequest

    with inspected(target, StopRequest(), sector_size=sector_size) as found:
        if isinstance(found, Path):
            return facts_of_image(found, image_format, sector_size, keys)
        return found.facts


def facts_of_image(
    path: Path,
    image_format: ImageFormat | None = None,
    sector_size: int = 512,
    keys: tuple[bytes, ...] = (),
) -> Facts:
    """Of the image at `path`. Refused while a guest has it open, as qemu-img does."""
    with open_image(path, image_format or probe_format(path), keys) as device:
        return inspect_device(device, image_facts(device, path), sector_size, Keyring(keys))


def image_of(request: LiveRequest) -> Path:
    """The image of a machine, running or not."""
    from growdisk.api.live_target import reach

    reached = reach(request)
    if isinstance(reached, Path):
        return reached
    reached.close()
    return reached.path


@contextmanager
def open_image(
    path: Path, image_format: ImageFormat, keys: tuple[bytes, ...] = ()
) -> Iterator[BlockDevice]:
    """The guest-visible disk, to read; one of `keys` opens an image that is encrypted."""
    is_qcow2 = image_format == "qcow2"
    device: BlockDevice = Qcow2Image.open(path, key=keys) if is_qcow2 else RawFile.open_disk(path)
    try:
        yield device
    finally:
        device.close()
