"""Swap at an offset of a disk image.
mkswap knows no offset, so it works on a file, and its first page moves.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from growdisk.units import ByteRange
from tests.guests.tools import run

_PAGE = 4096
_MAGIC_OFFSET, _HIBERNATED = _PAGE - 10, b"S1SUSPEND\0"


def make_swap(
    disk: Path, place: ByteRange, *, uuid: str, label: str = "", hibernated: bool = False
) -> None:
    """Format bytes `place` of the raw image `disk` as swap;
    `hibernated`: as if a suspended system lay in it.
    """
    with tempfile.NamedTemporaryFile(prefix="growdisk-swap-") as scratch:
        scratch.truncate(place.length)
        run("mkswap", "-q", "-U", uuid, *(["-L", label] if label else []), scratch.name)
        page = bytearray(scratch.read(_PAGE))
    if hibernated:
        page[_MAGIC_OFFSET:] = _HIBERNATED
    with disk.open("r+b") as file:
        file.seek(place.start)
        file.write(page)
