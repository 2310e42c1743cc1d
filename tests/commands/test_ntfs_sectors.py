"""NTFS with larger sectors than the disk's: its boot sector's backup is one of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from growdisk.units import MiB
from tests.guests.tools import run
from tests.unit.cli.command import in_process

_SECTORS = 200_001


@pytest.mark.parametrize("sector_size", [512, 1024, 2048, 4096])
def test_ntfs_with_sectors_of_any_size_grows(tmp_path: Path, sector_size: int) -> None:
    image, part = tmp_path / "disk.raw", tmp_path / "part"
    for file, size in ((image, 300 * MiB), (part, _SECTORS * 512)):
        with file.open("wb") as opened:
            opened.truncate(size)
    run("sfdisk", "-q", image, stdin=f"start=2048, size={_SECTORS}, type=7\n")
    run("mkntfs", "-q", "-F", "-Q", "-s", str(sector_size), "-p", "2048", part)
    run(
        "dd", f"if={part}", f"of={image}", "bs=512", "seek=2048", "conv=notrunc,sparse",
        "status=none",
    )  # fmt: skip
    answer = in_process("expand", image, "+77777b")
    assert answer.code == 0, answer
    run("dd", f"if={image}", f"of={part}", "bs=512", "skip=2048", "conv=sparse", "status=none")
    assert "ntfsresize" in run("ntfsresize", "--info", "--force", part)
