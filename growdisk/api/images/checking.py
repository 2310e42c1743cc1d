"""Checking an image, and repairing what can be repaired."""

from __future__ import annotations

from pathlib import Path

from growdisk.api.guard import WriteGuard
from growdisk.api.images.host import format_of, told_failures
from growdisk.block.raw import RawFile
from growdisk.errors import ImageError
from growdisk.qcow2.check import CheckReport, check
from growdisk.qcow2.header import Header, read_header
from growdisk.qcow2.probe import ImageFormat

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import Literal

    Repair = Literal["leaks", "all"]
else:
    Repair = str


def check_image(
    path: Path, repair_what: Repair | None = None, image_format: ImageFormat | None = None,
    *, overlays_may_break: bool = False,
) -> CheckReport | None:  # fmt: skip
    """The state of an image, after the repair if one is asked for. None: a raw image has nothing to be checked."""
    if format_of(path, image_format, writing=repair_what is not None) == "raw":
        return None
    file = RawFile.open(path, writable=repair_what is not None)
    try:
        with told_failures(path, writing=repair_what is not None):
            if repair_what is None:
                return check(file, path)
            WriteGuard(path, overlays_may_break)(file, _header(file, path))
            from growdisk.qcow2.repair import repair

            return repair(file, path, errors=repair_what == "all", accept_loss=repair_what == "all")
    finally:
        file.close()


def _header(file: RawFile, path: Path) -> Header | None:
    """None where it cannot be read, which the repair says better."""
    try:
        return read_header(file, path)
    except ImageError:
        return None
