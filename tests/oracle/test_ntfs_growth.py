"""How large ntfsresize makes an NTFS is known beforehand, to the sector."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from growdisk.block.raw import RawFile
from growdisk.filesystems.content import NtfsContent
from growdisk.filesystems.identify import identify
from growdisk.filesystems.ntfs import grown_ntfs
from growdisk.units import MiB
from tests.guests.tools import run


def content_of(image: Path) -> NtfsContent:
    with closing(RawFile.open(image, lock=False)) as device:
        content = identify(device)
    assert isinstance(content, NtfsContent), content
    return content


@pytest.mark.parametrize("cluster", [512, 4096, 65536])
@pytest.mark.parametrize("size", [30 * MiB, 30 * MiB + 512, 31 * MiB - 512, 33 * MiB + 4096 + 1536])
def test_ntfsresize_makes_what_was_planned(tmp_path: Path, cluster: int, size: int) -> None:
    image = tmp_path / "disk.raw"
    with image.open("wb") as file:
        file.truncate(20 * MiB)
    run("mkntfs", "-q", "-Q", "-F", "-c", str(cluster), image)
    os.truncate(image, size)
    planned = grown_ntfs(content_of(image), size)
    run("ntfsresize", "-f", "-f", image, stdin="y\n")
    assert content_of(image).size == planned
