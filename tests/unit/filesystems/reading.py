"""What growdisk's own readers say of a file system in a file."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from growdisk.block.raw import RawFile
from growdisk.filesystems.content import Content
from growdisk.filesystems.identify import identify


def content_of(image: Path) -> Content:
    with closing(RawFile.open(image)) as file:
        found = identify(file)
    assert found is not None
    return found
