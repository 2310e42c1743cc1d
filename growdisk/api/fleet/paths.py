"""Which images are meant: files, globs, and folders, whose images are found by their names or their first bytes."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator

_SUFFIXES = (".qcow2", ".qcow", ".raw", ".img")
_QCOW2 = b"QFI\xfb"


def images_in(named: Iterable[str]) -> list[str]:
    """Each image once, in the order in which they were named; those of a folder or a glob by name."""
    return list(dict.fromkeys(path for name in named for path in _meant(name)))


def _meant(name: str) -> Iterator[str]:
    if os.path.isdir(name):  # noqa: PTH112
        yield from sorted(_images_of(name))
    elif os.path.lexists(name) or not glob.has_magic(name):
        yield name
    else:
        yield from sorted(glob.glob(name)) or [name]  # noqa: PTH207


def _images_of(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from (entry.path for entry in entries if _is_image(entry))


def _is_image(entry: os.DirEntry[str]) -> bool:
    try:
        if not entry.is_file():
            return False
        return entry.name.lower().endswith(_SUFFIXES) or _starts_as_qcow2(entry.path)
    except OSError:  # a link that leads to itself
        return False


def _starts_as_qcow2(path: str) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(4) == _QCOW2
    except OSError:
        return False
