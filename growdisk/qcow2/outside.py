"""The refusal to follow an image's names out of its folder, for callers that only catch it."""

from __future__ import annotations

from pathlib import Path

from growdisk.errors import ImageError
from growdisk.fast_dataclass import dataclass


@dataclass(eq=False)
class ReferenceOutside(ImageError):
    """Raised before that file is opened. `target` is where it lies."""

    WHAT = "{path} names a file outside its own folder"
    WHY = (
        "its {role} is '{name}', and an image from a stranger could so reach any file of this host"
    )
    DO = "if you trust the image, say --trust-references; growdisk has not opened that file"
    name: str
    role: str
    target: Path
