"""Disks put together of a table and volumes, and that growdisk leaves one as it is."""

from __future__ import annotations

from pathlib import Path

from growdisk.units import MiB
from tests.guests.tools import place_content, run
from tests.unit.cli.command import fingerprint, in_process

_DISK = 76 * MiB + 40 * 512


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
