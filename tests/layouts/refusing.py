"""Disks put together of a table and volumes, and that growdisk leaves one as it is."""

from __future__ import annotations

from pathlib import Path

from growdisk.units import MiB
from tests.guests.foreign import Pieces
from tests.guests.tools import place_content, run
from tests.unit.cli.command import fingerprint, in_process

SECTOR = 512
# No round number, so that "the end" has to be reckoned.
VOLUME_SIZE = 72 * MiB + 40 * SECTOR
_DISK = VOLUME_SIZE + 4 * MiB


def disk(path: Path, script: str, size: int = _DISK, **volumes: Path) -> Path:
    """An image with a table; `volumes` are put at sector s2048=..., s4096=..."""
    with path.open("wb") as file:
        file.truncate(size)
    if script:
        run("sfdisk", "-q", "--no-tell-kernel", path, stdin=script)
    for place, content in volumes.items():
        place_content(content, path, int(place[1:]) * 512)
    return path


def assert_refused(image: Path, *words: str, naming: str) -> str:
    """By the plan, and by expand without a byte changed; returns what was said."""
    before = fingerprint(image)
    planned, done = in_process("plan", image, *words), in_process("expand", image, *words)
    assert (planned.code, done.code) == (3, 3), (planned, done)
    assert naming in planned.err and naming in done.err, planned.err
    assert fingerprint(image) == before
    return planned.err


def volume(path: Path, *, ext4: bool, pieces: Pieces, size: int = VOLUME_SIZE) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
    if ext4:
        run("mke2fs", "-q", "-F", "-t", "ext4", "-L", "seen", path, f"{(size - 4 * MiB) // 1024}k")
    with path.open("r+b") as file:
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)
    return path


def put(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
