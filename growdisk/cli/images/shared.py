"""What the image verbs share: their arguments, and sizes in qemu-img's words."""

from __future__ import annotations

import argparse
import re
from math import frexp
from pathlib import Path

from growdisk.errors import BadSize

TYPE_CHECKING = False  # typing would be loaded for this alone
if TYPE_CHECKING:
    from growdisk.units import SizeSpec

_ZERO = r"0+(b|B|[kKMGTPE](iB)?)?"


def add_path(parser: argparse.ArgumentParser, name: str = "path", *, metavar: str = "IMAGE") -> None:
    parser.add_argument(name, type=Path, metavar=metavar, help="the image file")


def add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--format", choices=("qcow2", "raw"), help="the image's format (default: probed)")


def position_of(text: str) -> int:
    """An OFFSET or a LENGTH in bytes: a SIZE that may also be 0."""
    if re.fullmatch(_ZERO, text):
        return 0
    size = size_of(text)
    if size.relative:
        raise BadSize(text, reason="it is a place and cannot be relative", hint="write 4096b or 64k")
    return size.bytes


def size_of(text: str) -> SizeSpec:
    from growdisk.units import parse_size

    return parse_size(text)


def human_size(size: int) -> str:
    """`64 MiB`, `2.19 MiB`: three digits that matter, as qemu-img."""
    power = max(frexp(size / (1000 / 1024))[1] - 1, 0) // 10
    return f"{size / 1024**power:.3g} {('', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei')[power]}B"


def printable(text: str) -> str:
    """What stands in an image must not move anybody's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
