"""The refusal to follow an image's names out of its folder, for callers that only catch it."""

from __future__ import annotations

from pathlib import Path

from growdisk.errors import ImageError
from growdisk.fast_dataclass import dataclass

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from typing import ClassVar


@dataclass(eq=False)
class ReferenceOutside(ImageError):
    """Raised before that file is opened. `target` is where it lies."""

    WHAT: ClassVar[str] = "{path} names a file outside its own folder"
    WHY: ClassVar[str] = (
        "its {role} is '{name}', and an image from a stranger could so reach any file of this host"
    )
    DO: ClassVar[str] = (
        "if you trust the image, say --trust-references; growdisk has not opened that file"
    )
    name: str
    role: str
    target: Path
