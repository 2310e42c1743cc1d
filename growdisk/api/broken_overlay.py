"""An overlay whose base was changed shows a mixture of two disks: the likely cause is reported."""

from __future__ import annotations

from pathlib import Path

from growdisk.block.device import BlockDevice
from growdisk.errors import ImageUnsupported, TableDamaged, shell_word
from growdisk.qcow2.image import Qcow2Image
from growdisk.qcow2.named_files import backing_path
from growdisk.steps.disk import Disk
from growdisk.units import format_size


def with_likely_cause(error: TableDamaged, device: BlockDevice) -> TableDamaged:
    """The error about the table of `device`, with what may have happened to an overlay's base."""
    image = device.active if isinstance(device, Disk) else device
    if not isinstance(image, Qcow2Image) or image.header.backing_file is None:
        return error
    try:
        base = backing_path(image.path, image.header.backing_file)
        changed = _was_changed(image, base)
    except (ImageUnsupported, OSError):
        return error
    back = f"take that back (growdisk rollback {shell_word(base)}, or a backup of both)"
    if changed:
        reason = f"{error.reason}; the likely cause: {base.name} below it was changed {changed}"
        return TableDamaged(error.path, reason=reason, hint=back)
    return TableDamaged(
        error.path,
        reason=error.reason,
        hint=f"if {base.name} below it was changed, {back}; else: {error.hint}",
    )


def _was_changed(image: Qcow2Image, base: Path) -> str:
    """The sign that somebody wrote to the base after the overlay was made; "" if there is none."""
    size = image.backing.size if image.backing is not None else 0
    if size > image.size:
        # As a rule an overlay is made in the size of its base: the base has grown since.
        return (
            f"and has {format_size(size)} now, more than the {format_size(image.size)} of this "
            "image"
        )
    # A guest that has run on the overlay since makes this the newer file: then there is no sign.
    if base.stat().st_mtime_ns > image.path.stat().st_mtime_ns:
        return "later than this image was"
    return ""
