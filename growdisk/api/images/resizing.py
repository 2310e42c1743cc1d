"""Changing an image's virtual size.

Shrinking loses what lies after the new end, so it wants to be said.
"""

from __future__ import annotations

from pathlib import Path

from growdisk.api.guard import ConflictGuard
from growdisk.api.images.opening import open_guest_content, refuse_without_room
from growdisk.block.raw import RawFile
from growdisk.errors import ImageUnsupported
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.open_checks import Passphrase
from growdisk.qcow2.probe import ImageFormat
from growdisk.units import SizeSpec, align_up, format_size

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from growdisk.qcow2.create_options import Preallocation

_CHUNK = 4 << 20
_SECTOR = 512
TAKING_ROOM = ("falloc", "full")  # preallocations that take the host's room at once


def resize_image(
    path: Path,
    size: SizeSpec,
    image_format: ImageFormat | None = None,
    *,
    shrink: bool = False,
    preallocation: Preallocation = "off",
    key: Passphrase | None = None,
    upgrade: bool = False,
    overlays_may_break: bool = False,
) -> tuple[int, int]:
    """Resize, durably, to whole sectors.

    Returns the old and the new size. All refusals come before the first write. `upgrade`: make a
    version 2 image version 3 before, where its snapshots stand against resizing it.
    """
    guard = ConflictGuard(path, overlays_may_break)
    with open_guest_content(path, image_format, writable=True, key=key, guard=guard) as image:
        old, new = image.size, align_up(size.resolve(image.size), _SECTOR)
        _refuse(path, image, new, shrink=shrink, preallocation=preallocation)
        if preallocation in TAKING_ROOM and new > old:
            refuse_without_room(path, _file_of_data(image, path), new - old)
        if isinstance(image, Qcow2Image):
            # `upgrade` alone makes a version 3 image, in the size that it has.
            if new != old or upgrade:
                image.resize(new, preallocation=preallocation, upgrade=upgrade)
        elif new > old:
            extend_raw(image, new, preallocation)
        elif new != old:
            image.resize(new)
            image.flush()
        return old, new


def extend_raw(file: RawFile, size: int, preallocation: Preallocation) -> None:
    """Make a raw file longer, durably; it gets its old size back if there is no room."""
    # `size` is in whole sectors, the file may end within one: its very length counts.
    old, length = file.size, file.path.stat().st_size
    try:
        if preallocation == "off":
            file.resize(size)
        else:
            file.allocate(old, size - old)
        if preallocation == "full":
            # What is only allocated costs the guest's first write a change of metadata.
            zeros = bytes(_CHUNK)
            for start in range(old, size, _CHUNK):
                file.write(start, memoryview(zeros)[: min(_CHUNK, size - start)])
        file.flush()
    except BaseException:  # Ctrl-C as well
        file.resize(length)
        raise


def refuse_raw_preallocation(path: Path, preallocation: Preallocation) -> None:
    if preallocation == "metadata":
        reason = "a raw image has no metadata that could be preallocated"
        raise ImageUnsupported(path, reason, "choose falloc or full; nothing was changed")


def _file_of_data(image: RawFile | Qcow2Image, path: Path) -> Path:
    """The file that grows with the disk: the image, or its external data file."""
    held = image.host_file if isinstance(image, Qcow2Image) else image
    return held.path.resolve() if isinstance(held, RawFile) else path


def _refuse(
    path: Path, image: RawFile | Qcow2Image, new: int, *, shrink: bool, preallocation: Preallocation
) -> None:
    if isinstance(image, RawFile):
        refuse_raw_preallocation(path, preallocation)
    reason = hint = None
    if new <= 0 and new != image.size:
        reason = f"it has {format_size(image.size)}, and nothing would be left"
        hint = "choose another SIZE"
    elif isinstance(image, RawFile) and image.is_block_device:
        reason = "it is a block device, and its size is the host's matter"
        hint = "resize that (lvextend, losetup -c)"
    elif new < image.size and not shrink:
        reason = (
            f"{format_size(new)} is less than its {format_size(image.size)}, and what lies "
            "beyond it would be lost"
        )
        hint = "shrink the file system first, then say --shrink"
    elif preallocation != "off" and new < image.size:
        reason, hint = "only growing can allocate space", "leave --preallocation out"
    if reason is not None and hint is not None:
        raise ImageUnsupported(path, reason=reason, hint=f"{hint}; nothing was changed")
