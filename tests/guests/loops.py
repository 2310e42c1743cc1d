"""Loop devices, as a host has them: made by losetup, which wants root."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.guests.tools import run


@contextmanager
def loop(path: Path, *options: str) -> Iterator[Path]:
    """A loop device on the file or device `path`; detached at the end."""
    device = Path(run("losetup", "--find", "--show", *options, path).strip())
    try:
        yield device
    finally:
        run("losetup", "--detach", device)


@contextmanager
def mounted(device: Path, place: Path, *options: str) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    run("mount", *options, device, place)
    try:
        yield place
    finally:
        run("umount", place)
