"""Moving guest bytes between an image and a file, like dd."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from growdisk.api.guard import ConflictGuard
from growdisk.api.images.opening import (
    open_guest_content,
    report_create_errors,
    report_host_errors,
    require_keys,
)
from growdisk.block.device import BlockDevice
from growdisk.block.host_blocks import reserve_ranges
from growdisk.block.raw import RawFile
from growdisk.durable import write_all
from growdisk.errors import ImageInUse, ImageUnsupported
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.open_checks import Passphrase
from growdisk.qcow2.probe import ImageFormat
from growdisk.units import split_range

_CHUNK = 4 << 20


def read_bytes(
    path: Path,
    offset: int,
    length: int,
    target: Path,
    image_format: ImageFormat | None = None,
    key: Passphrase | None = None,
) -> None:
    """Copy `length` guest bytes from `offset` into a file, which is replaced as dd does."""
    with open_guest_content(path, image_format, key=key) as image:
        require_keys(image)
        _require_inside(path, image, offset, length)
        with report_create_errors(target), _output(target, image_of=path) as fd:
            for start, end in split_range(offset, offset + length, _CHUNK):
                write_all(fd, image.read(start, end - start))


def write_bytes(
    path: Path,
    offset: int,
    source: Path,
    image_format: ImageFormat | None = None,
    key: Passphrase | None = None,
    *,
    overlays_may_break: bool = False,
) -> int:
    """Copy a whole file to guest bytes from `offset` on, durably. Returns how many these were."""
    with closing(RawFile.open(source, lock=False)) as file:
        # What cannot be read is refused before the image is opened to write.
        with report_host_errors(source, writing=False):
            file.read(0, min(file.size, _CHUNK))
        guard = ConflictGuard(path, overlays_may_break)
        with open_guest_content(path, image_format, writable=True, key=key, guard=guard) as image:
            require_keys(image)
            if source.samefile(path):
                hint = "choose another FILE; nothing was changed"
                raise ImageUnsupported(source, reason="it is the image itself", hint=hint)
            _require_inside(path, image, offset, file.size)
            if not file.size:
                return 0
            with _room_for(image, offset, file.size):
                for start, end in split_range(0, file.size, _CHUNK):
                    image.write(offset + start, file.read(start, end - start))
            image.flush()
            return file.size


@contextmanager
def _room_for(image: RawFile | Qcow2Image, offset: int, length: int) -> Iterator[None]:
    """Take the host's room before a write begins: what has been overwritten could not be undone."""
    wanted = [(offset, offset + length)]
    if isinstance(image, RawFile):
        reserve_ranges(image, wanted)
        yield
    else:
        # with_room_for() begins the change: damage must be refused before.
        image.check_change(offset, length)
        with image.with_room_for(wanted):
            yield


@contextmanager
def _output(target: Path, *, image_of: Path) -> Iterator[int]:
    """The opened target. A file that was not there before does not stay after a failure."""
    if target.exists() and target.samefile(image_of):
        raise ImageUnsupported(target, reason="it is the image itself", hint="choose another FILE")
    existed = target.exists()
    with _nobody_elses(target, image_of):
        # A pipe that nobody reads is an error: the image would stay locked all that time.
        fd = os.open(
            target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK, 0o644
        )
        # Only the opening must not wait.
        os.set_blocking(fd, True)
        try:
            yield fd
        except BaseException:
            if not existed:
                target.unlink()
            raise
        finally:
            os.close(fd)


@contextmanager
def _nobody_elses(target: Path, image: Path) -> Iterator[None]:
    """Refuse a target that is in use, by a guest or below the image, or has others on it."""
    if not (target.is_file() or target.is_block_device()):
        yield
        return
    try:
        # Held until all is written: its lock keeps a guest from starting on it.
        file = RawFile.open(target, writable=True)
    except ImageInUse as error:
        hint = f"choose another FILE: neither a disk in use nor one that {image.name} lies on"
        raise ImageUnsupported(target, reason=error.why, hint=hint) from error
    with closing(file):
        ConflictGuard(target)(file, None)
        yield


def _require_inside(path: Path, image: BlockDevice, offset: int, length: int) -> None:
    if offset + length > image.size:
        reason = f"bytes {offset} to {offset + length} leave its disk of {image.size} bytes"
        hint = "choose a smaller OFFSET or LENGTH; nothing was changed"
        raise ImageUnsupported(path, reason, hint)
