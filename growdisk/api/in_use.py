"""An image in use is told with what works on its running guest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from growdisk.errors import ImageInUse
from growdisk.units import SizeSpec


@contextmanager
def image_in_use_hint(path: Path, verb: str, size: SizeSpec | None = None) -> Iterator[None]:
    """An image in use is told with the command that works on its running guest."""
    try:
        yield
    except ImageInUse as error:
        from growdisk.live.qemu_processes import GuestRuns, hint_for

        if hint := hint_for(path, verb, size):
            raise GuestRuns(error.path, error.holder, hint=hint) from error
        raise
